//! `vouch release server-keys`: what a server tells the ceremony about itself.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use keys::pki::ServingPki;
use release::author::server_keys::ServerKeys as Statement;
use serde_json::json;
use server::init::PKI_FOLDER;
use server::repository::online_keys::KeySets;

use crate::output::{Output, Tone, paint};

/// Write the public halves of a server's keys into a file for the ceremony.
///
/// After a theft of the server's files, --new makes another set of online keys beside the one that was stolen. It signs nothing before the
/// custodians name it: restart the server, run `vouch ceremony rotate --server-keys` with the file, then build, approve and upload a
/// release with it. Until that upload the server goes on with the old keys; from then on devices believe the new ones alone.
#[derive(Args, Debug)]
pub(crate) struct ServerKeys {
    /// The server's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Make new online keys first, for the next root.
    #[arg(long)]
    new: bool,
}

impl ServerKeys {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let pki = ServingPki::load(&self.dir.join(PKI_FOLDER))?;
        let names = pki.names()?;
        let name = names.first().context("the gateway's certificate is for no name")?;
        let sets = KeySets::open(&self.dir, name)?;
        let made = self.new.then(|| sets.add(&self.dir, name)).transpose()?;
        let keys = made.as_ref().or(sets.all().last()).context("the server has no online keys")?;
        let statement = Statement {
            online: keys.public(),
            release_wrap: keys.release_wrap.public().clone(),
            tls_roots: pki.server_roots,
            log: Some(keys.log.key().to_string()),
        };
        std::fs::write(&self.out, statement.to_json())
            .with_context(|| format!("cannot write {}", self.out.display()))?;
        let (out, next) = (
            self.out.display(),
            if sets.all().len() > 1 || self.new {
                "restart the server, then vouch ceremony rotate"
            } else {
                "vouch ceremony init"
            },
        );
        output.result(
            &json!({ "out": self.out }),
            &format!(
                "{} {out}: carry it to the ceremony\nnext: {next} --server-keys {out}",
                paint(Tone::Good, "wrote"),
            ),
        );
        Ok(())
    }
}
