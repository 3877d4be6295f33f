//! Apps on a device that demands an approval: what it takes, and what it refuses.

use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use release::author::{Delegation, Quorum};
use release::floors::BelowFloor;

use super::*;
use crate::boot::maker::{DAY, Maker};

const APP: &[u8] = b"an app";
const OTHER: &[u8] = b"another app";

/// A device, its maker, the server's key for apps, and the cards of an owner's people, who need two.
struct Shop {
    maker: Maker,
    server: Signer,
    cards: Vec<Signer>,
    root: Vec<u8>,
    floors: AppFloors,
}

impl Shop {
    /// `careful` has a quorum of two; all others trust the server.
    fn open() -> Shop {
        let card = || Signer::generate(KeyPurpose::AppApproval).unwrap();
        let (mut maker, server, cards) = (Maker::new(), card(), vec![card(), card(), card()]);
        let quorum = Quorum { keys: cards.iter().map(|card| card.public().clone()).collect(), threshold: 2 };
        maker.apps = vec![
            Delegation::Owner { owner: "careful".into(), quorum },
            Delegation::Server { key: server.public().clone() },
        ];
        let root = maker.newest_root().to_vec();
        Shop { maker, server, cards, root, floors: AppFloors::default() }
    }

    /// What the server says when its own role approves these.
    fn by_server(&self, owner: &str, app: &[u8], approved: &[(&str, &[u8])]) -> Trust {
        self.maker.trust_app(owner, app, SERVER_ROLE, approved, &[&self.server])
    }

    /// What it says when so many of the people of `careful` approve these.
    fn by_people(&self, app: &[u8], approved: &[(&str, &[u8])], signers: usize) -> Trust {
        let signers: Vec<_> = self.cards.iter().take(signers).collect();
        self.maker.trust_app("careful", app, &owner_role("careful"), approved, &signers)
    }

    fn judge(&mut self, trust: &Trust, app: &[u8]) -> Result<(), AppRefused> {
        judge_app(&self.root, &mut self.floors, trust, app, self.maker.now)
    }
}

#[test]
fn an_app_that_the_servers_role_approves_is_taken_and_pins_nobody() {
    let mut shop = Shop::open();
    let trust = shop.by_server("easy", APP, &[("easy", APP)]);
    shop.judge(&trust, APP).unwrap();
    assert_eq!(shop.floors.quorum_of, None);
    assert_ne!(shop.floors.metadata, MetadataFloors::NONE);
    let trust = shop.by_server("lazy", OTHER, &[("lazy", OTHER)]);
    shop.judge(&trust, OTHER).unwrap();
}

#[test]
fn attack_an_app_that_nobody_approved_is_refused() {
    let mut shop = Shop::open();
    for approved in [&[][..], &[("easy", OTHER)], &[("lazy", APP)]] {
        let trust = shop.by_server("easy", APP, approved);
        assert!(matches!(shop.judge(&trust, APP), Err(AppRefused::Approval(AppError::NotApproved))));
    }
    // With a server that says nothing, or that signs with another key.
    let silent = Trust { delegated: None, ..shop.by_server("easy", APP, &[("easy", APP)]) };
    assert!(shop.judge(&silent, APP).is_err());
    assert!(matches!(shop.judge(&Trust::default(), APP), Err(AppRefused::NoOwner)));
    let forged = shop.maker.trust_app("easy", APP, SERVER_ROLE, &[("easy", APP)], &[&shop.cards[0]]);
    assert!(shop.judge(&forged, APP).is_err());
}

#[test]
fn attack_an_approval_is_not_taken_for_another_app() {
    let mut shop = Shop::open();
    let trust = shop.by_server("easy", APP, &[("easy", APP)]);
    assert!(matches!(shop.judge(&trust, OTHER), Err(AppRefused::NoOwner)));
    let renamed = shop.by_server("easy", OTHER, &[("easy", APP)]);
    assert!(matches!(shop.judge(&renamed, OTHER), Err(AppRefused::Approval(AppError::NotApproved))));
}

