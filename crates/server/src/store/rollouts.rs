//! Roll-outs, and how far each device is that one has reached.

use std::collections::HashMap;

use sqlx::{FromRow, QueryBuilder, Sqlite, Transaction};

use super::{ChangeError, Listed, Page, Store, StoreError, approvals, row, unix_ms};
use crate::fleet::{
    AccountId, DeviceStep, GroupId, Phases, ReleaseId, Rollout, RolloutDevice, RolloutId, RolloutState, Rule, Skew,
};

/// A roll-out to be begun.
#[derive(Clone, Debug)]
pub struct NewRollout {
    /// What it brings.
    pub release: ReleaseId,
    /// Whom it reaches.
    pub group: GroupId,
    /// Who begins it.
    pub creator: AccountId,
    /// Its phases.
    pub phases: Phases,
    /// At how many percent of failed devices it stops.
    pub max_failures: u32,
}

/// What is wanted with a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutOrder {
    /// Hold it.
    Pause,
    /// Let it go on, also after it was stopped by failures.
    Resume,
    /// Begin the next phase, without waiting for the devices of this one that do not answer.
    Advance,
    /// End it.
    Abort,
}

const COLUMNS: &str = "SELECT r.*, v.version FROM rollouts r JOIN releases v ON v.id = r.release_id";
const ONE: &str = "SELECT r.*, v.version FROM rollouts r JOIN releases v ON v.id = r.release_id WHERE r.id = $1";

#[derive(FromRow)]
struct Row {
    id: String,
    release_id: String,
    version: String,
    group_id: String,
    creator_id: String,
    phases: String,
    phase: i64,
    max_failures: i64,
    state: String,
    reason: String,
    admit_max: i64,
    admitted: i64,
    confirmed: i64,
    failed: i64,
    created_ms: i64,
    updated_ms: i64,
}

impl TryFrom<Row> for Rollout {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row::text("rollouts.id", &row.id)?,
            release: row::text("rollouts.release_id", &row.release_id)?,
            version: row::text("releases.version", &row.version)?,
            group: row::text("rollouts.group_id", &row.group_id)?,
            creator: row::text("rollouts.creator_id", &row.creator_id)?,
            phases: row::text("rollouts.phases", &row.phases)?,
            phase: row::count("rollouts.phase", row.phase)? as usize,
            max_failures: row::count("rollouts.max_failures", row.max_failures)?,
            state: row::text("rollouts.state", &row.state)?,
            reason: row.reason,
            admit_max: row.admit_max,
            admitted: row.admitted,
            confirmed: row.confirmed,
            failed: row.failed,
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
        })
    }
}

