//! `vouch release sign` and `assemble`: the HSM signs what enough custodians have approved, and the bundle is written.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use keys::pkcs11::Module;
use release::author::ceremony::acts::{Step, meet};
use release::author::ceremony::record::{Act, ApprovedBy, SignedManifest};
use release::author::ceremony::state::Folder;
use release::author::pending::Pending;
use serde_json::json;

use super::approve::{checked, signed_with};
use super::verify::{report_json, report_text};
use crate::commands::ceremony::cards::{CustodianCard, TokenPlace, open};
use crate::commands::ceremony::{circumstances, tell};
use crate::output::{Output, Tone, paint};

/// Have the HSM sign a release: only with enough approvals, and enough cards to open it; its secret is replaced afterwards.
#[derive(Args, Debug)]
pub(crate) struct Sign {
    /// The folder of the release, with the approvals.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// The ceremony's folder.
    #[arg(long, value_name = "DIR")]
    ceremony: PathBuf,

    /// The HSM: pkcs11:/path/of/library.so;token=LABEL
    #[arg(long, value_name = "PLACE")]
    hsm: TokenPlace,

    /// A custodian who is here, with their card: NAME=pkcs11:...; as many as are needed.
    #[arg(long = "custodian", required = true, value_name = "NAME=PLACE")]
    custodians: Vec<CustodianCard>,

    /// Who else was there, where, and what else shall be in the record.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Sign {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut folder = Folder::open(&self.ceremony)?;
        let pending = Pending::open(&self.dir)?;
        let spec = checked(&pending, &folder)?;
        let root = folder.roots.last().cloned().unwrap_or_default();
        let (approvals, all) = pending.approvals(&root)?;
        let progress = all.progress(&root, "targets")?;
        ensure!(
            progress.is_complete(),
            "{} of {} custodians have approved this release ({} needed); the HSM is not asked. \
             Next: vouch release approve",
            progress.signed.len(),
            folder.root.custodians.len(),
            progress.threshold
        );
        let cards = open(&self.custodians, false, output)?;
        let module = Module::load(&self.hsm.module).context("the HSM")?;
        let mut watch = tell(output);
        let mut meeting = meet(&mut folder, &cards, &module, &mut watch)?;
        let mut manifests = Vec::new();
        for (at, manifest) in pending.manifests.iter().enumerate() {
            watch(Step::SignsManifest(manifest.models.clone()));
            pending.keep_signed(at, &meeting.sign_manifest(&manifest.to_cbor())?)?;
            manifests.push(SignedManifest { models: manifest.models.clone(), sha256: manifest.hash().to_string() });
        }
        let signed = signed_with(&pending, &spec)?;
        let version = signed.version.clone();
        meeting.note_signed(spec.version, signed)?;
        let approvals = approvals.into_iter().map(|approval| ApprovedBy {
            custodian: approval.said.custodian,
            compared: approval.said.compared,
            unix_ms: Some(approval.said.unix_ms),
        });
        let act =
            Act::Signed { version: version.clone(), manifests: manifests.clone(), approvals: approvals.collect() };
        meeting.close(act, circumstances(self.note), &mut watch)?;
        let (dir, ceremony) = (self.dir.display(), self.ceremony.display());
        output.result(
            &json!({ "version": version, "manifests": manifests }),
            &format!(
                "{} OS {version}: {} manifests\nnext: vouch release assemble {dir} --ceremony {ceremony} --out FILE.vouchos",
                paint(Tone::Good, "signed"),
                manifests.len()
            ),
        );
        Ok(())
    }
}

/// Verify all of a signed release and write the bundle that a server takes.
#[derive(Args, Debug)]
pub(crate) struct Assemble {
    /// The folder of the release.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// The ceremony's folder.
    #[arg(long, value_name = "DIR")]
    ceremony: PathBuf,

    /// The bundle to write: a name that ends in .vouchos
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Assemble {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let folder = Folder::open(&self.ceremony)?;
        let pending = Pending::open(&self.dir)?;
        pending.check()?;
        let report = pending.assemble(folder.roots, &self.out)?;
        let out = self.out.display();
        output
            .result(&report_json(&report), &format!("{} {out}\n{}", paint(Tone::Good, "wrote"), report_text(&report)?));
        Ok(())
    }
}
