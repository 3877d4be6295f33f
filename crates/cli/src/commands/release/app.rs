//! `vouch release app`: how the people of an owner with a quorum approve a device app, each with their own card.

use std::fs;
use std::io::{IsTerminal as _, Write as _, stdin, stdout};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use keys::hashes::sha256;
use keys::private_file::{self, Existing};
use release::apps::ApprovedApp;
use release::author::{Draft, approved_apps};
use serde_json::{Value, json};
use squirrel::{CompileOptions, Required, Source, compile, require};

use super::build::read;
use crate::commands::ceremony::cards::CustodianCard;
use crate::commands::ceremony::in_days;
use crate::moment;
use crate::output::{Output, Tone, paint};

/// Approve device apps with the cards of their owner's quorum, which `vouch release build --app-owners` names.
#[derive(Debug, Subcommand)]
pub(crate) enum App {
    Key(Key),
    Draft(DraftApps),
    Approve(Approve),
}

impl App {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        match self {
            Self::Key(command) => command.run(output),
            Self::Draft(command) => command.run(output),
            Self::Approve(command) => command.run(output),
        }
    }
}

/// Show the public key of a card, as the file of --app-owners takes it; the card makes its keys if it has none.
#[derive(Args, Debug)]
pub(crate) struct Key {
    /// You and your card: NAME=pkcs11:/path/of/library.so;token=LABEL
    #[arg(value_name = "NAME=PLACE")]
    card: CustodianCard,
}

impl Key {
    fn run(self, output: &Output) -> Result<()> {
        let card = self.card.open(true, output)?;
        let spki = BASE64.encode(card.custodian().signing.spki_der());
        output.result(&json!({ "name": card.custodian().name, "spki": spki }), &spki);
        Ok(())
    }
}

/// Which apps are meant, as source files.
#[derive(Args, Debug)]
struct Sources {
    /// A device app's source; once for each.
    #[arg(long = "device", value_name = "FILE")]
    devices: Vec<PathBuf>,

    /// A library that they ask for with #require: NAME:VERSION=FILE
    #[arg(long = "library", value_name = "NAME:VERSION=FILE")]
    libraries: Vec<LibraryFile>,
}

/// `NAME:VERSION=FILE`.
#[derive(Clone, Debug)]
struct LibraryFile {
    name: String,
    version: String,
    file: PathBuf,
}

impl FromStr for LibraryFile {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<LibraryFile> {
        let parts = text.split_once('=').and_then(|(of, file)| Some((of.split_once(':')?, file)));
        let ((name, version), file) = parts.ok_or_else(|| anyhow!("{text:?} names no library: NAME:VERSION=FILE"))?;
        Ok(LibraryFile { name: name.to_owned(), version: version.to_owned(), file: file.into() })
    }
}

impl Sources {
    /// Compiles each as the server does: hash and length of its image.
    fn compiled(&self) -> Result<Vec<([u8; 32], u64)>> {
        self.devices.iter().map(|file| self.image(file).map(|image| (sha256(&image), image.len() as u64))).collect()
    }

    fn image(&self, file: &Path) -> Result<Vec<u8>> {
        let text = read(file)?;
        // The server calls it so, and the name is in the image.
        let code = Source { name: "device_code", text: &text };
        let libraries =
            require(&[code], |required| self.find(required)).map_err(|error| anyhow!(error.with_caret()))?;
        let mut sources: Vec<Source<'_>> =
            libraries.iter().map(|library| Source { name: &library.name, text: &library.text }).collect();
        sources.push(code);
        for word in ["__EI", "__VARS"] {
            let uses = |source: &Source<'_>| source.text.windows(word.len()).any(|found| found == word.as_bytes());
            ensure!(
                !sources.iter().any(uses),
                "{} uses {word}: the server compiles it differently for each deployment, so that nobody can approve it beforehand",
                file.display()
            );
        }
        let compiled = compile(&sources, &CompileOptions::default());
        Ok(compiled.map_err(|error| anyhow!(error.with_caret()))?.to_image())
    }

    fn find(&self, Required { name, version, .. }: &Required) -> Result<Vec<u8>, String> {
        let known = self.libraries.iter().find(|known| known.name == *name && known.version == *version);
        let known = known.ok_or_else(|| format!("give the library: --library {name}:{version}=FILE"))?;
        fs::read(&known.file).map_err(|error| format!("{}: {error}", known.file.display()))
    }
}

/// Write what the owner's people are to sign: these apps, and those of the approval before.
#[derive(Args, Debug)]
pub(crate) struct DraftApps {
    /// The owner's id, as the server names it when it refuses the app.
    #[arg(long, value_name = "ID")]
    owner: String,

    #[command(flatten)]
    sources: Sources,

    /// The approval that is in force: its apps stay approved, and the new one goes on from it.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,

    /// An app of the approval before that is to be left out, by its SHA-256; it may run in no group of the owner's any more.
    #[arg(long = "without", value_name = "SHA256")]
    without: Vec<String>,

