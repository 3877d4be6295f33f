//! `vouch ceremony init`: the cards are enrolled, the release key is born in the HSM, and its secrets are split.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use keys::pkcs11::Module;
use keys::secret::Secret;
use release::author::ceremony::acts::{Founding, finish_founding, found};
use release::author::ceremony::state::Folder;
use release::author::server_keys::ServerKeys;
use release::root::RootContent;
use serde_json::json;

use super::cards::{CustodianCard, TokenPlace, open};
use super::{circumstances, in_days, tell};
use crate::commands::password;
use crate::output::{Output, Tone, paint};

/// Found a ceremony: make the release key in the HSM, enrol the custodians' cards, split the HSM's secrets, write the first root.
///
/// All custodians are there. Afterwards the PINs that the HSM had are worthless, and nobody knows the new ones. If it is cut off, the same
/// command goes on, with the PINs that the HSM had at first.
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The product whose OS images will be signed.
    #[arg(long, value_name = "NAME")]
    product: String,

    /// The HSM: pkcs11:/path/of/library.so;token=LABEL
    #[arg(long, value_name = "PLACE")]
    hsm: TokenPlace,

    /// The file with the PIN that the HSM's user has until now.
    #[arg(long, value_name = "FILE")]
    hsm_pin_file: PathBuf,

    /// The file with the PIN that the HSM's security officer has until now.
    #[arg(long, value_name = "FILE")]
    hsm_so_pin_file: PathBuf,

    /// The HSM's FIPS 140 certificate, as you know it; it is written into the record.
    #[arg(long, value_name = "TEXT")]
    hsm_certificate: Option<String>,

    /// Where the HSM is kept; it is written into the record.
    #[arg(long, value_name = "TEXT")]
    hsm_kept: Option<String>,

    /// A custodian and their card: NAME=pkcs11:/path/of/library.so;token=LABEL; once for each. Where several cards share a label,
    /// ;serial=NUMBER says which.
    #[arg(long = "custodian", required = true, value_name = "NAME=PLACE")]
    custodians: Vec<CustodianCard>,

    /// How many custodians must approve a release, and open the HSM.
    #[arg(long, value_name = "M")]
    threshold: usize,

    /// How many custodians must sign the next root; at least as many [default: all but one, or the threshold if that is more].
    #[arg(long, value_name = "M")]
    root_threshold: Option<usize>,

    /// The server's public keys, as `vouch release server-keys` wrote them.
    #[arg(long, value_name = "FILE")]
    server_keys: PathBuf,

    /// For how many days the root is valid.
    #[arg(long, default_value_t = 730, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// Who else was there, where, and what else shall be in the record.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Init {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let people = self.custodians.len();
        ensure!(people >= 2, "a ceremony needs at least two custodians; name each with --custodian");
        let unfinished = self.unfinished()?;
        let root_needed = self.root_threshold.unwrap_or_else(|| self.threshold.max(people - 1));
        let server = read_server_keys(&self.server_keys)?;
        let secret = |file| anyhow::Ok(Secret::new(password::read(Some(file))?.as_bytes().to_vec()));
        let (user, security_officer) = (secret(&self.hsm_pin_file)?, secret(&self.hsm_so_pin_file)?);
        let cards = open(&self.custodians, true, output)?;
        let module = Module::load(&self.hsm.module).context("the HSM")?;
        if let Some(mut folder) = unfinished {
            output.say("a founding was cut off here; it goes on with what was decided then");
            let first = [&user, &security_officer];
            finish_founding(&mut folder, &module, first, &cards, circumstances(self.note), &mut tell(output))?;
            report(&folder, &self.dir, output);
            return Ok(());
        }
        let root = RootContent {
            version: 1,
            expires_unix_s: in_days(self.days),
            custodians: Vec::new(),
            root_needed,
            release_needed: self.threshold,
            online: server.online,
            release_keys: Vec::new(),
            tls_roots: server.tls_roots,
            log: server.log,
        };
        let founding = Founding {
            product: &self.product,
            root,
            certificate: self.hsm_certificate,
            kept: self.hsm_kept,
            module: &module,
            token: &self.hsm.token,
            user,
            security_officer,
        };
        let folder = found(&self.dir, founding, &cards, circumstances(self.note), &mut tell(output))?;
        report(&folder, &self.dir, output);
        Ok(())
    }
}

impl Init {
    /// A ceremony whose founding was cut off, if the folder holds one.
    fn unfinished(&self) -> Result<Option<Folder>> {
        if Folder::refuse_used(&self.dir).is_ok() {
            return Ok(None);
        }
        let folder = Folder::open(&self.dir)?;
        folder.refuse_founded()?;
        Ok(Some(folder))
    }
}

fn report(folder: &Folder, dir: &std::path::Path, output: &Output) {
    let names: Vec<_> = folder.root.custodians.iter().map(|custodian| custodian.name.as_str()).collect();
    let key = folder.root.release_keys.first().map(|slot| slot.key.spki_hash().to_string()).unwrap_or_default();
    let (release_needed, root_needed) = (folder.root.release_needed, folder.root.root_needed);
    let validation = folder.state.hsm.validation();
    let hsm = format!("{} {}, serial {}", folder.state.hsm.maker, folder.state.hsm.model, folder.state.hsm.serial);
    let dir = dir.display().to_string();
    output.result(
        &json!({
            "dir": dir, "product": folder.state.product, "custodians": names, "release_key_sha256": key,
            "threshold": release_needed, "root_threshold": root_needed, "hsm": hsm, "hsm_validation": validation,
        }),
        &format!(
            "{} {dir}\n  custodians   {}\n  needed       {release_needed} for a release, {root_needed} for a root\n  \
             release key  SHA-256 {key}\n  HSM          {hsm} ({validation})\n\
             next: vouch ceremony anchors --dir {dir} --model MODEL --out FILE",
            paint(Tone::Good, "founded"),
            names.join(", "),
        ),
    );
}

/// Reads what a server says of its keys.
pub(super) fn read_server_keys(file: &std::path::Path) -> Result<ServerKeys> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    ServerKeys::from_json(&bytes).with_context(|| file.display().to_string())
}
