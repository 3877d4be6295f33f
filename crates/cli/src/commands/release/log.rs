//! `vouch release log`: reads a server's transparency log whole, as anybody may, and holds it against what it said before.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use keys::private_file::{self, Existing};
use release::author::{Log as Tree, bundle_path, unbundle};
use release::limits::LIMITS;
use release::log::{LoggedRelease, SignedTree, verify_checkpoint};
use release::root::RootContent;
use serde_json::json;

use super::build::read;
use crate::central::read_public;
use crate::output::{Output, Tone, paint};
use crate::table::{Cell, Table};

/// The longest bundle of entries: 256 of them, each with its length.
const BUNDLE: u64 = 256 * (2 + LIMITS.log_entry as u64);

/// Read the transparency log of a server: the releases that it holds, and that it never showed others before.
///
/// No login is needed. Every entry is fetched and the tree is computed from them. With --checkpoint, what the log signed the last
/// time must be the beginning of what it signs now; whoever wants to find a log that shows different releases to different people
/// compares their checkpoints.
#[derive(Args, Debug)]
pub(crate) struct Log {
    /// The address of central, such as https://central.example
    #[arg(value_name = "URL")]
    central: String,

    /// The newest root of the ceremony (in roots/): it names the log's key. Roots of before as well where the checkpoint that was kept is
    /// of another key.
    #[arg(long = "root", required = true, value_name = "FILE")]
    roots: Vec<PathBuf>,

    /// Where the newest checkpoint is kept. If it is there already, the log must go on from it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,

    /// A PEM file with the certificate authority of central's HTTPS, if it is your own.
    #[arg(long, value_name = "FILE")]
    central_ca: Option<PathBuf>,
}

impl Log {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut roots = Vec::new();
        for file in &self.roots {
            roots.push(RootContent::from_file(&read(file)?).with_context(|| file.display().to_string())?);
        }
        roots.sort_by_key(|root| Reverse(root.version));
        let keys: Vec<String> = roots.into_iter().filter_map(|root| root.log).collect();
        let key = keys.first().context("no root that was given names a transparency log")?;
        let origin = key.split('+').next().unwrap_or_default().to_owned();
        let (note, signed) = self.newest(key)?;
        let tree = self.entries(signed.size)?;
        ensure!(
            tree.root(signed.size)? == signed.root,
            "the log's entries are not those that it signed: keep {note:?}"
        );
        let before = self.before(&keys)?;
        if let Some(before) = before {
            ensure!(
                before.size <= signed.size && tree.root(before.size)? == before.root,
                "the log of {origin} contradicts what it signed before, over {} entries: keep both checkpoints and ask why. Now: {note:?}",
                before.size
            );
        }
        if let Some(file) = &self.checkpoint {
            private_file::write(file, note.as_bytes(), Existing::Replace)?;
        }
        let releases: Vec<_> = tree.entries().iter().map(|entry| LoggedRelease::from_entry(entry).ok()).collect();
        print(output, &origin, signed, before, &releases);
        Ok(())
    }

    fn newest(&self, key: &str) -> Result<(String, SignedTree)> {
        let note = self.file("checkpoint", LIMITS.checkpoint as u64)?.context("the server has no checkpoint")?;
        let note = String::from_utf8(note).context("the checkpoint is no text")?;
        let signed = verify_checkpoint(key, &note)?;
        Ok((note, signed))
    }

    fn before(&self, keys: &[String]) -> Result<Option<SignedTree>> {
        let Some(file) = self.checkpoint.as_ref().filter(|file| file.exists()) else { return Ok(None) };
        let note = String::from_utf8(read(file)?).with_context(|| format!("{} is no text", file.display()))?;
        let signed = keys.iter().find_map(|key| verify_checkpoint(key, &note).ok());
        let unknown = || {
            format!(
                "{}: not signed by the expected key; where the log had another one then, give the root of that time as well",
                file.display()
            )
        };
        Ok(Some(signed.with_context(unknown)?))
    }

    fn entries(&self, size: u64) -> Result<Tree> {
        let mut entries = Vec::new();
        for number in 0.. {
            let Some((path, count)) = bundle_path(number, size) else { break };
            let bundle = self.file(&path, BUNDLE)?.with_context(|| format!("the log lacks {path}"))?;
            let Some(some) = unbundle(&bundle, count) else { bail!("{path} is no bundle of {count} entries") };
            entries.extend(some);
        }
        Ok(Tree::of(entries)?)
    }

    fn file(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let ca = self.central_ca.as_deref().map(Path::new);
        read_public(&format!("{}/log/{path}", self.central.trim_end_matches('/')), ca, most)
    }
}

fn print(
    output: &Output,
    origin: &str,
    signed: SignedTree,
    before: Option<SignedTree>,
    releases: &[Option<LoggedRelease>],
) {
    if output.is_json() {
        let entries = releases.iter().enumerate().map(|(number, release)| match release {
            Some(release) => json!({
                "number": number, "product": release.product, "version": release.version.to_string(),
                "security_epoch": release.security_epoch, "manifest_sha256": release.manifest.to_string(),
            }),
            None => json!({ "number": number }),
        });
        output.json_line(&json!({
            "log": origin, "size": signed.size, "root": const_hex::encode(signed.root),
            "consistent_with_size": before.map(|before| before.size), "entries": entries.collect::<Vec<_>>(),
        }));
        return;
    }
    let mut table = Table::new(&["NUMBER", "VERSION", "PRODUCT", "EPOCH", "MANIFEST"]);
    for (number, release) in releases.iter().enumerate() {
        let mut row = vec![Cell::plain(number.to_string())];
        match release {
            Some(release) => row.extend([
                Cell::toned(Tone::Strong, release.version.to_string()),
                Cell::plain(release.product.clone()),
                Cell::plain(release.security_epoch.to_string()),
                Cell::plain(release.manifest.to_string()),
            ]),
            None => row.push(Cell::plain("an entry of a kind that this program does not know".to_owned())),
        }
        table.add(row);
    }
    table.lines(None).iter().for_each(|line| output.say(line));
    output.say(&format!(
        "{} {origin}: {} entries, root {}",
        paint(Tone::Good, "signed by"),
        signed.size,
        const_hex::encode(signed.root)
    ));
    output.say(&match before {
        Some(before) => format!("it goes on from the {} entries that were kept", before.size),
        None => "no earlier checkpoint was given: give --checkpoint FILE to compare the next time".to_owned(),
    });
}
