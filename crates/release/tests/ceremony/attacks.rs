//! Attacks on the ceremony, by name.

use keys::pkcs11::TokenError;
use keys::{cbor, cose, metadata};
use release::approval::{Approval, ApprovalError};
use release::author::ceremony::acts::CeremonyError;
use release::author::ceremony::card::{Card, CardKeys};
use release::author::ceremony::login::{LoginError, LoginOf};
use release::author::ceremony::record::{self, Act};
use release::author::ceremony::state::{Folder, FolderError};
use release::author::{Draft, DraftError};
use release::limits::LIMITS;

use crate::rig::{FIRST_PIN, FIRST_SO_PIN, HSM, alone, circumstances, ignore, secret};

#[test]
fn one_card_and_one_fewer_than_needed_open_nothing() {
    alone("attacks::one_card_and_one_fewer_than_needed_open_nothing", |rig| {
        let cards = rig.new_cards(&["ada", "ben", "cleo"]);
        let mut folder = rig.found(&cards, (3, 3)).unwrap();
        for few in [&cards[..1], &cards[..2]] {
            let present = few.len();
            let refused = rig.meet(&mut folder, few).unwrap_err();
            assert!(matches!(refused, CeremonyError::TooFew { present: found, needed: 3 } if found == present));
            // Whoever has the HSM, the folder and so many cards, and a program of his own, gets no further.
            let user = folder.state.user.current.open(LoginOf::User, few);
            assert!(matches!(user, Err(LoginError::Shares(_))));
            let officer = folder.state.security_officer.current.open(LoginOf::SecurityOfficer, few);
            assert!(matches!(officer, Err(LoginError::Shares(_))));
        }
        assert!(!rig.opens(FIRST_PIN));
        rig.meet(&mut folder, &cards).unwrap();
    });
}

#[test]
fn the_security_officer_cannot_be_used_to_go_round_the_quorum() {
    alone("attacks::the_security_officer_cannot_be_used_to_go_round_the_quorum", |rig| {
        let cards = rig.new_cards(&["ada", "ben"]);
        rig.found(&cards, (2, 2)).unwrap();
        let reset = rig.module.set_so_pin(&HSM.into(), &secret(FIRST_SO_PIN), &secret("mine-from-now-on"));
        assert_eq!(reset, Err(TokenError::WrongPin));
    });
}

#[test]
fn one_card_under_two_names_counts_once() {
    alone("attacks::one_card_under_two_names_counts_once", |rig| {
        rig.new_card("ada");
        let twice = [rig.card_as("ada", "ada"), rig.card_as("ada", "ben")];
        assert!(matches!(rig.found(&twice, (2, 2)), Err(CeremonyError::SameCard(_, _))));
        assert!(rig.opens(FIRST_PIN), "nothing was done to the HSM");
        rig.new_card("ben");
        let mut folder = rig.found(&rig.cards(&["ada", "ben"]), (2, 2)).unwrap();
        assert!(matches!(rig.meet(&mut folder, &twice), Err(CeremonyError::SameCard(_, _))));
        assert!(matches!(rig.meet(&mut folder, &twice[..1]), Err(CeremonyError::TooFew { .. })));
    });
}

#[test]
fn a_strangers_card_and_a_second_founding_are_refused() {
    alone("attacks::a_strangers_card_and_a_second_founding_are_refused", |rig| {
        let cards = rig.new_cards(&["ada", "ben"]);
        let mut folder = rig.found(&cards, (2, 2)).unwrap();
        rig.new_card("mallory");
        let posing = [rig.card_as("ada", "ada"), rig.card_as("mallory", "ben")];
        assert!(matches!(rig.meet(&mut folder, &posing), Err(CeremonyError::Stranger(name)) if name == "ben"));
        assert!(matches!(rig.found(&cards, (2, 2)), Err(CeremonyError::Folder(FolderError::Exists(_)))));
    });
}

#[test]
fn a_root_that_too_few_signed_or_that_skips_a_version_is_not_followed() {
    alone("attacks::a_root_that_too_few_signed_or_that_skips_a_version_is_not_followed", |rig| {
        let cards = rig.new_cards(&["ada", "ben", "cleo"]);
        let mut folder = rig.found(&cards, (2, 2)).unwrap();
        let draft = |version, signers: usize| {
            let mut root = folder.root.clone();
            root.version = version;
            let mut draft = Draft::of_root(&root).unwrap();
            for card in &cards[..signers] {
                let signature = card.sign(draft.to_be_signed()).unwrap();
                draft.sign(&card.custodian().signing, signature.as_slice().try_into().unwrap()).unwrap();
            }
            draft.to_json()
        };
        let (lonely, skipping, good) = (draft(2, 1), draft(3, 2), draft(2, 2));
        for bad in [lonely, skipping] {
            assert!(matches!(folder.add_root(bad), Err(FolderError::Roots { .. })));
        }
        assert_eq!(folder.root.version, 1);
        folder.add_root(good).unwrap();
        assert_eq!(Folder::open(&rig.folder()).unwrap().root.version, 2);
    });
}

