//! Devices: what people see, what a login needs, what an agent needs.

use std::sync::Arc;

use keys::keystore::AttestationLevel;
use keys::public::{DeviceId, PublicKey, SpkiHash};
use sqlx::{FromRow, QueryBuilder, Sqlite, Transaction};

use super::deployments::app;
use super::{ChangeError, Listed, Page, Store, StoreError, deleted_devices, proofs, row, unix_ms};
use crate::fleet::proof::level_named;
use crate::fleet::{
    AccountId, AgentId, AgentStart, Assignment, Demand, DeploymentSha, Device, DeviceLogin, GroupId, GroupType,
    ProductId, Rule, device,
};

/// Which devices are wanted.
#[derive(Clone, Debug, Default)]
pub struct DeviceFilter {
    /// Of this owner.
    pub owner: Option<AccountId>,
    /// Assigned to a group of this product.
    pub product: Option<ProductId>,
    /// Assigned to this group.
    pub group: Option<GroupId>,
    /// Assigned to a group of this owner.
    pub group_owner: Option<AccountId>,
    /// Assigned to a group of this type.
    pub kind: Option<GroupType>,
    /// Not assigned.
    pub unassigned: bool,
}

/// How a client may name a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// By its device id.
    Id(DeviceId),
    /// By its agent's id, while it is assigned.
    Agent(AgentId),
}

/// A device that was taken out of a group, or why it was not.
pub type Unassigned = Result<SpkiHash, ChangeError>;

const COLUMNS: &str =
    "SELECT d.spki, d.id, d.owner_id, d.group_id, d.name, d.model, d.profile, d.agent_id, d.revoked_ms, d.enrolled_ms,
    d.seen_ms, d.address, d.os_version, d.free_memory, d.attestation, r.at_ms AS proved_ms, r.attestation AS proved_attestation, r.boot,
    r.layers, r.memory_locked, r.generation, g.kind, g.product_id, p.id AS deployment_id, p.sha
    FROM devices d LEFT JOIN proofs r ON r.spki = d.spki LEFT JOIN devicegroups g ON g.id = d.group_id
    LEFT JOIN deployments p ON p.id = g.current_deployment_id WHERE 1 = 1";

const LOGIN: &str = "SELECT d.id, d.identity_spki, d.tls_spki, d.profile, d.revoked_ms, d.agent_id, d.owner_id, d.os_version, d.group_id,
    d.attestation, g.attestation AS demand, g.kind, p.id AS deployment_id, p.device_app_sha256, p.device_app_len
    FROM devices d LEFT JOIN devicegroups g ON g.id = d.group_id
    LEFT JOIN deployments p ON p.id = g.current_deployment_id WHERE d.spki = $1";

#[derive(FromRow)]
struct Row {
    spki: Vec<u8>,
    id: String,
    owner_id: String,
    group_id: Option<String>,
    name: Option<String>,
    model: String,
    profile: String,
    agent_id: String,
    revoked_ms: Option<i64>,
    enrolled_ms: i64,
    seen_ms: Option<i64>,
    address: Option<String>,
    os_version: Option<String>,
    free_memory: Option<i64>,
    attestation: Option<String>,
    #[sqlx(flatten)]
    proof: proofs::Columns,
    kind: Option<String>,
    product_id: Option<String>,
    deployment_id: Option<String>,
    sha: Option<Vec<u8>>,
}

impl TryFrom<Row> for Device {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let assignment = match (&row.group_id, &row.kind, &row.product_id) {
            (Some(group), Some(kind), Some(product)) => Some(Assignment {
                group: row::text("devices.group_id", group)?,
                kind: row::text("devicegroups.kind", kind)?,
                product: row::text("devicegroups.product_id", product)?,
                deployment: match (&row.deployment_id, &row.sha) {
                    (Some(id), Some(sha)) => {
                        Some((row::text("deployments.id", id)?, DeploymentSha(row::hash("deployments.sha", sha)?)))
                    }
                    _ => None,
                },
            }),
            _ => None,
        };
        Ok(Self {
            spki: SpkiHash(row::hash("devices.spki", &row.spki)?),
            id: row::text("devices.id", &row.id)?,
            owner: row::text("devices.owner_id", &row.owner_id)?,
            assignment,
            name: row.name,
            model: row.model,
            profile: row::text("devices.profile", &row.profile)?,
            agent: row::text("devices.agent_id", &row.agent_id)?,
            revoked_ms: row.revoked_ms,
            enrolled_ms: row.enrolled_ms,
            seen_ms: row.seen_ms,
            address: row.address,
            os_version: row.os_version,
            free_memory: row.free_memory.map(|bytes| row::count("devices.free_memory", bytes)).transpose()?,
            attestation: level(row.attestation)?,
            proved: row.proof.proved()?,
        })
    }
}

