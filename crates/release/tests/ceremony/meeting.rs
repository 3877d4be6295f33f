//! What a ceremony is for: founded, it signs with enough custodians, and it can change.

use keys::release_key;
use release::author::ceremony::acts::{CeremonyError, Step, meet};
use release::author::ceremony::card::Card;
use release::author::ceremony::record::{self, Act, SignedManifest};
use release::author::ceremony::state::{Folder, FolderError};
use release::root::RootContent;
use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;

use crate::rig::{FIRST_PIN, Rig, alone, circumstances, ignore};

fn signed(version: &str) -> Act {
    let manifest = SignedManifest { models: vec!["till-1".to_owned()], sha256: "00".repeat(32) };
    Act::Signed { version: version.to_owned(), manifests: vec![manifest], approvals: Vec::new() }
}

/// Signs with these custodians; returns whether devices with this root would take the signature.
fn sign(rig: &Rig, names: &[&str]) -> Result<bool, CeremonyError> {
    let mut folder = Folder::open(&rig.folder()).unwrap();
    let cards = rig.cards(names);
    let meeting = rig.meet(&mut folder, &cards)?;
    let cose = meeting.sign_manifest(b"a manifest")?;
    meeting.close(signed("1.0.0"), circumstances(), &mut ignore)?;
    let in_force = folder.root.release_keys.iter().filter(|slot| !slot.revoked).map(|slot| &slot.key);
    Ok(release_key::verify(in_force, &cose).is_ok())
}

fn read_record(folder: &Folder, roots: &[&RootContent]) -> Vec<record::Entry> {
    let keys = |name: &str| {
        let custodians = roots.iter().flat_map(|root| &root.custodians);
        custodians.filter(|custodian| custodian.name == name).map(|custodian| &custodian.signing).collect()
    };
    record::read(&folder.records().unwrap(), keys).unwrap()
}

#[test]
fn any_two_of_three_sign_and_the_secret_is_another_each_time() {
    alone("meeting::any_two_of_three_sign_and_the_secret_is_another_each_time", |rig| {
        let cards = rig.new_cards(&["ada", "ben", "cleo"]);
        let folder = rig.found(&cards, (2, 3)).unwrap();
        assert!(!rig.opens(FIRST_PIN), "the first PIN is worthless");
        let dealt = folder.state.user.clone();
        drop(cards);
        assert!(sign(rig, &["ada", "cleo"]).unwrap());
        let folder = Folder::open(&rig.folder()).unwrap();
        assert_ne!(folder.state.user, dealt);
        assert!(folder.state.user.next.is_none());
        assert!(sign(rig, &["cleo", "ben"]).unwrap());
        let entries = read_record(&folder, &[&folder.root]);
        let acts: Vec<_> = entries.iter().map(|entry| (entry.number, entry.present.len())).collect();
        assert_eq!(acts, [(1, 3), (2, 2), (3, 2)]);
        assert_eq!(folder.state.hsm.validation(), "not validated: a stand-in in software");
    });
}

#[test]
fn a_card_and_the_release_key_are_replaced_and_the_old_ones_are_worthless() {
    alone("meeting::a_card_and_the_release_key_are_replaced_and_the_old_ones_are_worthless", |rig| {
        let cards = rig.new_cards(&["ada", "ben", "cleo"]);
        let mut folder = rig.found(&cards, (2, 2)).unwrap();
        let first = folder.root.clone();
        let dora: Vec<Card> = rig.new_cards(&["dora"]);
        let mut meeting = rig.meet(&mut folder, &cards[..2]).unwrap();
        let key = meeting.make_release_key(&mut ignore).unwrap();
        let mut next = first.clone();
        next.version = 2;
        next.custodians[2] = dora[0].custodian().clone();
        next.release_keys[0].revoked = true;
        next.release_keys.push(release::anchors::ReleaseKeySlot { key, revoked: false });
        let act = Act::Changed { root_version: 2, changes: vec!["dora for cleo".to_owned()] };
        let meeting = meeting.change_root(&next, &dora, &mut ignore).unwrap();
        meeting.close(act, circumstances(), &mut ignore).unwrap();
        let folder = Folder::open(&rig.folder()).unwrap();
        assert_eq!((folder.root.version, &folder.root), (2, &next));
        drop((cards, dora));
        assert!(sign(rig, &["ben", "dora"]).unwrap());
        assert!(matches!(sign(rig, &["ben", "cleo"]), Err(CeremonyError::Stranger(name)) if name == "cleo"));
        let folder = Folder::open(&rig.folder()).unwrap();
        assert_eq!(read_record(&folder, &[&first, &folder.root]).len(), 3);
    });
}

