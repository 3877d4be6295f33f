//! `make bench`: the gateway beside a bare TLS server and beside a broker, each comparison in one run.

mod fleets;
mod logins;
mod talk;
mod updates;
mod vaults;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use vouch_benches::process::{Kind, SERVE, serve};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(word) = arguments.next() else { return logins::measure() };
    if word == SERVE {
        let kind = arguments.next().and_then(|kind| Kind::named(kind.to_str()?)).context("which server?")?;
        let dir = PathBuf::from(arguments.next().context("which folder?")?);
        let addr = arguments.next().and_then(|addr| addr.to_str()?.parse().ok()).context("which address?")?;
        serve(kind, dir, addr)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rest: Vec<_> = arguments.filter_map(|word| word.into_string().ok()).collect();
    match word.to_str() {
        Some("storm") => fleets::storm(&rest),
        Some("restart") => fleets::restart(&rest),
        Some("messages") => talk::measure(),
        Some("updates") => updates::measure(),
        Some("vault") => vaults::measure(),
        _ => bail!("{word:?}? Run it without arguments, or with `storm`, `restart`, `messages`, `updates` or `vault`"),
    }
}
