//! `vouch rotate-roots`: brings the next TLS roots of a server into use.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use keys::pkcs11::TokenSpec;
use serde_json::json;

use super::init::operator_keys;
use crate::output::{Output, Tone, paint};

/// Bring a server's next TLS roots into use: new gateway certificates from them, and new roots to follow. Stop the server before.
///
/// Devices trust the roots in use and those that are to follow. So each of them connects after this, and learns from the root metadata that the
/// custodians sign then which roots follow these. The private keys of the next roots must be in DIR/pki/next.
#[derive(Args, Debug)]
pub(crate) struct RotateRoots {
    /// The server's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// Where the new keys are born and stay, as for `vouch init`. Without it they are in files of DIR.
    #[arg(long, value_name = "pkcs11:...", value_parser = operator_keys)]
    keys: Option<TokenSpec>,
}

impl RotateRoots {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
        let report = runtime.block_on(server::rotate_roots(&self.dir, self.keys.as_ref(), &server::LIMITS))?;
        let (dir, before) = (self.dir.display(), report.before.display());
        let roots = const_hex::encode(report.roots_sha256);
        let known = match report.root_version {
            Some(version) => format!("named by the root metadata of version {version}, which is on this server"),
            None => "known to devices by their enrolment: no release is on this server".to_owned(),
        };
        output.result(
            &json!({ "dir": self.dir, "roots_sha256": roots, "before": report.before, "root_version": report.root_version }),
            &format!(
                "{} the next TLS roots of {dir}\n  in use    {known}\n  roots     SHA-256 {roots}, with those that are to follow; tokens that \
                 were made before do not fit them\n  before    {before}: keep it until all devices have connected\n\
                 next: vouch serve --dir {dir}\nthen: vouch release server-keys --dir {dir} --out FILE, vouch ceremony rotate --server-keys FILE, \
                 and upload the release again with that root",
                paint(Tone::Good, "brought into use:"),
            ),
        );
        Ok(())
    }
}