#[test]
fn a_changed_record_and_a_signature_of_somebody_else_are_noticed() {
    alone("attacks::a_changed_record_and_a_signature_of_somebody_else_are_noticed", |rig| {
        let cards = rig.new_cards(&["ada", "ben"]);
        let mut folder = rig.found(&cards, (2, 2)).unwrap();
        let act = Act::Changed { root_version: 1, changes: vec!["nothing".to_owned()] };
        rig.meet(&mut folder, &cards).unwrap().close(act, circumstances(), &mut ignore).unwrap();
        let files = folder.records().unwrap();
        let keys = |name: &str| {
            let custodians = folder.root.custodians.iter().filter(|custodian| custodian.name == name);
            custodians.map(|custodian| &custodian.signing).collect::<Vec<_>>()
        };
        assert_eq!(record::read(&files, keys).unwrap().len(), 2);
        assert_eq!(record::read(&files[1..], keys).unwrap_err().number, 1, "the first entry is gone");
        let mut changed = files.clone();
        changed[1] = String::from_utf8(files[1].clone()).unwrap().replace("nothing", "something").into_bytes();
        assert_eq!(record::read(&changed, keys).unwrap_err().number, 2);
        let others = |_: &str| vec![&folder.root.custodians[0].signing];
        assert_eq!(record::read(&files, others).unwrap_err().number, 1);
        let mut draft = Draft::of_root(&folder.root).unwrap();
        let of_ada = cards[0].sign(draft.to_be_signed()).unwrap();
        let refused = draft.sign(&cards[1].custodian().signing, of_ada.as_slice().try_into().unwrap());
        assert!(matches!(refused, Err(DraftError::BadSignature)));
    });
}

#[test]
fn a_card_with_a_key_that_was_not_made_on_it_is_not_enrolled() {
    alone("attacks::a_card_with_a_key_that_was_not_made_on_it_is_not_enrolled", |rig| {
        let signing = CardKeys::ours().unwrap().signing;
        assert_eq!(rig.prepare_with_imported_key("mallory"), Err(TokenError::FoundNotKept(signing)));
        // Its own keys are taken again.
        let ada = rig.new_card("ada");
        assert_eq!(rig.prepare_again("ada").custodian(), ada.custodian());
    });
}

#[test]
fn an_approval_is_said_by_the_card_that_signed_it_of_these_targets_alone() {
    alone("attacks::an_approval_is_said_by_the_card_that_signed_it_of_these_targets_alone", |rig| {
        let cards = rig.new_cards(&["ada", "ben"]);
        let folder = rig.found(&cards, (2, 2)).unwrap();
        let signed_by = |card: &Card, payload: &[u8], message: &[u8]| {
            cose::assemble(payload, card.sign(message).unwrap().try_into().unwrap())
        };
        let said = |card: &Card, payload: &[u8]| signed_by(card, payload, &metadata::approval_to_be_signed(payload));
        let verify = |cose: &[u8]| Approval::verify(&folder.root, b"the targets", cose).map(|(said, _)| said);
        let honest = Approval::new("ada", false, 7, b"the targets");
        let payload = cbor::encode(&honest);
        assert_eq!(verify(&said(&cards[0], &payload)), Ok(honest.clone()));
        let other_name = ApprovalError::OtherName { named: "ada".to_owned(), signer: "ben".to_owned() };
        assert_eq!(verify(&said(&cards[1], &payload)), Err(other_name));
        let of_others = cbor::encode(&Approval::new("ada", false, 7, b"other targets"));
        assert_eq!(verify(&said(&cards[0], &of_others)), Err(ApprovalError::OtherTargets("ada".to_owned())));
        for wrong in [[&payload[..], &[0]].concat(), payload[..payload.len() - 1].to_vec()] {
            assert!(matches!(verify(&said(&cards[0], &wrong)), Err(ApprovalError::Form(_))));
        }
        // The record of the ceremony would hold it, and nobody could show it.
        for (unix_ms, is_taken) in
            [(LIMITS.approval_unix_ms, true), (LIMITS.approval_unix_ms + 1, false), (u64::MAX, false)]
        {
            let of_then = Approval::new("ada", false, unix_ms, b"the targets");
            let expected = if is_taken { Ok(of_then.clone()) } else { Err(ApprovalError::Time("ada".to_owned())) };
            assert_eq!(verify(&said(&cards[0], &cbor::encode(&of_then))), expected);
        }
        let newer = [&[payload[0], 2], &payload[2..]].concat();
        assert_eq!(verify(&said(&cards[0], &newer)), Err(ApprovalError::Format(2)));
        // Bytes that the card signed as something else, and a card that the root does not name.
        let as_a_proof = cose::to_be_signed(cose::CosePurpose::Challenge, &payload);
        for other in [&payload[..], &as_a_proof] {
            assert_eq!(verify(&signed_by(&cards[0], &payload, other)), Err(ApprovalError::Signature));
        }
        assert_eq!(verify(&said(&rig.new_card("mallory"), &payload)), Err(ApprovalError::Signature));
    });
}