#[test]
fn a_cut_while_the_secret_is_replaced_locks_nobody_out() {
    alone("meeting::a_cut_while_the_secret_is_replaced_locks_nobody_out", |rig| {
        let cards = rig.new_cards(&["ada", "ben"]);
        let mut folder = rig.found(&cards, (2, 2)).unwrap();
        let before = folder.state.user.current.clone();
        // The next one was written down, and the HSM never got it.
        folder.state.user.next = Some(rig_other_secret(&folder));
        folder.save().unwrap();
        assert!(sign(rig, &["ada", "ben"]).unwrap());
        // The HSM got it, and that was never written down.
        let mut folder = Folder::open(&rig.folder()).unwrap();
        let next = folder.state.user.current.clone();
        folder.state.user.current = before;
        folder.state.user.next = Some(next);
        folder.save().unwrap();
        assert!(sign(rig, &["ada", "ben"]).unwrap());
    });
}

/// The power is cut at the nth of the steps that matter: before the user's secret is replaced, before the security officer's, before the
/// record is signed. The same custodians go on with what the HSM had first.
fn cut_while_founding(rig: &Rig, nth: usize) {
    let cards = rig.new_cards(&["ada", "ben"]);
    let mut seen = 0;
    let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rig.found_watched(&cards, (2, 2), &mut |step| {
            seen += usize::from(matches!(step, Step::ReplacesSecret | Step::SignsRecord(_)));
            assert!(seen < nth, "the power is cut");
        })
    }));
    assert!(cut.is_err());
    assert!(matches!(rig.finish_founding(&cards[..1]), Err(CeremonyError::TooFew { present: 1, needed: 2 })));
    let folder = rig.finish_founding(&cards).unwrap();
    assert_eq!(read_record(&folder, &[&folder.root]).len(), 1);
    assert!(!rig.opens(FIRST_PIN), "the first PIN is worthless");
    assert!(matches!(rig.finish_founding(&cards), Err(CeremonyError::Folder(FolderError::Exists(_)))));
    drop(cards);
    assert!(sign(rig, &["ada", "ben"]).unwrap());
}

#[test]
fn a_founding_goes_on_after_a_cut_before_the_first_secret() {
    alone("meeting::a_founding_goes_on_after_a_cut_before_the_first_secret", |rig| cut_while_founding(rig, 1));
}

#[test]
fn a_founding_goes_on_after_a_cut_between_the_two_secrets() {
    alone("meeting::a_founding_goes_on_after_a_cut_between_the_two_secrets", |rig| cut_while_founding(rig, 2));
}

#[test]
fn a_founding_goes_on_after_a_cut_before_the_record() {
    alone("meeting::a_founding_goes_on_after_a_cut_before_the_record", |rig| cut_while_founding(rig, 3));
}

/// The custodians that the newest root names.
fn in_force(rig: &Rig) -> Vec<String> {
    let root = Folder::open(&rig.folder()).unwrap().root;
    root.custodians.into_iter().map(|custodian| custodian.name).collect()
}

/// Those in force sign the root of these custodians, and the power is cut before the nth step; whether it was. With `unsaved`, what was written
/// down since the step before is lost, as if the cut had fallen between the HSM and the disk.
fn rotate_until(rig: &Rig, to: &[&str], nth: usize, unsaved: bool) -> bool {
    let names = in_force(rig);
    rotate_by(rig, &names.iter().map(String::as_str).collect::<Vec<_>>(), to, nth, unsaved)
}

/// The same by these of those in force.
fn rotate_by(rig: &Rig, present: &[&str], to: &[&str], nth: usize, unsaved: bool) -> bool {
    let mut folder = Folder::open(&rig.folder()).unwrap();
    let cards = rig.cards(present);
    let new_cards = rig.cards(to);
    let mut next = folder.root.clone();
    next.version += 1;
    next.custodians = new_cards.iter().map(|card| card.custodian().clone()).collect();
    let state = rig.folder().join("state.json");
    let (mut seen, mut before) = (0, None);
    let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut watch = |step| {
            seen += 1;
            if seen == nth {
                before.take().into_iter().for_each(|bytes: Vec<u8>| std::fs::write(&state, bytes).unwrap());
                panic!("the power is cut");
            }
            let replaces = unsaved && step == Step::ReplacesSecret;
            before = replaces.then(|| std::fs::read(&state).unwrap());
        };
        let meeting = meet(&mut folder, &cards, &rig.module, &mut ignore).unwrap();
        let meeting = meeting.change_root(&next, &new_cards, &mut watch).unwrap();
        let act = Act::Changed { root_version: next.version, changes: vec!["a test".to_owned()] };
        meeting.close(act, circumstances(), &mut watch).unwrap();
    }));
    cut.is_err()
}