#[test]
fn attack_one_card_too_few_or_the_server_approves_no_app_of_an_owner_with_a_quorum() {
    let mut shop = Shop::open();
    let one = shop.by_people(APP, &[("careful", APP)], 1);
    assert!(shop.judge(&one, APP).is_err());
    let server = shop.by_server("careful", APP, &[("careful", APP)]);
    assert!(shop.judge(&server, APP).is_err());
    assert_eq!(shop.floors.quorum_of, None, "a refused app pins nobody");
    let two = shop.by_people(APP, &[("careful", APP)], 2);
    shop.judge(&two, APP).unwrap();
    assert_eq!(shop.floors.quorum_of.as_deref(), Some("careful"));
    // From now on as before.
    let server = shop.by_server("careful", OTHER, &[("careful", OTHER)]);
    assert!(shop.judge(&server, OTHER).is_err());
}

#[test]
fn attack_once_an_owners_quorum_was_seen_nobody_else_approves_an_app_here() {
    let mut shop = Shop::open();
    let two = shop.by_people(APP, &[("careful", APP)], 2);
    shop.judge(&two, APP).unwrap();
    let elsewhere = shop.by_server("easy", OTHER, &[("easy", OTHER)]);
    let refused = shop.judge(&elsewhere, OTHER).unwrap_err();
    assert!(matches!(&refused, AppRefused::OtherOwner { pinned, offered } if pinned == "careful" && offered == "easy"));
    shop.maker.apps.remove(0);
    shop.maker.version += 1;
    let gone = shop.by_server("careful", OTHER, &[("careful", OTHER)]);
    assert!(matches!(shop.judge(&gone, OTHER), Err(AppRefused::Approval(AppError::QuorumGone))));
    assert_eq!(shop.floors.quorum_of.as_deref(), Some("careful"));
}

#[test]
fn attack_metadata_older_than_what_an_app_was_judged_by_or_expired_is_refused() {
    let mut shop = Shop::open();
    let old = shop.by_server("easy", APP, &[("easy", APP)]);
    shop.maker.version += 1;
    let new = shop.by_server("easy", OTHER, &[("easy", OTHER)]);
    shop.judge(&new, OTHER).unwrap();
    let refused = shop.judge(&old, APP);
    assert!(matches!(refused, Err(AppRefused::Metadata(TufError::BelowFloor(BelowFloor::Metadata { .. })))));
    let late = judge_app(&shop.root, &mut shop.floors, &new, OTHER, shop.maker.now + 2 * DAY);
    assert!(matches!(late, Err(AppRefused::Metadata(error)) if error.is_expired()));
    // Refused or not, what was verified raises the floors.
    shop.maker.version += 1;
    let newest = shop.by_server("easy", APP, &[]);
    assert!(shop.judge(&newest, APP).is_err());
    assert!(matches!(shop.judge(&new, OTHER), Err(AppRefused::Metadata(TufError::BelowFloor(_)))));
}

#[test]
fn an_app_is_proved_from_an_older_root_by_the_newer_ones_that_come_along() {
    let mut shop = Shop::open();
    shop.maker.publish_root();
    let trust = shop.by_server("easy", APP, &[("easy", APP)]);
    assert_eq!(trust.roots.len(), 1);
    shop.judge(&trust, APP).unwrap();
    let without = Trust { roots: Vec::new(), ..trust };
    assert!(matches!(shop.judge(&without, APP), Err(AppRefused::Metadata(TufError::BelowFloor(_)))));
}

#[test]
fn an_owner_or_a_newer_root_is_a_security_event_and_newer_metadata_is_none() {
    let floors = |root, targets| {
        let mut floors = AppFloors::default();
        (floors.metadata.root, floors.metadata.targets) = (root, targets);
        floors
    };
    let before = floors(2, 1);
    let owned = AppFloors { quorum_of: Some("careful".into()), ..before.clone() };
    assert!(owned.is_event(&before, 2));
    assert!(!floors(2, 5).is_event(&before, 2));
    assert!(floors(3, 1).is_event(&before, 2));
    assert!(!floors(3, 1).is_event(&before, 3), "the root that is in force is known already");
    assert!(!floors(2, 1).is_event(&AppFloors::default(), 2));
}