#[derive(FromRow)]
struct LoginRow {
    id: String,
    identity_spki: Vec<u8>,
    tls_spki: Vec<u8>,
    profile: String,
    revoked_ms: Option<i64>,
    agent_id: String,
    owner_id: String,
    os_version: Option<String>,
    group_id: Option<String>,
    attestation: Option<String>,
    demand: Option<String>,
    kind: Option<String>,
    deployment_id: Option<String>,
    device_app_sha256: Option<Vec<u8>>,
    device_app_len: Option<i64>,
}

#[derive(FromRow)]
struct AgentRow {
    id: String,
    agent_id: String,
    kind: String,
    deployment_id: String,
    agent_app_sha256: Vec<u8>,
    agent_app_len: i64,
}

impl Store {
    /// Everything that the login of a device needs, from one query; the identity key is parsed once.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn device_login(&self, spki: SpkiHash) -> Result<Option<DeviceLogin>, StoreError> {
        let before = match self.0.logins.get(&spki) {
            Ok(login) => return Ok(Some(login)),
            Err(before) => before,
        };
        let found = sqlx::query_as::<_, LoginRow>(LOGIN)
            .bind(spki.as_bytes().as_slice())
            .fetch_optional(self.readers())
            .await?;
        let found = found.map(|row| login(spki, row)).transpose()?;
        if let Some(login) = &found {
            self.0.logins.keep(login, &before);
        }
        Ok(found)
    }

    pub(super) async fn device_login_in(
        &self,
        change: &mut Transaction<'static, Sqlite>,
        spki: SpkiHash,
    ) -> Result<Option<DeviceLogin>, StoreError> {
        let found =
            sqlx::query_as::<_, LoginRow>(LOGIN).bind(spki.as_bytes().as_slice()).fetch_optional(&mut **change).await?;
        found.map(|row| login(spki, row)).transpose()
    }

    /// What a device's agent needs to start. `None`: it is not to run, since the device is unknown, revoked or unassigned, or its group
    /// has no deployment.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn agent_start(&self, spki: SpkiHash) -> Result<Option<AgentStart>, StoreError> {
        let found = sqlx::query_as::<_, AgentRow>(
            "SELECT d.id, d.agent_id, g.kind, p.id AS deployment_id, p.agent_app_sha256, p.agent_app_len
             FROM devices d JOIN devicegroups g ON g.id = d.group_id JOIN deployments p ON p.id = g.current_deployment_id
             WHERE d.spki = $1 AND d.revoked_ms IS NULL",
        )
        .bind(spki.as_bytes().as_slice())
        .fetch_optional(self.readers())
        .await?;
        let Some(row) = found else { return Ok(None) };
        let kind: GroupType = row::text("devicegroups.kind", &row.kind)?;
        Ok(Some(AgentStart {
            device: spki,
            device_id: row::text("devices.id", &row.id)?,
            agent: row::text("devices.agent_id", &row.agent_id)?,
            production: kind.is_production(),
            deployment: row::text("deployments.id", &row.deployment_id)?,
            app: app("deployments.agent_app", &row.agent_app_sha256, row.agent_app_len)?,
        }))
    }

    /// The devices whose agents are to run, in the order of their keys' hashes: at most `limit` after `after`.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn agents_to_start(&self, after: Option<SpkiHash>, limit: u32) -> Result<Vec<SpkiHash>, StoreError> {
        let after = after.map_or_else(Vec::new, |spki| spki.as_bytes().to_vec());
        let rows = sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT d.spki FROM devices d JOIN devicegroups g ON g.id = d.group_id
             WHERE d.spki > $1 AND d.revoked_ms IS NULL AND g.current_deployment_id IS NOT NULL ORDER BY d.spki LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(|spki| row::hash("devices.spki", spki).map(SpkiHash)).collect()
    }

    /// The devices of a group, in the order of their keys' hashes: at most `limit` after `after`.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn devices_of_group(
        &self,
        group: GroupId,
        after: Option<SpkiHash>,
        limit: u32,
    ) -> Result<Vec<SpkiHash>, StoreError> {
        let after = after.map_or_else(Vec::new, |spki| spki.as_bytes().to_vec());
        let rows = sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT spki FROM devices WHERE group_id = $1 AND spki > $2 AND revoked_ms IS NULL ORDER BY spki LIMIT $3",
        )
        .bind(group.to_string())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(|spki| row::hash("devices.spki", spki).map(SpkiHash)).collect()
    }

    /// One device.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn device(&self, name: DeviceName) -> Result<Option<Device>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        match name {
            DeviceName::Id(id) => query.push(" AND d.id = ").push_bind(id.to_string()),
            DeviceName::Agent(id) => {
                query.push(" AND d.group_id IS NOT NULL AND d.agent_id = ").push_bind(id.to_string())
            }
        };
        query.build_query_as::<Row>().fetch_optional(self.readers()).await?.map(Device::try_from).transpose()
    }

    /// Devices, first enrolled first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn devices(&self, filter: &DeviceFilter, page: Page) -> Result<Listed<Device>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        for (column, id) in [
            (" AND d.owner_id = ", filter.owner.map(|id| id.to_string())),
            (" AND d.group_id = ", filter.group.map(|id| id.to_string())),
            (" AND g.product_id = ", filter.product.map(|id| id.to_string())),
            (" AND g.owner_id = ", filter.group_owner.map(|id| id.to_string())),
            (" AND g.kind = ", filter.kind.map(|kind| kind.to_string())),
        ] {
            if let Some(id) = id {
                query.push(column).push_bind(id);
            }
        }
        if filter.unassigned {
            query.push(" AND d.group_id IS NULL");
        }
        query
            .push(" ORDER BY d.enrolled_ms, d.id LIMIT ")
            .push_bind(page.limit())
            .push(" OFFSET ")
            .push_bind(page.offset());
        let rows = query.build_query_as::<Row>().fetch_all(self.readers()).await?;
        Ok(page.listed(rows.into_iter().map(Device::try_from).collect::<Result<_, _>>()?))
    }

    /// Names a device; an empty name clears it.
    ///
    /// # Errors
    /// There is no such device, or the name is not allowed.
    pub async fn name_device(&self, id: DeviceId, name: Option<&str>) -> Result<(), ChangeError> {
        let name = name.filter(|name| !name.is_empty());
        device::check_name(name.unwrap_or_default())?;
        let changed = sqlx::query("UPDATE devices SET name = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(name)
            .execute(self.writer())
            .await?;
        if changed.rows_affected() == 0 { Err(ChangeError::NotFound("device")) } else { Ok(()) }
    }

    /// Assigns a device to a group, from no or another group.
    ///
    /// # Errors
    /// There is no such device or group, they have different owners, or the device is revoked.
    pub async fn assign_device(&self, id: DeviceId, group: GroupId) -> Result<SpkiHash, ChangeError> {
        let _changing = self.0.logins.changing();
        let mut change = self.begin().await?;
        let (owner, demand) =
            sqlx::query_as::<_, (String, String)>("SELECT owner_id, attestation FROM devicegroups WHERE id = $1")
                .bind(group.to_string())
                .fetch_optional(&mut *change)
                .await?
                .ok_or(ChangeError::NotFound("devicegroup"))?;
        let (spki, of, revoked, level) = sqlx::query_as::<_, (Vec<u8>, String, Option<i64>, Option<String>)>(
            "SELECT d.spki, d.owner_id, d.revoked_ms, COALESCE(p.attestation, d.attestation) FROM devices d
             LEFT JOIN proofs p ON p.spki = d.spki WHERE d.id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&mut *change)
        .await?
        .ok_or(ChangeError::NotFound("device"))?;
        if owner != of {
            return Err(Rule::OtherOwner.into());
        }
        if revoked.is_some() {
            return Err(Rule::DeviceRevoked.into());
        }
        let demand: Demand = row::text("devicegroups.attestation", &demand)?;
        // What is not known is judged when the device comes.
        if level.and_then(|name| level_named(&name)).is_some_and(|level| !demand.is_met_by(level)) {
            return Err(Rule::AttestationTooLow.into());
        }
        sqlx::query("UPDATE devices SET group_id = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(group.to_string())
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(SpkiHash(row::hash("devices.spki", &spki)?))
    }

    /// Takes a device out of a group.
    ///
    /// # Errors
    /// The device is not in that group.
    pub async fn unassign_device(&self, id: DeviceId, group: GroupId) -> Unassigned {
        let _changing = self.0.logins.changing();
        // All rows, of which there is at most one: asking for the first alone would not notice a commit that fails after it.
        let changed = sqlx::query_scalar::<_, Vec<u8>>(
            "UPDATE devices SET group_id = NULL WHERE id = $1 AND group_id = $2 RETURNING spki",
        )
        .bind(id.to_string())
        .bind(group.to_string())
        .fetch_all(self.writer())
        .await?;
        let spki = changed.first().ok_or(Rule::DeviceNotAssigned)?;
        Ok(SpkiHash(row::hash("devices.spki", spki)?))
    }

    /// Refuses a device from now on, for ever. Ending its session is the caller's part. Revoking twice changes nothing.
    ///
    /// # Errors
    /// There is no such device.
    pub async fn revoke_device(&self, id: DeviceId) -> Result<SpkiHash, ChangeError> {
        let _changing = self.0.logins.changing();
        // All rows, as above: a revocation that is not on the disk must not be reported as done.
        let changed = sqlx::query_scalar::<_, Vec<u8>>(
            "UPDATE devices SET revoked_ms = COALESCE(revoked_ms, $2) WHERE id = $1 RETURNING spki",
        )
        .bind(id.to_string())
        .bind(unix_ms())
        .fetch_all(self.writer())
        .await?;
        let spki = changed.first().ok_or(ChangeError::NotFound("device"))?;
        Ok(SpkiHash(row::hash("devices.spki", spki)?))
    }

    /// Forgets an unassigned device with all that is kept of it: it is unknown from then on, and could be enrolled again.
    ///
    /// # Errors
    /// There is no such device, it is assigned, or revoked, which must be remembered.
    pub async fn delete_device(&self, id: DeviceId) -> Result<SpkiHash, ChangeError> {
        let _changing = self.0.logins.changing();
        let mut change = self.begin().await?;
        let (spki, group, agent, revoked) = sqlx::query_as::<_, (Vec<u8>, Option<String>, String, Option<i64>)>(
            "SELECT spki, group_id, agent_id, revoked_ms FROM devices WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&mut *change)
        .await?
        .ok_or(ChangeError::NotFound("device"))?;
        if group.is_some() {
            return Err(Rule::DeviceAssigned.into());
        }
        if revoked.is_some() {
            return Err(Rule::DeviceRevoked.into());
        }
        let spki = SpkiHash(row::hash("devices.spki", &spki)?);
        let now = unix_ms();
        deleted_devices::forget(&mut change, &spki, &row::text("devices.agent_id", &agent)?, now).await?;
        sqlx::query("DELETE FROM devices WHERE spki = $1")
            .bind(spki.as_bytes().as_slice())
            .execute(&mut *change)
            .await?;
        deleted_devices::clear_up(&mut change, now).await?;
        change.commit().await?;
        self.forget_proof(&spki);
        Ok(spki)
    }
}

fn login(spki: SpkiHash, row: LoginRow) -> Result<DeviceLogin, StoreError> {
    let kind: Option<GroupType> = row::optional("devicegroups.kind", row.kind.as_deref())?;
    let image = match (&row.device_app_sha256, row.device_app_len) {
        (Some(sha256), Some(len)) => Some(app("deployments.device_app", sha256, len)?),
        _ => None,
    };
    Ok(DeviceLogin {
        spki,
        id: row::text("devices.id", &row.id)?,
        identity: Arc::new(identity(spki, &row.identity_spki)?),
        tls_spki: SpkiHash(row::hash("devices.tls_spki", &row.tls_spki)?),
        profile: row::text("devices.profile", &row.profile)?,
        revoked: row.revoked_ms.is_some(),
        agent: row::text("devices.agent_id", &row.agent_id)?,
        owner: row::text("devices.owner_id", &row.owner_id)?,
        group: row::optional("devices.group_id", row.group_id.as_deref())?,
        production: kind.is_some_and(GroupType::is_production),
        deployment: row::optional("deployments.id", row.deployment_id.as_deref())?,
        app: image,
        os_version: row.os_version,
        attestation: level(row.attestation)?,
        demand: row::optional("devicegroups.attestation", row.demand.as_deref())?.unwrap_or_default(),
    })
}

fn level(name: Option<String>) -> Result<Option<AttestationLevel>, StoreError> {
    name.map(|name| level_named(&name).ok_or(StoreError::Damaged("devices.attestation"))).transpose()
}

fn identity(spki: SpkiHash, der: &[u8]) -> Result<PublicKey, StoreError> {
    PublicKey::from_spki_der(der)
        .ok()
        .filter(|key| key.spki_hash() == spki)
        .ok_or(StoreError::Damaged("devices.identity_spki"))
}
