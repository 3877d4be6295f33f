//! What a roll-out has for one device, how far that device is, and the content keys that it was given.

use keys::public::SpkiHash;
use release::version::OsVersion;
use sqlx::FromRow;

use super::rollouts::{fitting, one_in, write};
use super::{Listed, Page, Store, StoreError, row, unix_ms};
use crate::fleet::{DeviceStep, GroupId, OsUpdate};

/// What came of a device's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progressed {
    /// The group whose devices are to be told that something has changed for them.
    pub tell: Option<GroupId>,
    /// Whether something new was written.
    pub changed: bool,
}

/// What a running roll-out has for one device.
#[derive(FromRow)]
struct ForDevice {
    id: String,
    version: String,
    admitted: i64,
    admit_max: i64,
    image: Vec<u8>,
    len: i64,
    manifest: Vec<u8>,
    step: Option<String>,
}

const FOR_DEVICE: &str = "SELECT r.id, v.version, r.admitted, r.admit_max, i.image, i.len, i.manifest, x.state AS step
    FROM devices d JOIN rollouts r ON r.group_id = d.group_id AND r.state = 'running' JOIN releases v ON v.id = r.release_id
    JOIN release_models m ON m.release_id = r.release_id AND m.model = d.model JOIN release_images i ON i.image = m.image
    LEFT JOIN rollout_devices x ON x.rollout_id = r.id AND x.spki = d.spki WHERE d.spki = $1 AND d.revoked_ms IS NULL AND d.model = $2";

impl Store {
    /// What a device is to install that runs this version and has this model: of the roll-out that runs in its group, once that has reached
    /// it. Never an older or the same version, nor an image for another model than both the enrolled and the proved one.
    ///
    /// # Errors
    /// The state could not be read or written.
    pub async fn os_update(
        &self,
        device: SpkiHash,
        model: &str,
        runs: OsVersion,
    ) -> Result<Option<OsUpdate>, StoreError> {
        let found = sqlx::query_as::<_, ForDevice>(FOR_DEVICE)
            .bind(device.as_bytes().as_slice())
            .bind(model)
            .fetch_optional(self.readers())
            .await?;
        let Some(found) = found else { return Ok(None) };
        if row::text::<OsVersion>("releases.version", &found.version)? <= runs {
            return Ok(None);
        }
        let step = row::optional::<DeviceStep>("rollout_devices.state", found.step.as_deref())?;
        let goes_on = match step {
            Some(step) => !step.is_last(),
            None => found.admitted < found.admit_max && self.admit(device, &found).await?,
        };
        if !goes_on {
            return Ok(None);
        }
        Ok(Some(OsUpdate {
            image: row::hash("release_images.image", &found.image)?,
            len: row::count("release_images.len", found.len)?,
            manifest: found.manifest,
        }))
    }

    /// Counts a device in, if the phase still has room for it.
    async fn admit(&self, device: SpkiHash, found: &ForDevice) -> Result<bool, StoreError> {
        let now = unix_ms();
        let mut change = self.begin().await?;
        let counted = sqlx::query(
            "UPDATE rollouts SET admitted = admitted + 1, updated_ms = $2 WHERE id = $1 AND state = 'running' AND admitted < admit_max",
        )
        .bind(&found.id)
        .bind(now)
        .execute(&mut *change)
        .await?;
        if counted.rows_affected() == 0 {
            return Ok(false);
        }
        let written = sqlx::query(
            "INSERT INTO rollout_devices (rollout_id, spki, image, state, reason, updated_ms) VALUES ($1, $2, $3, 'offered', '', $4)
             ON CONFLICT (rollout_id, spki) DO NOTHING",
        )
        .bind(&found.id)
        .bind(device.as_bytes().as_slice())
        .bind(&found.image)
        .bind(now)
        .execute(&mut *change)
        .await?;
        if written.rows_affected() == 0 {
            // Another session of the device was first; it is counted once.
            return Ok(true);
        }
        change.commit().await?;
        Ok(true)
    }

