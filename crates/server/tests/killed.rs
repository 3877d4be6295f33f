//! What a server acknowledged is there after it was killed at any moment.
//!
//! Without the test harness, since the same program is also the victim: `killed --victim DIR` saves until it dies.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use keys::public::SpkiHash;
use keys::secret::Secret;
use vouch_server::fleet::{AccountId, AgentId, AgentIdSecret};
use vouch_server::limits::LIMITS;
use vouch_server::store::Store;

/// Saves acknowledged before each kill.
const SAVES: u64 = 50;
const KILLS: u64 = 4;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, flag, dir] if flag == "--victim" => runtime.block_on(save_for_ever(Path::new(dir))),
        _ if arguments.iter().any(|argument| argument == "--list") => {}
        _ => {
            runtime.block_on(acknowledged_saves_survive_kills());
            println!("test acknowledged_saves_survive_kills ... ok");
        }
    }
}

fn secret() -> AgentIdSecret {
    AgentIdSecret::new(Secret::new(vec![1; AgentIdSecret::BYTES]))
}

fn agent() -> AgentId {
    "AAAAAAAAAAAA".parse().unwrap()
}

async fn acknowledged_saves_survive_kills() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), secret(), &LIMITS).await.unwrap();
    assert_ne!(secret().agent_id(SpkiHash([1; 32]), AccountId::random()), agent());
    store.close().await;
    let mut acknowledged = 0;
    for kill in 1..=KILLS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .arg("--victim")
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok());
        while acknowledged < kill * SAVES {
            acknowledged = lines.next().expect("the victim saves");
        }
        // SIGKILL, in the midst of the next save. What it acknowledged until then still counts.
        victim.kill().unwrap();
        acknowledged = lines.last().unwrap_or(acknowledged);
        victim.wait().unwrap();
        let store = Store::open(dir.path(), secret(), &LIMITS).await.unwrap();
        let state = store.agent_state(agent()).await.unwrap().expect("a state");
        assert!(
            state.version == acknowledged || state.version == acknowledged + 1,
            "{} after {acknowledged}",
            state.version
        );
        assert_eq!(state.bytes, bytes_of(state.version));
        store.close().await;
    }
}

async fn save_for_ever(dir: &Path) {
    let store = Store::open(dir, secret(), &LIMITS).await.unwrap();
    let mut version = store.agent_state(agent()).await.unwrap().map_or(0, |state| state.version);
    loop {
        version = store.save_agent_state(agent(), version, &bytes_of(version + 1)).await.unwrap();
        println!("{version}");
    }
}

fn bytes_of(version: u64) -> Vec<u8> {
    version.to_be_bytes().repeat(1_000)
}
