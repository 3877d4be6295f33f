//! `vouch release server-keys`: what a server tells the ceremony about itself.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use keys::pki::ServingPki;
use release::author::server_keys::ServerKeys as Statement;
use serde_json::json;
use server::init::PKI_FOLDER;
use server::repository::online_keys::OnlineKeys;

use crate::output::{Output, Tone, paint};

/// Write the public halves of a server's keys into a file for the ceremony.
#[derive(Args, Debug)]
pub(crate) struct ServerKeys {
    /// The server's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl ServerKeys {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let pki = ServingPki::load(&self.dir.join(PKI_FOLDER))?;
        let names = pki.names()?;
        let name = names.first().context("the gateway's certificate is for no name")?;
        let keys = OnlineKeys::open(&self.dir, name)?;
        let statement = Statement {
            online: keys.public(),
            release_wrap: keys.release_wrap.public().clone(),
            tls_roots: pki.server_roots,
            log: Some(keys.log.key().to_string()),
        };
        std::fs::write(&self.out, statement.to_json())
            .with_context(|| format!("cannot write {}", self.out.display()))?;
        output.result(
            &json!({ "out": self.out }),
            &format!(
                "{} {}: carry it to the ceremony\nnext: vouch ceremony init --server-keys {}",
                paint(Tone::Good, "wrote"),
                self.out.display(),
                self.out.display()
            ),
        );
        Ok(())
    }
}
