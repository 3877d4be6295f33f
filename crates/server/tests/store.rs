//! What agents save, what logins see, and that a folder can be opened again.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use keys::secret::Secret;
use keys::signer::Signer;
use vouch_server::fleet::{
    AccountId, AgentId, AgentIdSecret, DeploymentId, EnvVars, GroupId, GroupType, NewDeployment, NewDevice, TokenId,
};
use vouch_server::limits::LIMITS;
use vouch_server::store::{AgentState, NewToken, SaveError, Store, StoreError};

fn secret() -> AgentIdSecret {
    AgentIdSecret::new(Secret::new(vec![1; AgentIdSecret::BYTES]))
}

fn agent(letter: &str) -> AgentId {
    letter.repeat(12).parse().unwrap()
}

#[tokio::test]
async fn what_an_agent_saves_is_versioned_and_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), secret(), &LIMITS).await.unwrap();
    assert_eq!(store.agent_state(agent("a")).await.unwrap(), None);
    assert_eq!(store.save_agent_state(agent("a"), 0, b"one").await.unwrap(), 1);
    assert_eq!(store.save_agent_state(agent("a"), 1, b"").await.unwrap(), 2);
    assert_eq!(store.agent_state(agent("a")).await.unwrap(), Some(AgentState { version: 2, bytes: Vec::new() }));
    assert_eq!(store.agent_state(agent("b")).await.unwrap(), None);
    store.close().await;
    let store = Store::open(dir.path(), secret(), &LIMITS).await.unwrap();
    assert_eq!(store.agent_state(agent("a")).await.unwrap().unwrap().version, 2);
}

#[tokio::test]
async fn of_two_agents_of_one_device_only_one_can_save() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), secret(), &LIMITS).await.unwrap();
    store.save_agent_state(agent("a"), 0, b"first").await.unwrap();
    assert!(matches!(store.save_agent_state(agent("a"), 0, b"second").await, Err(SaveError::Stale)));
    assert!(matches!(store.save_agent_state(agent("a"), 2, b"second").await, Err(SaveError::Stale)));
    assert!(matches!(store.save_agent_state(agent("a"), u64::MAX, b"second").await, Err(SaveError::Stale)));
    assert!(matches!(store.save_agent_state(agent("b"), 1, b"second").await, Err(SaveError::Stale)));
    let both = tokio::join!(store.save_agent_state(agent("a"), 1, b"x"), store.save_agent_state(agent("a"), 1, b"y"));
    assert_eq!(u8::from(both.0.is_ok()) + u8::from(both.1.is_ok()), 1);
}

#[tokio::test]
async fn an_agent_saves_as_much_as_the_limit_and_not_one_byte_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), secret(), &LIMITS).await.unwrap();
    let most = vec![7; LIMITS.agent_state_bytes];
    store.save_agent_state(agent("a"), 0, &most).await.unwrap();
    let more = vec![7; LIMITS.agent_state_bytes + 1];
    assert!(matches!(store.save_agent_state(agent("a"), 1, &more).await, Err(SaveError::TooLong(_))));
    assert_eq!(store.agent_state(agent("a")).await.unwrap().unwrap().bytes, most, "what was saved is still there");
}

#[tokio::test]
async fn the_database_is_private_even_in_an_open_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let store = Store::create(dir.path(), secret(), &LIMITS).await.unwrap();
    store.save_agent_state(agent("a"), 0, b"one").await.unwrap();
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 2, "the database and its write-ahead log");
    for file in files {
        let metadata = file.metadata().unwrap();
        let private = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, private, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn a_database_is_neither_overwritten_nor_made_by_opening() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Store::open(dir.path(), secret(), &LIMITS).await.is_err());
    Store::create(dir.path(), secret(), &LIMITS).await.unwrap().close().await;
    assert!(matches!(Store::create(dir.path(), secret(), &LIMITS).await, Err(StoreError::Exists(_))));
}

