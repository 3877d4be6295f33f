//! What agents save, and that a folder can be opened again.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use keys::secret::Secret;
use vouch_server::fleet::{AgentId, AgentIdSecret};
use vouch_server::limits::LIMITS;
use vouch_server::store::{AgentState, SaveError, Store, StoreError};

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
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn a_database_is_neither_overwritten_nor_made_by_opening() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Store::open(dir.path(), secret(), &LIMITS).await.is_err());
    Store::create(dir.path(), secret(), &LIMITS).await.unwrap().close().await;
    assert!(matches!(Store::create(dir.path(), secret(), &LIMITS).await, Err(StoreError::Exists(_))));
}
