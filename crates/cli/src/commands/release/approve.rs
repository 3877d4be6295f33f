//! `vouch release approve`: one custodian sees what they sign, and signs it with their card, on any machine.

use std::io::{IsTerminal as _, Write as _, stdin, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use jiff::Timestamp;
use release::approval::Approval;
use release::author::ceremony::state::{ApprovedManifest, Folder, LastRelease};
use release::author::pending::Pending;
use release::author::{Delegation, Quorum, TargetsSpec};
use release::manifest::Manifest;
use serde_json::json;

use super::build::{APPROVAL_DAYS_MAX, ModelImage};
use crate::commands::ceremony::cards::CustodianCard;
use crate::commands::ceremony::in_days;
use crate::moment;
use crate::output::{Output, Tone, paint};

/// See what a release is, and sign it with your card.
///
/// The encrypted images are compared with their manifests. With --image, a program that you have built yourself is compared as
/// well; without it, the record will say that its contents were not checked.
#[derive(Args, Debug)]
pub(crate) struct Approve {
    /// The folder that `vouch release build` made, or a copy of it.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// The ceremony's folder, or a copy of it.
    #[arg(long, value_name = "DIR")]
    ceremony: PathBuf,

    /// You and your card: NAME=pkcs11:/path/of/library.so;token=LABEL
    #[arg(long, value_name = "NAME=PLACE")]
    custodian: CustodianCard,

    /// The image of a model as you have built it yourself, reproducibly: MODEL=FILE; once for each.
    #[arg(long = "image", value_name = "MODEL=FILE")]
    images: Vec<ModelImage>,

    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Approve {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let folder = Folder::open(&self.ceremony)?;
        let pending = Pending::open(&self.dir)?;
        let spec = checked(&pending, &folder)?;
        let mut compared = vec![false; pending.manifests.len()];
        for ModelImage { models, file } in &self.images {
            for model in models {
                pending.compare_build(model, file)?;
                let at = pending.manifests.iter().position(|manifest| manifest.models.contains(model));
                at.and_then(|at| compared.get_mut(at)).into_iter().for_each(|compared| *compared = true);
            }
        }
        for (manifest, compared) in pending.manifests.iter().zip(&compared) {
            output.say(&shown(manifest, *compared)?);
        }
        let next = signed_with(&pending, &spec)?;
        let product = pending.manifests.first().map(|first| first.product.as_str()).unwrap_or_default();
        ensure!(product == folder.state.product, "this is a release of another product: {product}");
        output.say(&changes(folder.state.last.as_ref(), &next));
        output.say(&terms(&spec)?);
        let compared = compared.iter().all(|compared| *compared);
        if !compared {
            output.say(&paint(Tone::Bad, "contents not checked: no build of your own was given for every image"));
        }
        self.ask()?;
        let card = self.custodian.open(false, output)?;
        ensure!(
            folder.root.custodians.contains(card.custodian()),
            "the root names no custodian {} with this card; nothing was signed",
            card.custodian().name
        );
        let custodian = card.custodian().name.clone();
        let now = u64::try_from(Timestamp::now().as_millisecond())?;
        let approval = Approval::new(&custodian, compared, now, pending.targets.to_be_signed());
        let (said, signature) = (card.sign(&approval.to_be_signed())?, card.sign(pending.targets.to_be_signed())?);
        pending.approve(&approval, &card.custodian().signing, [&said, &signature])?;
        let root = folder.roots.last().cloned().unwrap_or_default();
        let (approvals, all) = pending.approvals(&root)?;
        let progress = all.progress(&root, "targets")?;
        let (have, need) = (approvals.len(), progress.threshold);
        let next = if progress.is_complete() { "\nnext: vouch release sign" } else { "" };
        output.result(
            &json!({ "custodian": custodian, "compared": compared, "approvals": have, "needed": need }),
            &format!("{} by {custodian}: {have} of {need}{next}", paint(Tone::Good, "approved")),
        );
        Ok(())
    }

    fn ask(&self) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        ensure!(stdin().is_terminal(), "no terminal to ask on: look at what is printed, then give --yes");
        print!("Approve this release? Type yes: ");
        stdout().flush()?;
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        if answer.trim() == "yes" { Ok(()) } else { bail!("not approved; nothing was signed") }
    }
}

/// What the metadata say, if they are those of the release and of this ceremony, and no more.
pub(super) fn checked(pending: &Pending, folder: &Folder) -> Result<TargetsSpec> {
    let spec = pending.check()?;
    ensure!(spec.version > folder.state.targets_version, "release {} was signed before; build a new one", spec.version);
    ensure!(
        spec.version == folder.state.targets_version + 1,
        "the release says that it is number {}, but {} is the next of this ceremony: somebody has changed it, or this folder of the \
         ceremony is not the newest. Build it anew",
        spec.version,
        folder.state.targets_version + 1
    );
    ensure!(
        spec.expires <= in_days(APPROVAL_DAYS_MAX),
        "the approval would be valid for more than {APPROVAL_DAYS_MAX} days: build the release anew"
    );
    follows(folder, &pending.kept, &spec.apps)?;
    Ok(spec)
}