fn deployment(group: GroupId, creator: AccountId, device_image: &[u8]) -> NewDeployment {
    NewDeployment {
        id: DeploymentId::random(),
        group,
        creator,
        notes: Default::default(),
        origin: None,
        device_code: String::new(),
        agent_code: String::new(),
        device_image: device_image.to_vec(),
        agent_image: vec![1],
    }
}

fn new_device() -> NewDevice {
    let identity = Arc::new(Signer::generate(KeyPurpose::DeviceIdentity).unwrap().public().clone());
    NewDevice {
        key_agreement_spki: identity.spki_der().to_vec(),
        identity,
        tls_spki: SpkiHash([1; 32]),
        profile: Profile::Modern,
        model: "m".to_owned(),
        attestation: keys::keystore::AttestationLevel::Software,
    }
}

async fn token(store: &Store, owner: AccountId) -> TokenId {
    let id = TokenId::new([1; 9]);
    let new = NewToken { id, secret_sha256: [2; 32], owner, group: None, uses: 1, minutes: 1 };
    store.create_enrolment_token(&new).await.unwrap();
    id
}

/// Logins are answered from memory where they can; each change is followed by a login that must see it.
#[tokio::test]
async fn every_change_of_a_device_shows_in_the_very_next_login() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), secret(), &LIMITS).await.unwrap();
    let owner = store.create_account(&"me".parse().unwrap(), "", "").await.unwrap();
    let product = store.create_product(owner, owner, "p", "").await.unwrap();
    let group =
        store.create_group(GroupType::Development, product.id, owner, "g", "", &EnvVars::default()).await.unwrap().id;
    let mut device = new_device();
    let (spki, id) = (device.identity.spki_hash(), device.identity.device_id());
    let token = token(&store, owner).await;
    let login = || async { store.device_login(spki).await.unwrap() };
    assert!(login().await.is_none());

    store.redeem_token(&token, &[2; 32], 0, device.clone()).await.unwrap();
    assert_eq!(login().await.unwrap().tls_spki, SpkiHash([1; 32]));
    device.tls_spki = SpkiHash([9; 32]);
    store.redeem_token(&token, &[2; 32], 0, device).await.unwrap();
    assert_eq!(login().await.unwrap().tls_spki, SpkiHash([9; 32]));

    store.assign_device(id, group).await.unwrap();
    assert_eq!(login().await.unwrap().group, Some(group));
    let first = deployment(group, owner, b"one");
    store.create_deployment(&first).await.unwrap();
    assert_eq!(login().await.unwrap().deployment, Some(first.id));
    let second = deployment(group, owner, b"two");
    store.create_deployment(&second).await.unwrap();
    assert_eq!(login().await.unwrap().deployment, Some(second.id));

    let (journal, task) = store.journal();
    let writing = tokio::spawn(task.run());
    journal.os_version(spki, "2.0".to_owned());
    journal.flush().await;
    assert_eq!(login().await.unwrap().os_version.as_deref(), Some("2.0"));
    drop(journal);
    writing.await.unwrap();

    store.unassign_device(id, group).await.unwrap();
    assert_eq!(login().await.unwrap().group, None);
    store.delete_device(id).await.unwrap();
    assert!(login().await.is_none());
}

#[tokio::test]
async fn a_revocation_shows_in_the_very_next_login() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), secret(), &LIMITS).await.unwrap();
    let owner = store.create_account(&"me".parse().unwrap(), "", "").await.unwrap();
    let device = new_device();
    let (spki, id) = (device.identity.spki_hash(), device.identity.device_id());
    let token = token(&store, owner).await;
    store.redeem_token(&token, &[2; 32], 0, device).await.unwrap();
    assert!(!store.device_login(spki).await.unwrap().unwrap().revoked);
    store.revoke_device(id).await.unwrap();
    assert!(store.device_login(spki).await.unwrap().unwrap().revoked);
}
