//! `vouch release build`: encrypts the images of a release and writes what is to be approved.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use keys::hashes::sha256;
use keys::public::PublicKey;
use keys::release_key;
use release::author::ceremony::state::Folder;
use release::author::pending::{Pending, Plan, Source};
use release::author::server_keys::ServerKeys;
use release::author::{Delegation, Quorum};
use release::bundle::{Bundle, verify_head};
use release::manifest::{Description, Manifest};
use release::version::OsVersion;
use serde::Deserialize;
use serde_json::json;

use super::approve::follows;
use crate::commands::ceremony::in_days;
use crate::output::{Output, Tone, paint};

/// The longest that an approval is valid.
pub(super) const APPROVAL_DAYS_MAX: u32 = 3650;

/// Encrypt the images of one release, one for each model, and write what the custodians will approve.
#[derive(Args, Debug)]
pub(crate) struct Build {
    /// The ceremony's folder.
    #[arg(long, value_name = "DIR")]
    ceremony: PathBuf,

    /// An image and the models it is for: MODEL[,MODEL]=FILE; once for each image.
    #[arg(long = "image", required = true, value_name = "MODEL=FILE")]
    images: Vec<ModelImage>,

    /// The version over all models, such as 1.4.0.
    #[arg(long, value_name = "VERSION")]
    os_version: OsVersion,

    /// The security epoch: a device that has confirmed an image of one takes none of an earlier one.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    epoch: u32,

    /// The software bill of materials, whose hash goes into the manifest.
    #[arg(long, value_name = "FILE")]
    sbom: Option<PathBuf>,

    /// The MUD file (RFC 8520), whose hash goes into the manifest.
    #[arg(long, value_name = "FILE")]
    mud: Option<PathBuf>,

    /// The server's public keys, as `vouch release server-keys` wrote them; content keys are sealed to it.
    #[arg(long, value_name = "FILE")]
    server_keys: PathBuf,

    /// Owners whose apps need a quorum of their own: JSON, a list of {"owner", "threshold", "keys": [SPKI in base64]}.
    ///
    /// Name each owner again with every release. A quorum is never ended: a device that has seen it refuses every app that it has not
    /// approved until the device is provisioned anew. Its keys and its threshold may change.
    #[arg(long, value_name = "FILE")]
    app_owners: Option<PathBuf>,

    /// A release before that stays approved beside this one, so that its roll-outs go on: its bundle; once for each. Without it a release
    /// takes back the approval of all before it.
    #[arg(long, value_name = "BUNDLE")]
    keep: Vec<PathBuf>,