/// Whoever the root in force names opens the HSM, gives both of its secrets a successor, and every root is in the record.
fn everything_goes_on(rig: &Rig) {
    let names = in_force(rig);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert!(sign(rig, &names).unwrap(), "{names:?}");
    assert!(!rotate_until(rig, &names, usize::MAX, false));
    let folder = Folder::open(&rig.folder()).unwrap();
    let roots: Vec<_> = folder.roots.iter().map(|file| RootContent::from_file(file).unwrap()).collect();
    let recorded =
        read_record(&folder, &roots.iter().collect::<Vec<_>>()).into_iter().filter_map(|entry| match entry.act {
            Act::Changed { root_version, .. } => Some(root_version),
            _ => None,
        });
    assert!(recorded.eq(2..=folder.root.version));
    assert!(folder.state.user.next.is_none() && folder.state.security_officer.next.is_none());
}

/// Swaps ben's card for dora's and back, with a cut at each step.
fn cuts_while_rotating(rig: &Rig, unsaved: bool) {
    rig.found(&rig.new_cards(&["ada", "ben"]), (2, 2)).unwrap();
    rig.new_card("dora");
    let other = || if in_force(rig)[1] == "ben" { ["ada", "dora"] } else { ["ada", "ben"] };
    for nth in 1.. {
        // The steps of the next one alone, and those after another cut.
        for second in [usize::MAX, nth] {
            if !rotate_until(rig, &other(), nth, unsaved) {
                assert!(nth > 9, "there are so many steps");
                return;
            }
            rotate_until(rig, &other(), second, unsaved);
            everything_goes_on(rig);
        }
    }
}

#[test]
fn a_cut_at_any_step_while_a_card_is_replaced_locks_nobody_out() {
    alone("meeting::a_cut_at_any_step_while_a_card_is_replaced_locks_nobody_out", |rig| {
        cuts_while_rotating(rig, false)
    });
}

#[test]
fn a_cut_between_the_hsm_and_the_disk_while_a_card_is_replaced_locks_nobody_out() {
    alone("meeting::a_cut_between_the_hsm_and_the_disk_while_a_card_is_replaced_locks_nobody_out", |rig| {
        cuts_while_rotating(rig, true);
    });
}

#[test]
fn whoever_was_not_at_rotations_that_were_cut_off_can_open_the_hsm() {
    alone("meeting::whoever_was_not_at_rotations_that_were_cut_off_can_open_the_hsm", |rig| {
        rig.found(&rig.new_cards(&["ada", "ben", "cleo"]), (2, 2)).unwrap();
        rig.new_card("dora");
        let other = || ["ada", "ben", if in_force(rig)[2] == "cleo" { "dora" } else { "cleo" }];
        for nth in 1.. {
            if !rotate_by(rig, &["ada", "ben"], &other(), nth, false) {
                assert!(nth > 9, "there are so many steps");
                return;
            }
            rotate_by(rig, &["ada", "ben"], &other(), nth, false);
            let third = in_force(rig)[2].clone();
            assert!(sign(rig, &["ada", &third]).unwrap(), "after cuts before step {nth}");
        }
    });
}

/// A secret of the right form that the HSM does not have.
fn rig_other_secret(folder: &Folder) -> release::author::ceremony::login::SealedSecret {
    use release::author::ceremony::login::{LoginOf, SealedSecret};
    let secret = crate::rig::secret("another secret that nobody set");
    SealedSecret::deal(LoginOf::User, &secret, 2, &folder.root.custodians).unwrap()
}

#[test]
fn an_entry_that_was_signed_before_approvals_had_a_time_is_read() {
    alone("meeting::an_entry_that_was_signed_before_approvals_had_a_time_is_read", |rig| {
        let cards = rig.new_cards(&["ada", "ben"]);
        let mut folder = rig.found(&cards, (2, 2)).unwrap();
        rig.meet(&mut folder, &cards).unwrap().close(signed("1.0.0"), circumstances(), &mut ignore).unwrap();
        let mut files = folder.records().unwrap();
        let file: Value = serde_json::from_slice(&files[1]).unwrap();
        let mut entry = file["entry"].clone();
        entry["act"]["approvals"] = json!([{ "custodian": "ada", "compared": true }]);
        let message = [b"vouch/ceremony/record/1\n", &to_canonical_bytes(&entry).unwrap()[..]].concat();
        let sign = |card: &Card| {
            let signature = const_hex::encode(card.sign(&message).unwrap());
            json!({ "custodian": card.custodian().name, "signature": signature })
        };
        let signatures: Vec<_> = cards.iter().map(sign).collect();
        files[1] = serde_json::to_vec_pretty(&json!({ "entry": entry, "signatures": signatures })).unwrap();
        let keys = |name: &str| {
            let custodians = folder.root.custodians.iter().filter(|custodian| custodian.name == name);
            custodians.map(|custodian| &custodian.signing).collect()
        };
        let read = record::read(&files, keys).unwrap();
        let Act::Signed { approvals, .. } = &read[1].act else { panic!("{read:?}") };
        assert_eq!((approvals[0].compared, approvals[0].unix_ms), (true, None));
    });
}