    /// For how many days the approval is valid.
    #[arg(long, default_value_t = 365, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl DraftApps {
    fn run(self, output: &Output) -> Result<()> {
        let before = self.before.as_ref().map(|file| open(file)).transpose()?;
        let version = before.as_ref().and_then(Draft::version).unwrap_or_default() + 1;
        let mut apps = before.map_or_else(|| Ok(Vec::new()), |before| listed(&before))?;
        ensure!(apps.iter().all(|app| app.owner == self.owner), "the approval before is of another owner");
        apps.retain(|app| !self.without.contains(&const_hex::encode(app.sha256)));
        for (sha256, length) in self.sources.compiled()? {
            apps.push(ApprovedApp { owner: self.owner.clone(), sha256, length });
        }
        apps.sort_unstable();
        apps.dedup();
        let draft = approved_apps(version, in_days(self.days), &apps)?;
        keep(&self.out, &draft)?;
        let hashes: Vec<_> = apps.iter().map(|app| const_hex::encode(app.sha256)).collect();
        let out = self.out.display();
        output.result(
            &json!({ "out": self.out, "version": version, "apps": hashes }),
            &format!(
                "{} {out}: version {version}, {} apps\nnext: each of the owner's people runs vouch release app approve {out} --card NAME=pkcs11:...",
                paint(Tone::Good, "wrote"),
                apps.len()
            ),
        );
        Ok(())
    }
}

/// See which apps an approval is for, and sign it with your card.
///
/// With --device, an app is compiled here from a source that you have read, and must be among them; of all others it is said that
/// their contents were not checked.
#[derive(Args, Debug)]
pub(crate) struct Approve {
    /// The approval, as `vouch release app draft` wrote it; your signature is added to it.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    sources: Sources,

    /// You and your card: NAME=pkcs11:/path/of/library.so;token=LABEL
    #[arg(long, value_name = "NAME=PLACE")]
    card: CustodianCard,

    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Approve {
    fn run(self, output: &Output) -> Result<()> {
        let mut draft = open(&self.file)?;
        let apps = listed(&draft)?;
        let own = self.sources.compiled()?;
        for ((sha256, _), file) in own.iter().zip(&self.sources.devices) {
            ensure!(
                apps.iter().any(|app| app.sha256 == *sha256),
                "the app of {} is not among those of the approval; nothing was signed",
                file.display()
            );
        }
        let expires = draft.content()["expires"].as_str().unwrap_or_default();
        let expires: Timestamp = expires.parse().context("the approval does not say when it ends")?;
        let version = draft.version().context("the approval has no version")?;
        output.say(&format!("approval version {version}, until {}", moment::shown(expires)));
        for ApprovedApp { owner, sha256, length } in &apps {
            let is_own = own.iter().any(|(known, _)| known == sha256);
            let checked = if is_own { "compiled here from your source" } else { "contents not checked" };
            output.say(&format!("  app of {owner}: {length} bytes, SHA-256 {} ({checked})", const_hex::encode(sha256)));
        }
        self.ask()?;
        let card = self.card.open(false, output)?;
        let signature: [u8; 64] = card
            .sign(draft.to_be_signed())?
            .try_into()
            .map_err(|_| anyhow!("the card gave a signature of another length"))?;
        draft.sign(&card.custodian().signing, &signature)?;
        keep(&self.file, &draft)?;
        let name = &card.custodian().name;
        output.result(
            &json!({ "approved_by": name, "version": version, "apps": apps.len(), "compared": own.len() }),
            &format!(
                "{} by {name}\nnext: vouch deploy --approval {}, when enough have",
                paint(Tone::Good, "approved"),
                self.file.display()
            ),
        );
        Ok(())
    }

    fn ask(&self) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        ensure!(stdin().is_terminal(), "no terminal to ask on: look at what is printed, then give --yes");
        print!("Approve these apps? Type yes: ");
        stdout().flush()?;
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        if answer.trim() == "yes" { Ok(()) } else { bail!("not approved; nothing was signed") }
    }
}

fn open(file: &Path) -> Result<Draft> {
    Draft::from_json(&read(file)?).with_context(|| file.display().to_string())
}

fn keep(file: &Path, draft: &Draft) -> Result<()> {
    Ok(private_file::write(file, &draft.to_json(), Existing::Replace)?)
}

/// The apps that an approval names, which must be all that it names.
fn listed(draft: &Draft) -> Result<Vec<ApprovedApp>> {
    let targets = draft.content()["targets"].as_object().context("the file is no approval of apps")?;
    let app = |(path, target): (&String, &Value)| {
        let mut parts = path.split('/');
        let (Some("apps"), Some(owner), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            bail!("the approval names {path:?}, which is no app; do not sign it");
        };
        ensure!(target["hashes"]["sha256"] == *hash, "the approval names {path:?} with another hash; do not sign it");
        let sha256 = const_hex::decode_to_array(hash).with_context(|| path.clone())?;
        Ok(ApprovedApp {
            owner: owner.to_owned(),
            sha256,
            length: target["length"].as_u64().with_context(|| path.clone())?,
        })
    };
    ensure!(draft.content().get("delegations").is_none(), "the approval hands its power on; do not sign it");
    targets.iter().map(app).collect()
}
