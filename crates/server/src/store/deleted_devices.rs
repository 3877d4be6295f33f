//! Devices that were deleted, and what is still to be removed of them.
//!
//! The journal writes behind, so that a last line may come after the deletion.

use keys::public::SpkiHash;
use sqlx::{Sqlite, Transaction};

use super::StoreError;
use crate::fleet::AgentId;

/// After this nothing is written for a deleted device any more, milliseconds: its session and its agent ended long before.
const SETTLED_MS: i64 = 60_000;
/// Deleted devices that one change clears up at most.
const AT_ONCE: i64 = 64;

/// Remembers a deletion and removes all that there is of the device now.
pub(super) async fn forget(
    change: &mut Transaction<'static, Sqlite>,
    spki: &SpkiHash,
    agent: &AgentId,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO deleted_devices (spki, agent_id, deleted_ms) VALUES ($1, $2, $3)
         ON CONFLICT (spki) DO UPDATE SET agent_id = excluded.agent_id, deleted_ms = excluded.deleted_ms",
    )
    .bind(spki.as_bytes().as_slice())
    .bind(agent.to_string())
    .bind(now_ms)
    .execute(&mut **change)
    .await?;
    remove(change, spki.as_bytes(), &agent.to_string()).await
}

/// Removes what was written for devices after their deletion, once nothing more can come. To be called with every deletion and at the start.
pub(super) async fn clear_up(change: &mut Transaction<'static, Sqlite>, now_ms: i64) -> Result<(), StoreError> {
    let settled = sqlx::query_as::<_, (Vec<u8>, String)>(
        "SELECT spki, agent_id FROM deleted_devices WHERE deleted_ms <= $1 ORDER BY deleted_ms LIMIT $2",
    )
    .bind(now_ms.saturating_sub(SETTLED_MS))
    .bind(AT_ONCE)
    .fetch_all(&mut **change)
    .await?;
    for (spki, agent) in settled {
        remove(change, &spki, &agent).await?;
        sqlx::query("DELETE FROM deleted_devices WHERE spki = $1").bind(spki).execute(&mut **change).await?;
    }
    Ok(())
}

/// A device that is enrolled again, by whom ever, finds nothing of its former life.
pub(super) async fn begin_anew(change: &mut Transaction<'static, Sqlite>, spki: &SpkiHash) -> Result<(), sqlx::Error> {
    let agent = sqlx::query_scalar::<_, String>("DELETE FROM deleted_devices WHERE spki = $1 RETURNING agent_id")
        .bind(spki.as_bytes().as_slice())
        .fetch_all(&mut **change)
        .await?;
    for agent in agent {
        remove(change, spki.as_bytes(), &agent).await?;
    }
    Ok(())
}

async fn remove(change: &mut Transaction<'static, Sqlite>, spki: &[u8], agent: &str) -> Result<(), sqlx::Error> {
    for sql in [
        "DELETE FROM logs WHERE spki = $1",
        "DELETE FROM diaries WHERE spki = $1",
        "DELETE FROM report_positions WHERE spki = $1",
        "DELETE FROM rollout_devices WHERE spki = $1",
        "DELETE FROM proofs WHERE spki = $1",
        "DELETE FROM alarms WHERE spki = $1",
        "DELETE FROM self_tests WHERE spki = $1",
    ] {
        sqlx::query(sql).bind(spki).execute(&mut **change).await?;
    }
    sqlx::query("DELETE FROM agent_states WHERE agent_id = $1").bind(agent).execute(&mut **change).await?;
    Ok(())
}
