//! What is new in a root, in sentences: for who is asked to sign it, and for the record.

use crate::anchors::ReleaseKeySlot;
use crate::root::{Custodian, RootContent, time};

/// What is new beside the root before, one sentence each.
pub fn changes(before: &RootContent, after: &RootContent) -> Vec<String> {
    let mut changes = people(&before.custodians, &after.custodians);
    let numbers = [
        (before.release_needed, after.release_needed, "approve a release"),
        (before.root_needed, after.root_needed, "sign a root"),
    ];
    let changed = numbers.into_iter().filter(|(before, after, _)| before != after);
    changes.extend(changed.map(|(before, after, what)| format!("{after} instead of {before} custodians must {what}")));
    changes.extend(release_keys(&before.release_keys, &after.release_keys));
    let servers = [
        (before.online == after.online, "the server has other online keys"),
        (before.tls_roots == after.tls_roots, "devices believe other TLS roots"),
        (before.log == after.log, "the transparency log is another"),
    ];
    changes.extend(servers.into_iter().filter(|(same, _)| !same).map(|(_, what)| what.to_owned()));
    if before.expires_unix_s != after.expires_unix_s {
        let until = time(after.expires_unix_s).unwrap_or_else(|error| error.to_string());
        changes.push(format!("it is valid until {until}"));
    }
    changes
}

fn people(before: &[Custodian], after: &[Custodian]) -> Vec<String> {
    let find = |people: &[Custodian], name: &str| people.iter().find(|custodian| custodian.name == name).cloned();
    let left = before.iter().filter(|custodian| find(after, &custodian.name).is_none());
    let mut changes: Vec<String> = left.map(|custodian| format!("{} leaves", custodian.name)).collect();
    for custodian in after {
        match find(before, &custodian.name) {
            None => changes.push(format!("{} joins", custodian.name)),
            Some(known) if known != *custodian => changes.push(format!("{} has another card", custodian.name)),
            Some(_) => {}
        }
    }
    changes
}

fn release_keys(before: &[ReleaseKeySlot], after: &[ReleaseKeySlot]) -> Vec<String> {
    let in_force = |slots: &[ReleaseKeySlot], wanted: &ReleaseKeySlot| {
        slots.iter().any(|slot| slot.key == wanted.key && !slot.revoked)
    };
    let differ = |here: &[ReleaseKeySlot], there: &[ReleaseKeySlot], what: &str| -> Vec<String> {
        let only_here = here.iter().filter(|slot| in_force(here, slot) && !in_force(there, slot));
        only_here.map(|slot| format!("the release key with SHA-256 {} {what}", slot.key.spki_hash())).collect()
    };
    [differ(after, before, "is new"), differ(before, after, "is revoked")].concat()
}