/// Whether what is kept was approved, and no quorum ends.
pub(super) fn follows(folder: &Folder, kept: &[Manifest], apps: &[Delegation]) -> Result<()> {
    let last = folder.state.last.as_ref();
    for kept in kept {
        ensure!(
            last.is_some_and(|last| last.approves(kept)),
            "OS {} with the manifest {} is to be kept, which the release before did not approve; build without it",
            kept.version,
            kept.hash()
        );
    }
    if let Some(owner) = last.and_then(|last| last.quorum_gone(apps)) {
        bail!(
            "the quorum of the owner {owner} is left out, and devices that have seen it would refuse every app: a quorum is never ended, \
             only its keys and its threshold change. Build with --app-owners"
        );
    }
    Ok(())
}

/// What the ceremony notes of a release when it is signed.
pub(super) fn signed_with(pending: &Pending, spec: &TargetsSpec) -> Result<LastRelease> {
    LastRelease::of(&pending.manifests, &pending.kept, &spec.apps).context("the release has no image")
}

/// What is signed beside the manifests.
fn terms(spec: &TargetsSpec) -> Result<String> {
    let until = Timestamp::from_second(spec.expires)?.strftime("%Y-%m-%d");
    let mut lines = format!("  approval        release {}, until {until}", spec.version);
    for delegation in &spec.apps {
        let line = match delegation {
            Delegation::Server { .. } => "the server's key, for all other owners".to_owned(),
            Delegation::Owner { owner, quorum: Quorum { keys, threshold } } => {
                let keys: Vec<_> = keys.iter().map(|key| key.spki_hash().to_string()).collect();
                format!("owner {owner}: {threshold} of {} keys ({})", keys.len(), keys.join(", "))
            }
        };
        lines.push_str(&format!("\n  apps            {line}"));
    }
    Ok(lines)
}

fn shown(manifest: &Manifest, compared: bool) -> Result<String> {
    let built = Timestamp::from_second(i64::try_from(manifest.built)?)?;
    let digest = |bytes: Option<&[u8]>| bytes.map_or_else(|| "none".to_owned(), const_hex::encode);
    Ok(format!(
        "{} {} for {}\n  security epoch  {}\n  built           {}\n  image           {} bytes, SHA-256 {} ({})\n  \
         encrypted       {} bytes, SHA-256 {}\n  SBOM            {}\n  MUD             {}\n  manifest        SHA-256 {}",
        manifest.product,
        paint(Tone::Strong, &manifest.version.to_string()),
        paint(Tone::Strong, &manifest.models.join(", ")),
        manifest.security_epoch,
        moment::shown(built),
        manifest.plain.length,
        const_hex::encode(&manifest.plain.sha256[..]),
        if compared { "the same as your own build" } else { "contents not checked" },
        manifest.sealed.length,
        const_hex::encode(&manifest.sealed.sha256[..]),
        digest(manifest.sbom.as_ref().map(|bytes| &bytes[..])),
        digest(manifest.mud.as_ref().map(|bytes| &bytes[..])),
        manifest.hash(),
    ))
}

/// What is new beside the release before, and what it takes back.
fn changes(last: Option<&LastRelease>, next: &LastRelease) -> String {
    let Some(last) = last else { return "this is the first release".to_owned() };
    let mut parts = vec![format!("OS {} -> {}", last.version, next.version)];
    if next.security_epoch != last.security_epoch {
        parts.push(format!("security epoch {} -> {}", last.security_epoch, next.security_epoch));
    }
    parts.extend(next.models.iter().filter(|model| !last.models.contains(model)).map(|model| format!("new: {model}")));
    parts.extend(last.models.iter().filter(|model| !next.models.contains(model)).map(|model| format!("gone: {model}")));
    let changed = next.quorums.iter().filter(|quorum| !last.quorums.contains(quorum));
    parts.extend(changed.map(|quorum| format!("who approves the apps of the owner {} changes", quorum.owner)));
    let mut lines = format!("since the last release: {}", parts.join("; "));
    for approved in &last.approved {
        let ApprovedManifest { version, models, sha256 } = approved;
        let what = if next.approved.contains(approved) { "stays approved " } else { "approved no more" };
        lines.push_str(&format!("\n  {what}  OS {version} for {}, manifest SHA-256 {sha256}", models.join(", ")));
    }
    lines
}
