//! What agents save.

use thiserror::Error;

use super::{Store, StoreError, unix_ms};
use crate::fleet::AgentId;

/// What an agent saved last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentState {
    /// Counts its saves, from 1.
    pub version: u64,
    /// The bytes, as they were saved.
    pub bytes: Vec<u8>,
}

/// Why a save was not made; what was saved before is still there.
#[derive(Debug, Error)]
pub enum SaveError {
    /// More bytes than an agent may save.
    #[error("the agent saves at most {0} bytes")]
    TooLong(usize),
    /// Somebody else has saved since the version that was given: another agent of the device runs.
    #[error("another agent of this device has saved since")]
    Stale,
    /// The state could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// What an agent saved last.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn agent_state(&self, agent: AgentId) -> Result<Option<AgentState>, StoreError> {
        let found = sqlx::query_as::<_, (i64, Vec<u8>)>("SELECT version, state FROM agent_states WHERE agent_id = $1")
            .bind(agent.to_string())
            .fetch_optional(self.readers())
            .await?;
        let state = |(version, bytes): (i64, Vec<u8>)| {
            let version = version.try_into().map_err(|_| StoreError::Damaged("agent_states.version"))?;
            Ok(AgentState { version, bytes })
        };
        found.map(state).transpose()
    }

    /// Saves an agent's bytes; durable when this returns. `previous` is the version that it saved or loaded last, 0 for none. Returns the
    /// new version.
    ///
    /// # Errors
    /// [`SaveError`].
    pub async fn save_agent_state(&self, agent: AgentId, previous: u64, bytes: &[u8]) -> Result<u64, SaveError> {
        if bytes.len() > self.0.limits.agent_state_bytes {
            return Err(SaveError::TooLong(self.0.limits.agent_state_bytes));
        }
        let previous = i64::try_from(previous).map_err(|_| SaveError::Stale)?;
        let sql = if previous == 0 {
            "INSERT INTO agent_states (agent_id, version, state, saved_ms) VALUES ($1, $2 + 1, $3, $4)
             ON CONFLICT (agent_id) DO NOTHING RETURNING version"
        } else {
            "UPDATE agent_states SET version = version + 1, state = $3, saved_ms = $4 WHERE agent_id = $1 AND version = $2
             RETURNING version"
        };
        // All rows, of which there is at most one: asking for the first alone would not notice a commit that fails after it.
        let saved: Vec<i64> = sqlx::query_scalar(sql)
            .bind(agent.to_string())
            .bind(previous)
            .bind(bytes)
            .bind(unix_ms())
            .fetch_all(self.writer())
            .await
            .map_err(StoreError::from)?;
        saved.first().and_then(|&version| version.try_into().ok()).ok_or(SaveError::Stale)
    }
}

#[cfg(test)]
mod tests {
    use keys::secret::Secret;

    use super::*;
    use crate::fleet::AgentIdSecret;
    use crate::limits::LIMITS;

    #[tokio::test]
    async fn a_save_whose_commit_fails_is_not_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), AgentIdSecret::new(Secret::new(vec![1; 32])), &LIMITS).await.unwrap();
        // What a full disk does: the statement itself succeeds, its commit does not.
        for sql in [
            "CREATE TABLE a (id TEXT PRIMARY KEY)",
            "CREATE TABLE b (id TEXT REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)",
            "CREATE TRIGGER c AFTER INSERT ON agent_states BEGIN INSERT INTO b VALUES ('missing'); END",
        ] {
            sqlx::query(sql).execute(store.writer()).await.unwrap();
        }
        let agent: AgentId = "aaaaaaaaaaaa".parse().unwrap();
        assert!(matches!(store.save_agent_state(agent, 0, b"precious").await, Err(SaveError::Store(_))));
        assert_eq!(store.agent_state(agent).await.unwrap(), None);
    }
}
