//! Power cuts and failures between the steps of a write: old or new, never neither, never half of each.

use vault::{Change, Record, Vault, VaultError};

use crate::memory::{Memory, Outcome, filled, keys, put, read};

const OLD: (&[u8], &[u8]) = (b"configuration 1", b"user:password");
const NEW: (&[u8], &[u8]) = (b"configuration 2, which is longer", b"other:secret");

fn both(vault: &Vault<Memory>) -> (Vec<u8>, Vec<u8>) {
    (read(vault, Record::Configuration).unwrap(), read(vault, Record::Proxy).unwrap())
}

fn new_changes() -> [Change<'static>; 2] {
    [put(Record::Configuration, NEW.0), put(Record::Proxy, NEW.1)]
}

#[test]
fn a_power_cut_between_any_two_steps_leaves_all_old_or_all_new() {
    let keys = keys();
    // Two records and the index: three replacements.
    for steps in 0..=3 {
        let (mut vault, memory) = filled(&keys);
        memory.inside().next = [vec![Outcome::Done; steps], vec![Outcome::FailedOld; 3]].concat();
        let written = vault.write(&new_changes());
        drop(vault);
        memory.inside().next.clear();
        let again = Vault::open(memory, keys.clone(), None).unwrap();
        let (expected, generation) = if steps == 3 { (NEW, 2) } else { (OLD, 1) };
        assert_eq!(written.is_ok(), steps == 3);
        assert_eq!(both(&again), (expected.0.to_vec(), expected.1.to_vec()), "cut after {steps} steps");
        assert_eq!(again.generation(), generation);
    }
}

#[test]
fn writes_go_on_after_a_failure_whichever_index_it_left() {
    let keys = keys();
    for last in [Outcome::FailedOld, Outcome::FailedNew] {
        let (mut vault, memory) = filled(&keys);
        memory.inside().next = vec![Outcome::Done, Outcome::Done, last];
        assert!(matches!(vault.write(&new_changes()), Err(VaultError::Storage { .. })));
        vault.write(&[put(Record::Floors, b"3")]).unwrap();
        let expected = if last == Outcome::FailedNew { NEW } else { OLD };
        assert_eq!(both(&vault), (expected.0.to_vec(), expected.1.to_vec()), "{last:?}");
        let again = Vault::open(memory, keys.clone(), None).unwrap();
        assert_eq!(both(&again), both(&vault));
        assert_eq!(read(&again, Record::Floors).unwrap(), b"3");
        assert_eq!(again.generation(), vault.generation());
    }
}

#[test]
fn a_vault_whose_making_was_cut_can_be_made_again() {
    let keys = keys();
    for steps in 0..2 {
        let memory = Memory::default();
        memory.inside().next = [vec![Outcome::Done; steps], vec![Outcome::FailedOld]].concat();
        assert!(Vault::create(memory.clone(), keys.clone(), 0, &[put(Record::App, b"app")]).is_err());
        assert!(matches!(Vault::open(memory.clone(), keys.clone(), None), Err(VaultError::Missing)));
        let vault = Vault::create(memory, keys.clone(), 0, &[put(Record::App, b"app")]).unwrap();
        assert_eq!(read(&vault, Record::App).unwrap(), b"app");
    }
}

#[test]
fn the_generation_grows_with_each_change_and_survives() {
    let keys = keys();
    let (mut vault, memory) = filled(&keys);
    assert_eq!(vault.generation(), 1);
    for expected in 2..6 {
        vault.write(&[put(Record::Floors, &[expected as u8])]).unwrap();
        assert_eq!(vault.generation(), expected);
        assert_eq!(Vault::open(memory.clone(), keys.clone(), None).unwrap().generation(), expected);
    }
}

#[test]
fn an_interrupted_epoch_step_is_completed_and_every_other_difference_refused() {
    let keys = keys();
    let memory = Memory::default();
    let mut vault = Vault::create(memory.clone(), keys.clone(), 5, &[]).unwrap();
    let before = memory.image();
    assert_eq!(vault.step_due(), None);
    assert_eq!(vault.begin_epoch(&[put(Record::Floors, b"raised")]).unwrap(), 6);
    let open = |counter| Vault::open(memory.clone(), keys.clone(), Some(counter));
    // Power went before the counter's step: it is made up for.
    let mut vault = open(5).unwrap();
    assert_eq!((vault.epoch(), vault.step_due()), (6, Some(6)));
    assert_eq!(vault.read(Record::Floors).unwrap().unwrap().expose(), b"raised", "both in one step");
    // While it is not, another event goes on with it: two ahead would never open again.
    assert_eq!(vault.begin_epoch(&[put(Record::Floors, b"higher")]).unwrap(), 6);
    vault.stepped(6);
    assert_eq!(vault.step_due(), None);
    assert_eq!(open(6).unwrap().step_due(), None);
    assert!(matches!(open(7), Err(VaultError::RolledBack { vault: 6, counter: 7 })));
    assert!(matches!(open(4), Err(VaultError::CounterBehind { vault: 6, counter: 4 })));
    // The vault from before the step, put back after it.
    let old = Vault::open(Memory::holding(before), keys.clone(), Some(6));
    assert!(matches!(old, Err(VaultError::RolledBack { vault: 5, counter: 6 })));
}

#[test]
fn a_record_taken_out_leaves_no_bytes_behind() {
    let keys = keys();
    let (mut vault, memory) = filled(&keys);
    vault.write(&[put(Record::Proxy, b"a second password")]).unwrap();
    vault.write(&[Change { record: Record::Proxy, to: None }]).unwrap();
    assert!(!vault.holds(Record::Proxy));
    assert!(vault.read(Record::Proxy).unwrap().is_none());
    for (name, bytes) in memory.image().iter().filter(|(name, _)| name.starts_with("proxy")) {
        assert!(bytes.is_empty(), "{name}");
    }
    vault.write(&[put(Record::Proxy, b"third")]).unwrap();
    assert_eq!(read(&Vault::open(memory, keys, None).unwrap(), Record::Proxy).unwrap(), b"third");
}