    /// Keeps how far a device is with an image that a roll-out has for it, and judges that roll-out. A step that is the last one stays.
    ///
    /// # Errors
    /// The state could not be read or written.
    pub async fn os_progress(
        &self,
        device: SpkiHash,
        image: &[u8; 32],
        step: DeviceStep,
        reason: &str,
    ) -> Result<Progressed, StoreError> {
        const FIND: &str = "SELECT rollout_id, state FROM rollout_devices WHERE spki = $1 AND image = $2 ORDER BY updated_ms DESC LIMIT 1";
        let (spki, name) = (device.as_bytes().as_slice(), image.as_slice());
        let is_news = |step_was: &str| {
            Ok::<_, StoreError>({
                let was: DeviceStep = row::text("rollout_devices.state", step_was)?;
                was != step && !was.is_last()
            })
        };
        // Most of what devices say is known.
        let known =
            sqlx::query_as::<_, (String, String)>(FIND).bind(spki).bind(name).fetch_optional(self.readers()).await?;
        match known {
            Some((_, was)) if is_news(&was)? => {}
            _ => return Ok(Progressed::default()),
        }
        let mut change = self.begin().await?;
        let known =
            sqlx::query_as::<_, (String, String)>(FIND).bind(spki).bind(name).fetch_optional(&mut *change).await?;
        let Some((rollout, was)) = known else { return Ok(Progressed::default()) };
        if !is_news(&was)? {
            return Ok(Progressed::default());
        }
        sqlx::query(
            "UPDATE rollout_devices SET state = $3, reason = $4, updated_ms = $5 WHERE rollout_id = $1 AND spki = $2",
        )
        .bind(&rollout)
        .bind(spki)
        .bind(step.as_str())
        .bind(reason)
        .bind(unix_ms())
        .execute(&mut *change)
        .await?;
        let mut progressed = Progressed { tell: None, changed: true };
        if step.is_last() {
            let mut rollout = one_in(&mut change, &rollout).await?;
            if step.is_failure() {
                rollout.failed += 1
            } else {
                rollout.confirmed += 1
            }
            let before = (rollout.state, rollout.admit_max);
            let is_phase_done = rollout.confirmed.saturating_add(rollout.failed) >= rollout.admit_max;
            // Counting a large group costs; its number matters for the next phase only.
            let devices = if is_phase_done { fitting(&mut change, rollout.release, rollout.group).await? } else { 0 };
            rollout.judge(devices);
            progressed.tell = (before != (rollout.state, rollout.admit_max)).then_some(rollout.group);
            write(&mut change, &mut rollout).await?;
        }
        change.commit().await?;
        if progressed.tell.is_some() {
            self.read_running().await?;
        }
        Ok(progressed)
    }

    /// The content key of an image, as it is sealed to the server.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn sealed_key(&self, image: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = sqlx::query_scalar("SELECT sealed_key FROM release_images WHERE image = $1").bind(image.as_slice());
        Ok(found.fetch_optional(self.readers()).await?)
    }

    /// Notes that a device is about to get the content key of the image that a running roll-out has for it, and gives the device's
    /// key-agreement key: SubjectPublicKeyInfo, DER. What is noted is durable when this returns.
    ///
    /// # Errors
    /// The state could not be read or written.
    pub async fn note_key_release(&self, device: SpkiHash, image: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut change = self.begin().await?;
        // Asked once more within the change that notes it: whoever revoked the device or stopped the roll-out before has had their say.
        let found = sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT d.key_agreement_spki FROM devices d
             JOIN rollout_devices x ON x.spki = d.spki JOIN rollouts r ON r.id = x.rollout_id AND r.group_id = d.group_id
             JOIN release_models m ON m.release_id = r.release_id AND m.model = d.model AND m.image = x.image
             WHERE d.spki = $1 AND x.image = $2 AND d.revoked_ms IS NULL AND r.state = 'running'
             AND x.state NOT IN ('confirmed', 'fell-back', 'refused')",
        )
        .bind(device.as_bytes().as_slice())
        .bind(image.as_slice())
        .fetch_optional(&mut *change)
        .await?;
        let Some(agreement) = found else { return Ok(None) };
        sqlx::query("INSERT INTO key_releases (at_ms, spki, image) VALUES ($1, $2, $3)")
            .bind(unix_ms())
            .bind(device.as_bytes().as_slice())
            .bind(image.as_slice())
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(Some(agreement))
    }

    /// When this device was given content keys: Unix milliseconds and the image, the newest first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn key_releases(&self, device: SpkiHash, page: Page) -> Result<Listed<(i64, [u8; 32])>, StoreError> {
        let rows = sqlx::query_as::<_, (i64, Vec<u8>)>(
            "SELECT at_ms, image FROM key_releases WHERE spki = $1 ORDER BY at_ms DESC LIMIT $2 OFFSET $3",
        )
        .bind(device.as_bytes().as_slice())
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(self.readers())
        .await?;
        let rows = rows.into_iter().map(|(at_ms, image)| Ok((at_ms, row::hash("key_releases.image", &image)?)));
        Ok(page.listed(rows.collect::<Result<_, StoreError>>()?))
    }
}
