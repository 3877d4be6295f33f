//! What devices proved last, and the rule that a vault never falls behind.
//!
//! The newest generation is judged and remembered in memory at once and is on the disk before the device is welcomed, so that neither two
//! logins at one time nor a crash lets an older vault in. A proof that says what the last one said costs no write.

use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keys::public::SpkiHash;
use sqlx::{FromRow, Sqlite, Transaction};

use super::cache::Cache;
use super::{ChangeError, Store, StoreError, row};
use crate::fleet::proof::{layers_name, layers_named, level_name, level_named};
use crate::fleet::{AlarmKind, Demand, GroupId, Proved};

/// What was proved lately.
pub(super) struct Proofs(Mutex<Cache<SpkiHash, Last>>);

/// What a device proved last.
#[derive(Clone, Copy)]
struct Last {
    proved: Proved,
    /// An older vault came after that, and nobody has accepted it: whatever that one writes meanwhile must not let it catch up.
    fell: bool,
}

/// What is to be done about a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It says what the last one said.
    Known,
    /// It says something new: [`Journal::proved`](super::Journal::proved) must have written it before the device is welcomed.
    New,
    /// The vault is older than this one, which was proved before, or was when it came first.
    Fell(Proved),
}

/// The columns that hold a proof; absent before the first one.
#[derive(FromRow)]
pub(super) struct Columns {
    proved_ms: Option<i64>,
    proved_attestation: Option<String>,
    boot: Option<Vec<u8>>,
    layers: Option<String>,
    memory_locked: Option<i64>,
    generation: Option<i64>,
}

#[derive(FromRow)]
struct LastRow {
    #[sqlx(flatten)]
    proof: Columns,
    fell: bool,
}

const STORED: &str =
    "SELECT r.at_ms AS proved_ms, r.attestation AS proved_attestation, r.boot, r.layers, r.memory_locked, r.generation,
    EXISTS (SELECT 1 FROM alarms a WHERE a.spki = r.spki AND a.kind = $2) AS fell
    FROM proofs r WHERE r.spki = $1";

impl Columns {
    pub(super) fn proved(self) -> Result<Option<Proved>, StoreError> {
        let (Some(at_ms), Some(attestation)) = (self.proved_ms, self.proved_attestation) else { return Ok(None) };
        let damaged = StoreError::Damaged;
        let generation = |value: i64| u64::try_from(value).ok().and_then(NonZeroU64::new);
        Ok(Some(Proved {
            at_ms,
            attestation: level_named(&attestation).ok_or(damaged("proofs.attestation"))?,
            boot: self.boot.map(|boot| row::hash("proofs.boot", &boot)).transpose()?,
            layers: self.layers.map(|name| layers_named(&name).ok_or(damaged("proofs.layers"))).transpose()?,
            memory_locked: self.memory_locked.map(|locked| locked != 0),
            generation: self
                .generation
                .map(|value| generation(value).ok_or(damaged("proofs.generation")))
                .transpose()?,
        }))
    }
}

impl Proofs {
    pub(super) fn new(bound: usize) -> Self {
        Self(Mutex::new(Cache::new(bound)))
    }

    fn lock(&self) -> MutexGuard<'_, Cache<SpkiHash, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// What a device proved last.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn proved(&self, device: SpkiHash) -> Result<Option<Proved>, StoreError> {
        Ok(self.last_proof(device).await?.map(|last| last.proved))
    }

    async fn last_proof(&self, device: SpkiHash) -> Result<Option<Last>, StoreError> {
        let known = self.0.proofs.lock().get(&device);
        if known.is_some() {
            return Ok(known);
        }
        let row = sqlx::query_as::<_, LastRow>(STORED)
            .bind(device.as_bytes().as_slice())
            .bind(AlarmKind::VaultFell.as_str())
            .fetch_optional(self.readers())
            .await?;
        let Some(LastRow { proof, fell }) = row else { return Ok(None) };
        Ok(proof.proved()?.map(|proved| Last { proved, fell }))
    }

    /// Judges a proof by the last one and remembers it unless its vault fell behind.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn judge_proof(&self, device: SpkiHash, proved: &Proved) -> Result<Judged, StoreError> {
        let before = self.last_proof(device).await?;
        let mut proofs = self.0.proofs.lock();
        // Another connection of the same device may have proved more meanwhile.
        let before = proofs.get(&device).or(before);
        let judged = match before {
            Some(before) if before.fell || proved.fell_behind(&before.proved) => {
                proofs.put(device, Last { fell: true, ..before }, 1);
                Judged::Fell(before.proved)
            }
            Some(before) if proved.says_the_same(&before.proved) => {
                proofs.put(device, before, 1);
                Judged::Known
            }
            Some(_) | None => {
                proofs.put(device, Last { proved: *proved, fell: false }, 1);
                Judged::New
            }
        };
        Ok(judged)
    }

    /// Lets a device in again whose vault fell behind, with the vault it has now: what it proves next counts, however old it is. The alarm
    /// about it goes.
    ///
    /// # Errors
    /// There is no such device, or its vault did not fall behind.
    pub async fn accept_older_vault(&self, device: SpkiHash) -> Result<(), ChangeError> {
        let mut change = self.begin().await?;
        let alarmed = sqlx::query("DELETE FROM alarms WHERE spki = $1 AND kind = $2")
            .bind(device.as_bytes().as_slice())
            .bind(AlarmKind::VaultFell.as_str())
            .execute(&mut *change)
            .await?;
        if alarmed.rows_affected() == 0 {
            return Err(ChangeError::NotFound("alarm about an older vault"));
        }
        sqlx::query("UPDATE proofs SET generation = NULL WHERE spki = $1")
            .bind(device.as_bytes().as_slice())
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        self.forget_proof(&device);
        Ok(())
    }

    /// Asks the database again when the device comes.
    pub(crate) fn forget_proof(&self, device: &SpkiHash) {
        self.0.proofs.lock().remove(device);
        self.0.alarms.forget(device);
    }

    /// Sets where the identity keys of a group's devices must live, from now on.
    ///
    /// # Errors
    /// There is no such group.
    pub async fn demand_attestation(&self, group: GroupId, demand: Demand) -> Result<(), ChangeError> {
        let _changing = self.0.logins.changing();
        let changed = sqlx::query("UPDATE devicegroups SET attestation = $2 WHERE id = $1")
            .bind(group.to_string())
            .bind(demand.as_str())
            .execute(self.writer())
            .await?;
        if changed.rows_affected() == 0 { Err(ChangeError::NotFound("devicegroup")) } else { Ok(()) }
    }
}

pub(super) async fn write(
    change: &mut Transaction<'static, Sqlite>,
    device: &SpkiHash,
    proved: &Proved,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO proofs (spki, at_ms, attestation, boot, layers, memory_locked, generation) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (spki) DO UPDATE SET at_ms = excluded.at_ms, attestation = excluded.attestation, boot = excluded.boot,
         layers = excluded.layers, memory_locked = excluded.memory_locked, generation = excluded.generation",
    )
    .bind(device.as_bytes().as_slice())
    .bind(proved.at_ms)
    .bind(level_name(proved.attestation))
    .bind(proved.boot.map(|boot| boot.to_vec()))
    .bind(proved.layers.map(layers_name))
    .bind(proved.memory_locked.map(i64::from))
    // No vault is written so often.
    .bind(proved.generation.map(|generation| i64::try_from(generation.get()).unwrap_or(i64::MAX)))
    .execute(&mut **change)
    .await?;
    Ok(())
}
