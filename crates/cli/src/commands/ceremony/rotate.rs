//! `vouch ceremony rotate`: the next root, with other custodians, numbers or keys.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use keys::pkcs11::Module;
use release::anchors::ReleaseKeySlot;
use release::author::ceremony::acts::meet;
use release::author::ceremony::changes::changes;
use release::author::ceremony::record::Act;
use release::author::ceremony::state::Folder;
use release::root::RootContent;
use serde_json::json;

use super::cards::{CustodianCard, TokenPlace, open};
use super::init::read_server_keys;
use super::{circumstances, in_days, tell};
use crate::output::{Output, Tone, paint};

/// How long a root is valid unless somebody says otherwise.
const DAYS: u32 = 730;

/// Sign the next root: replace a card, change how many are needed, replace the release key or the server's keys and roots.
///
/// If it is cut off, the custodians of the root in force can still open the HSM: call it again. Where it then says that a card is not the one
/// that the root names, the new root is in force already; go on with its custodians and --days, so
/// that the HSM's secrets are replaced as well.
#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// The ceremony's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The HSM: pkcs11:/path/of/library.so;token=LABEL
    #[arg(long, value_name = "PLACE")]
    hsm: TokenPlace,

    /// A custodian who is here, with their card: NAME=pkcs11:...; as many as a root needs.
    #[arg(long = "custodian", required = true, value_name = "NAME=PLACE")]
    custodians: Vec<CustodianCard>,

    /// A custodian who joins, with their card.
    #[arg(long = "add", value_name = "NAME=PLACE")]
    add: Vec<CustodianCard>,

    /// A custodian who leaves; with --add of the same name their card is replaced.
    #[arg(long = "remove", value_name = "NAME")]
    remove: Vec<String>,

    /// How many custodians must approve a release from now on.
    #[arg(long, value_name = "M")]
    threshold: Option<usize>,

    /// How many custodians must sign the root after this one.
    #[arg(long, value_name = "M")]
    root_threshold: Option<usize>,

    /// Make a new release key and revoke the one in force.
    #[arg(long)]
    new_release_key: bool,

    /// Take the server's keys, its log and the TLS roots of devices from this file.
    #[arg(long, value_name = "FILE")]
    server_keys: Option<PathBuf>,

    /// For how many days the new root is valid; given alone, this renews a root that is about to end [default: 730].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,

    /// Who else was there, where, and what else shall be in the record.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Rotate {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut folder = Folder::open(&self.dir)?;
        let before = folder.root.clone();
        let cards = open(&self.custodians, false, output)?;
        let new_cards = open(&self.add, true, output)?;
        let joining = new_cards.iter().map(|card| card.custodian().clone()).collect();
        let mut next = self.next(&before, joining)?;
        ensure!(
            self.new_release_key || self.days.is_some() || !changes(&before, &next).is_empty(),
            "nothing is to change; see `vouch ceremony rotate --help`"
        );
        next.expires_unix_s = in_days(self.days.unwrap_or(DAYS));
        let module = Module::load(&self.hsm.module).context("the HSM")?;
        let mut watch = tell(output);
        let mut meeting = meet(&mut folder, &cards, &module, &mut watch)?;
        if self.new_release_key {
            let key = meeting.make_release_key(&mut watch)?;
            next.release_keys.retain(|slot| !slot.revoked);
            next.release_keys.iter_mut().for_each(|slot| slot.revoked = true);
            next.release_keys.push(ReleaseKeySlot { key, revoked: false });
        }
        let changes = changes(&before, &next);
        let meeting = meeting.change_root(&next, &new_cards, &mut watch)?;
        let act = Act::Changed { root_version: next.version, changes: changes.clone() };
        meeting.close(act, circumstances(self.note), &mut watch)?;
        output.result(
            &json!({ "root_version": next.version, "changes": changes }),
            &format!("{} root {}\n  {}", paint(Tone::Good, "signed"), next.version, changes.join("\n  ")),
        );
        Ok(())
    }

    fn next(&self, root: &RootContent, joining: Vec<release::root::Custodian>) -> Result<RootContent> {
        let mut next = root.clone();
        next.version += 1;
        for name in &self.remove {
            let Some(at) = next.custodians.iter().position(|custodian| custodian.name == *name) else {
                bail!("there is no custodian {name:?}; there are {}", names(root));
            };
            next.custodians.remove(at);
        }
        next.custodians.extend(joining);
        next.release_needed = self.threshold.unwrap_or(next.release_needed);
        next.root_needed = self.root_threshold.unwrap_or(next.root_needed);
        if let Some(file) = &self.server_keys {
            let server = read_server_keys(file)?;
            (next.online, next.tls_roots, next.log) = (server.online, server.tls_roots, server.log);
        }
        next.check()?;
        Ok(next)
    }
}

fn names(root: &RootContent) -> String {
    root.custodians.iter().map(|custodian| custodian.name.as_str()).collect::<Vec<_>>().join(", ")
}