impl Store {
    /// Begins a roll-out; an older one of the group that is not over is replaced.
    ///
    /// # Errors
    /// There is no such group or release, the newest targets do not name the release, or it fits no device of the group.
    pub async fn create_rollout(&self, new: &NewRollout) -> Result<Rollout, ChangeError> {
        let now = unix_ms();
        let mut change = self.begin().await?;
        let exists = |sql| sqlx::query_scalar::<_, String>(sql);
        let release = exists("SELECT id FROM releases WHERE id = $1").bind(new.release.to_string());
        release.fetch_optional(&mut *change).await?.ok_or(ChangeError::NotFound("release"))?;
        let group = exists("SELECT id FROM devicegroups WHERE id = $1").bind(new.group.to_string());
        group.fetch_optional(&mut *change).await?.ok_or(ChangeError::NotFound("devicegroup"))?;
        approvals::check(&mut change, new.release).await?;
        let devices = fitting(&mut change, new.release, new.group).await?;
        let others =
            sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM devices WHERE group_id = $1 AND revoked_ms IS NULL")
                .bind(new.group.to_string())
                .fetch_one(&mut *change)
                .await?;
        // A group without devices may get some.
        if devices == 0 && others > 0 {
            return Err(Rule::ReleaseFitsNobody.into());
        }
        sqlx::query(
            "UPDATE rollouts SET state = 'replaced', updated_ms = $2 WHERE group_id = $1 AND state IN ('running', 'paused', 'stopped')",
        )
        .bind(new.group.to_string())
        .bind(now)
        .execute(&mut *change)
        .await?;
        let id = RolloutId::random();
        sqlx::query(
            "INSERT INTO rollouts (id, release_id, group_id, creator_id, phases, phase, max_failures, state, reason, admit_max, admitted,
             confirmed, failed, created_ms, updated_ms) VALUES ($1, $2, $3, $4, $5, 0, $6, 'running', '', $7, 0, 0, 0, $8, $8)",
        )
        .bind(id.to_string())
        .bind(new.release.to_string())
        .bind(new.group.to_string())
        .bind(new.creator.to_string())
        .bind(new.phases.to_string())
        .bind(i64::from(new.max_failures))
        .bind(new.phases.reach(0, devices))
        .bind(now)
        .execute(&mut *change)
        .await?;
        let made = one(&mut change, id).await?;
        change.commit().await?;
        self.read_running().await?;
        Ok(made)
    }

    /// One roll-out.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn rollout(&self, id: RolloutId) -> Result<Option<Rollout>, StoreError> {
        sqlx::query_as::<_, Row>(ONE)
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await?
            .map(Rollout::try_from)
            .transpose()
    }

    /// Roll-outs, the newest first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn rollouts(&self, group: Option<GroupId>, page: Page) -> Result<Listed<Rollout>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        if let Some(group) = group {
            query.push(" WHERE r.group_id = ").push_bind(group.to_string());
        }
        query
            .push(" ORDER BY r.created_ms DESC, r.id LIMIT ")
            .push_bind(page.limit())
            .push(" OFFSET ")
            .push_bind(page.offset());
        let rows = query.build_query_as::<Row>().fetch_all(self.readers()).await?;
        Ok(page.listed(rows.into_iter().map(Rollout::try_from).collect::<Result<_, _>>()?))
    }

    /// How many devices are at which step of a roll-out, and how many of the group's devices it is for.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn rollout_steps(&self, rollout: &Rollout) -> Result<(HashMap<DeviceStep, i64>, i64), StoreError> {
        let rows = sqlx::query_as::<_, (String, i64)>(
            "SELECT state, COUNT(*) FROM rollout_devices WHERE rollout_id = $1 GROUP BY state",
        )
        .bind(rollout.id.to_string())
        .fetch_all(self.readers())
        .await?;
        let steps = rows.into_iter().map(|(step, count)| Ok((row::text("rollout_devices.state", &step)?, count)));
        let fitting = sqlx::query_scalar(FITTING)
            .bind(rollout.release.to_string())
            .bind(rollout.group.to_string())
            .fetch_one(self.readers())
            .await?;
        Ok((steps.collect::<Result<_, StoreError>>()?, fitting))
    }

    /// The devices that a roll-out has reached, the last that changed first; only those that failed if so wanted.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn rollout_devices(
        &self,
        id: RolloutId,
        failed: bool,
        page: Page,
    ) -> Result<Listed<RolloutDevice>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT d.id, x.state, x.reason, x.updated_ms FROM rollout_devices x JOIN devices d ON d.spki = x.spki WHERE x.rollout_id = ",
        );
        query.push_bind(id.to_string());
        if failed {
            query.push(" AND x.state IN ('fell-back', 'refused')");
        }
        query
            .push(" ORDER BY x.updated_ms DESC, d.id LIMIT ")
            .push_bind(page.limit())
            .push(" OFFSET ")
            .push_bind(page.offset());
        let rows = query.build_query_as::<(String, String, String, i64)>().fetch_all(self.readers()).await?;
        let device = |(id, step, reason, updated_ms): (String, String, String, i64)| {
            let (id, step) = (row::text("devices.id", &id)?, row::text("rollout_devices.state", &step)?);
            Ok(RolloutDevice { id, step, reason, updated_ms })
        };
        Ok(page.listed(rows.into_iter().map(device).collect::<Result<_, StoreError>>()?))
    }

    /// Pauses, resumes, advances or aborts a roll-out.
    ///
    /// # Errors
    /// There is no such roll-out, it is not in a state for this, or the newest targets do not name its release.
    pub async fn order_rollout(&self, id: RolloutId, order: RolloutOrder) -> Result<Rollout, ChangeError> {
        use RolloutState::{Aborted, Paused, Running, Stopped};
        let mut change = self.begin().await?;
        let mut rollout = one(&mut change, id).await?;
        rollout.state = match (order, rollout.state) {
            (RolloutOrder::Pause, Running) => Paused,
            (RolloutOrder::Pause, _) => return Err(Rule::RolloutNotRunning.into()),
            (RolloutOrder::Resume, Paused | Stopped) => Running,
            (RolloutOrder::Resume, _) => return Err(Rule::RolloutNotHeld.into()),
            (RolloutOrder::Advance, Running) if rollout.phase + 1 < rollout.phases.count() => {
                rollout.phase += 1;
                Running
            }
            (RolloutOrder::Advance, Running) => return Err(Rule::RolloutLastPhase.into()),
            (RolloutOrder::Advance, _) => return Err(Rule::RolloutNotRunning.into()),
            (RolloutOrder::Abort, Running | Paused | Stopped) => Aborted,
            (RolloutOrder::Abort, _) => return Err(Rule::RolloutOver.into()),
        };
        if matches!(order, RolloutOrder::Resume | RolloutOrder::Advance) {
            approvals::check(&mut change, rollout.release).await?;
            rollout.reason = String::new();
            let devices = fitting(&mut change, rollout.release, rollout.group).await?;
            rollout.admit_max = rollout.phases.reach(rollout.phase, devices).max(rollout.admit_max);
        }
        write(&mut change, &mut rollout).await?;
        change.commit().await?;
        self.read_running().await?;
        Ok(rollout)
    }

    /// Whether a roll-out runs in a group; costs no query.
    pub fn is_rolling_out(&self, group: GroupId) -> bool {
        self.running().contains(&group)
    }

    /// Which OS versions the devices proved last, by model.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn skew(&self, group: Option<GroupId>) -> Result<Vec<Skew>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT model, os_version, COUNT(*), COUNT(*) - COUNT(group_id) FROM devices WHERE revoked_ms IS NULL",
        );
        if let Some(group) = group {
            query.push(" AND group_id = ").push_bind(group.to_string());
        }
        query.push(" GROUP BY model, os_version ORDER BY model, os_version");
        let rows = query.build_query_as::<(String, Option<String>, i64, i64)>().fetch_all(self.readers()).await?;
        Ok(rows
            .into_iter()
            .map(|(model, version, devices, without_group)| Skew { model, version, devices, without_group })
            .collect())
    }

    /// The groups that have a device of a model for which this release has an image, and that does not run its version; but for those in which
    /// a roll-out of it runs.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn groups_behind(&self, release: ReleaseId) -> Result<Vec<GroupId>, StoreError> {
        let rows = sqlx::query_scalar::<_, String>(
            "SELECT DISTINCT d.group_id FROM devices d JOIN release_models m ON m.model = d.model JOIN releases v ON v.id = m.release_id
             WHERE v.id = $1 AND d.group_id IS NOT NULL AND d.revoked_ms IS NULL AND COALESCE(d.os_version, '') <> v.version
             AND NOT EXISTS (SELECT 1 FROM rollouts r WHERE r.group_id = d.group_id AND r.release_id = v.id AND r.state = 'running')
             ORDER BY d.group_id",
        )
        .bind(release.to_string())
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(|group| row::text("devices.group_id", group)).collect()
    }

    /// Reads which groups have a roll-out that runs.
    pub(super) async fn read_running(&self) -> Result<(), StoreError> {
        let rows = sqlx::query_scalar::<_, String>("SELECT group_id FROM rollouts WHERE state = 'running'")
            .fetch_all(self.writer())
            .await?;
        let groups = rows.iter().map(|group| row::text("rollouts.group_id", group)).collect::<Result<_, _>>()?;
        *self.running() = groups;
        Ok(())
    }

    fn running(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<GroupId>> {
        self.0.rolling_out.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

const FITTING: &str = "SELECT COUNT(*) FROM devices d JOIN release_models m ON m.model = d.model
    WHERE m.release_id = $1 AND d.group_id = $2 AND d.revoked_ms IS NULL";

/// How many devices of a group have a model for which the release has an image.
pub(super) async fn fitting(
    change: &mut Transaction<'static, Sqlite>,
    release: ReleaseId,
    group: GroupId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(FITTING).bind(release.to_string()).bind(group.to_string()).fetch_one(&mut **change).await
}

async fn one(change: &mut Transaction<'static, Sqlite>, id: RolloutId) -> Result<Rollout, ChangeError> {
    let found = sqlx::query_as::<_, Row>(ONE).bind(id.to_string()).fetch_optional(&mut **change).await?;
    Ok(found.ok_or(ChangeError::NotFound("rollout"))?.try_into()?)
}

pub(super) async fn one_in(change: &mut Transaction<'static, Sqlite>, id: &str) -> Result<Rollout, StoreError> {
    let found = sqlx::query_as::<_, Row>(ONE).bind(id).fetch_one(&mut **change).await?;
    found.try_into()
}

/// Writes what changes of a roll-out.
pub(super) async fn write(change: &mut Transaction<'static, Sqlite>, rollout: &mut Rollout) -> Result<(), sqlx::Error> {
    rollout.updated_ms = unix_ms();
    sqlx::query(
        "UPDATE rollouts SET phase = $2, state = $3, reason = $4, admit_max = $5, confirmed = $6, failed = $7, updated_ms = $8 WHERE id = $1",
    )
    .bind(rollout.id.to_string())
    .bind(i64::try_from(rollout.phase).unwrap_or(i64::MAX))
    .bind(rollout.state.as_str())
    .bind(&rollout.reason)
    .bind(rollout.admit_max)
    .bind(rollout.confirmed)
    .bind(rollout.failed)
    .bind(rollout.updated_ms)
    .execute(&mut **change)
    .await?;
    Ok(())
}
