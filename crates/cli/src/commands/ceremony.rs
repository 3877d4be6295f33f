//! `vouch ceremony`: the custodians, their smartcards and the HSM that they open together.

pub(crate) mod cards;
mod init;
mod prepare;
mod record;
mod rotate;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use release::anchors::{Anchors, Layers};
use release::author::ceremony::acts::{Circumstances, Step};
use release::author::ceremony::state::Folder;
use serde_json::json;

use crate::output::{Output, Tone, paint};

/// The custodians, their smartcards and the HSM with the release key that enough of them open together.
///
/// The folder of a ceremony holds nothing secret: the HSM's login secrets are in it as shares, each sealed to a custodian's card.
#[derive(Debug, Subcommand)]
pub(crate) enum Ceremony {
    Prepare(prepare::Prepare),
    Init(init::Init),
    Rotate(rotate::Rotate),
    Record(record::Record),
    Anchors(WriteAnchors),
}

impl Ceremony {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Ceremony::Prepare(command) => command.run(output),
            Ceremony::Init(command) => command.run(output),
            Ceremony::Rotate(command) => command.run(output),
            Ceremony::Record(command) => command.run(output),
            Ceremony::Anchors(command) => command.run(output),
        }
    }
}

/// Write the factory anchors of a device model: what its devices believe from the start.
#[derive(Args, Debug)]
pub(crate) struct WriteAnchors {
    /// The ceremony's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The device model.
    #[arg(long, value_name = "NAME")]
    model: String,

    /// The file to write; `vouch device provision --anchors` takes it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl WriteAnchors {
    fn run(self, output: &Output) -> Result<()> {
        let folder = Folder::open(&self.dir)?;
        let root = folder.roots.last().cloned().unwrap_or_default();
        let slots = folder.root.release_keys.clone();
        let anchors = Anchors::new(folder.state.product.clone(), self.model, slots, Layers::Quorum { root })?;
        std::fs::write(&self.out, anchors.to_cbor()).with_context(|| format!("cannot write {}", self.out.display()))?;
        let (product, layers) = (anchors.product().to_owned(), anchors.layers().as_str());
        output.result(
            &json!({ "product": product, "model": anchors.model(), "layers": layers, "out": self.out }),
            &format!(
                "{} {}: {product} {}, demands {layers}, from root {} on",
                paint(Tone::Good, "wrote"),
                self.out.display(),
                anchors.model(),
                folder.root.version
            ),
        );
        Ok(())
    }
}

/// Tells what happens, as it happens.
pub(crate) fn tell(output: &Output) -> impl FnMut(Step) + '_ {
    |step| {
        let line = match step {
            Step::OpensShare(name) => format!("{name}'s card opens its share of the HSM's secret"),
            Step::HsmOpen => "the HSM is open".to_owned(),
            Step::MakesReleaseKey => "the HSM makes an RSA-4096 key, which takes some seconds ...".to_owned(),
            Step::SignsRoot(name) => format!("{name}'s card signs"),
            Step::SignsManifest(models) => format!("the HSM signs the manifest for {}", models.join(", ")),
            Step::SealsToNext => "the HSM's secrets are sealed to the custodians of the next root as well".to_owned(),
            Step::InForce(version) => format!("root {version} is in force"),
            Step::ReplacesSecret => "the HSM gets a new secret, which is sealed to the cards".to_owned(),
            Step::SignsRecord(name) => format!("{name}'s card signs the record"),
        };
        output.say(&paint(Tone::Quiet, &line));
    }
}

/// The present, with what is to be written down.
pub(crate) fn circumstances(note: Option<String>) -> Circumstances {
    Circumstances { unix_ms: Timestamp::now().as_millisecond(), note }
}

/// What a custodian knows of the images that they approved.
pub(crate) fn how(compared: bool) -> &'static str {
    if compared { "compared with an own build" } else { "contents not checked" }
}

/// So many days from now, in seconds since 1970.
pub(crate) fn in_days(days: u32) -> i64 {
    Timestamp::now().as_second().saturating_add(i64::from(days) * 86_400)
}