    /// For how many days the approval is valid.
    #[arg(long, default_value_t = 365, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(APPROVAL_DAYS_MAX)))]
    days: u32,

    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// `MODEL[,MODEL]=FILE`.
#[derive(Clone, Debug)]
pub(super) struct ModelImage {
    pub(super) models: Vec<String>,
    pub(super) file: PathBuf,
}

impl FromStr for ModelImage {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<ModelImage> {
        let (models, file) =
            text.split_once('=').ok_or_else(|| anyhow!("{text:?} names no image; write MODEL=FILE"))?;
        let models: Vec<_> = models.split(',').map(str::to_owned).collect();
        if file.is_empty() || models.iter().any(String::is_empty) {
            bail!("{text:?} names no image; write MODEL=FILE, or MODEL,MODEL=FILE");
        }
        Ok(ModelImage { models, file: file.into() })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    owner: String,
    threshold: usize,
    keys: Vec<String>,
}

impl Build {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let folder = Folder::open(&self.ceremony)?;
        let server = read(&self.server_keys)?;
        let server = ServerKeys::from_json(&server).with_context(|| self.server_keys.display().to_string())?;
        let digest = |file: &Option<PathBuf>| file.as_ref().map(|file| anyhow::Ok(sha256(&read(file)?))).transpose();
        let (sbom, mud): (Option<[u8; 32]>, Option<[u8; 32]>) = (digest(&self.sbom)?, digest(&self.mud)?);
        let built = u64::try_from(Timestamp::now().as_second()).context("the clock of this machine is before 1970")?;
        let sources = self.images.iter().map(|image| Source {
            file: image.file.clone(),
            description: Description {
                product: folder.state.product.clone(),
                models: image.models.clone(),
                version: self.os_version,
                security_epoch: self.epoch,
                built,
                sbom,
                mud,
            },
        });
        let sources: Vec<_> = sources.collect();
        let mut apps = self.app_owners.as_ref().map_or_else(|| Ok(Vec::new()), |file| owners(&read(file)?))?;
        apps.push(Delegation::Server { key: folder.root.online.apps.clone() });
        let mut kept: Vec<Manifest> = Vec::new();
        for file in &self.keep {
            let manifests = keep(&folder, file).with_context(|| format!("{} cannot be kept", file.display()))?;
            kept.extend(manifests.into_iter().filter(|manifest| !kept.contains(manifest)).collect::<Vec<_>>());
        }
        follows(&folder, &kept, &apps)?;
        let plan = Plan {
            targets_version: folder.state.targets_version + 1,
            expires: in_days(self.days),
            release_wrap: &server.release_wrap,
            apps,
            kept,
        };
        let bar = progress_bar(&sources, output)?;
        let mut before = (0, 0);
        let pending = Pending::build(&self.out, &plan, &sources, &mut |at, done| {
            bar.inc(if before.0 == at { done - before.1 } else { done });
            before = (at, done);
        })?;
        bar.finish_and_clear();
        let dir = self.out.display().to_string();
        let ceremony = self.ceremony.display();
        output.result(
            &json!({ "dir": dir, "version": self.os_version.to_string(), "manifests": pending.manifests.iter()
                .map(|manifest| json!({ "models": manifest.models, "sha256": manifest.hash().to_string() })).collect::<Vec<_>>() }),
            &format!(
                "{} {dir}: OS {} for {} images\nnext: each custodian runs vouch release approve {dir} --ceremony {ceremony} \
                 --custodian NAME=pkcs11:...",
                paint(Tone::Good, "built"),
                self.os_version,
                pending.manifests.len()
            ),
        );
        Ok(())
    }
}

/// The manifests of a release before, if it may stay approved.
fn keep(folder: &Folder, file: &Path) -> Result<Vec<Manifest>> {
    let bundle = Bundle::read(&mut BufReader::new(File::open(file)?))?;
    verify_head(&bundle, folder.roots.first().map(Vec::as_slice))?;
    for image in &bundle.images {
        let in_force = folder.root.release_keys.iter().filter(|slot| !slot.revoked).map(|slot| &slot.key);
        let signed = release_key::verify(in_force, &image.signed_manifest);
        signed.context("it is signed with a release key that is revoked, so that no device takes it")?;
    }
    Ok(bundle.images.iter().map(|image| image.manifest().clone()).collect())
}

fn progress_bar(sources: &[Source], output: &Output) -> Result<ProgressBar> {
    if output.is_json() {
        return Ok(ProgressBar::hidden());
    }
    let mut total = 0;
    for source in sources {
        total += source.file.metadata().with_context(|| format!("cannot read {}", source.file.display()))?.len();
    }
    let style = ProgressStyle::with_template("encrypting {bar:30} {bytes}/{total_bytes}")?;
    Ok(ProgressBar::new(total).with_style(style))
}

fn owners(bytes: &[u8]) -> Result<Vec<Delegation>> {
    let owners: Vec<Owner> = serde_json::from_slice(bytes).context("the file of app owners")?;
    let delegation = |Owner { owner, threshold, keys }: Owner| {
        let key = |text: &String| {
            let der = BASE64.decode(text).with_context(|| format!("a key of {owner} is not in base64"))?;
            PublicKey::from_spki_der(&der).with_context(|| format!("a key of {owner}"))
        };
        let keys = keys.iter().map(key).collect::<Result<_>>()?;
        Ok(Delegation::Owner { owner, quorum: Quorum { keys, threshold } })
    };
    owners.into_iter().map(delegation).collect()
}

/// A file as a whole.
pub(super) fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_models_and_a_file() {
        let image: ModelImage = "till-1,till-2=/tmp/a=b".parse().unwrap();
        assert_eq!((image.models.join("+"), image.file), ("till-1+till-2".to_owned(), "/tmp/a=b".into()));
        for bad in ["till-1", "=x", "a,=x", "a="] {
            assert!(bad.parse::<ModelImage>().is_err(), "{bad}");
        }
    }
}
