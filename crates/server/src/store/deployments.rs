//! Deployments, their code and their compiled images.

use std::sync::Arc;

use keys::hashes::sha256;
use sqlx::{FromRow, QueryBuilder, Sqlite, Transaction};

use super::{ChangeError, Listed, Page, Store, StoreError, row, unix_ms};
use crate::fleet::{
    AccountId, AppRef, Deployment, DeploymentId, DeploymentNotes, DeploymentSha, GroupId, NewDeployment, ProductId,
    Rule,
};

/// Which deployments are wanted.
#[derive(Clone, Debug, Default)]
pub struct DeploymentFilter {
    /// Of this owner.
    pub owner: Option<AccountId>,
    /// Made by this account.
    pub creator: Option<AccountId>,
    /// Of this product.
    pub product: Option<ProductId>,
    /// Of this group.
    pub group: Option<GroupId>,
    /// Of this code.
    pub sha: Option<DeploymentSha>,
    /// Flagged or not.
    pub flagged: Option<bool>,
    /// Flagged by this account.
    pub flagger: Option<AccountId>,
    /// With all these tags.
    pub tags: Vec<String>,
}

/// The sources of a deployment.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct DeploymentCode {
    /// The device app.
    pub device_code: String,
    /// The agent app.
    pub agent_code: String,
}

/// What a group's devices run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeployedApp {
    /// The group.
    pub group: GroupId,
    /// Its owner.
    pub owner: AccountId,
    /// The device app.
    pub app: AppRef,
}

/// SHA-256 of images that were deleted.
#[must_use]
pub(super) struct Unused(Vec<Vec<u8>>);

const COLUMNS: &str = "SELECT p.*, g.kind FROM deployments p JOIN devicegroups g ON g.id = p.group_id WHERE 1 = 1";
const ONE: &str = "SELECT p.*, g.kind FROM deployments p JOIN devicegroups g ON g.id = p.group_id WHERE p.id = $1";

#[derive(FromRow)]
struct Row {
    id: String,
    group_id: String,
    kind: String,
    product_id: String,
    owner_id: String,
    creator_id: String,
    sha: Vec<u8>,
    description: String,
    origin: Option<String>,
    flagged: i64,
    flagger_id: Option<String>,
    tags: String,
    device_app_sha256: Vec<u8>,
    device_app_len: i64,
    agent_app_sha256: Vec<u8>,
    agent_app_len: i64,
    created_ms: i64,
    updated_ms: i64,
}

impl TryFrom<Row> for Deployment {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row::text("deployments.id", &row.id)?,
            group: row::text("deployments.group_id", &row.group_id)?,
            group_kind: row::text("devicegroups.kind", &row.kind)?,
            product: row::text("deployments.product_id", &row.product_id)?,
            owner: row::text("deployments.owner_id", &row.owner_id)?,
            creator: row::text("deployments.creator_id", &row.creator_id)?,
            sha: DeploymentSha(row::hash("deployments.sha", &row.sha)?),
            notes: DeploymentNotes {
                description: row.description,
                flagged: row.flagged != 0,
                tags: row.tags.split_whitespace().map(str::to_owned).collect(),
            },
            flagger: row::optional("deployments.flagger_id", row.flagger_id.as_deref())?,
            origin: row.origin,
            device_app: app("deployments.device_app", &row.device_app_sha256, row.device_app_len)?,
            agent_app: app("deployments.agent_app", &row.agent_app_sha256, row.agent_app_len)?,
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
        })
    }
}

/// Reads a reference to an image.
pub(super) fn app(column: &'static str, sha256: &[u8], len: i64) -> Result<AppRef, StoreError> {
    Ok(AppRef { sha256: row::hash(column, sha256)?, len: row::count(column, len)? })
}

/// Tags as they are kept: with a space before, between and behind, so that each can be looked for.
fn joined(tags: &[String]) -> String {
    tags.iter().fold(" ".to_owned(), |text, tag| text + tag + " ")
}

impl Store {
    /// Makes a deployment, which becomes its group's current one; the first also becomes the minimum. Restarts nothing.
    ///
    /// # Errors
    /// There is no such group, or a value is not allowed.
    pub async fn create_deployment(&self, new: &NewDeployment) -> Result<Deployment, ChangeError> {
        new.check()?;
        let _changing = self.0.logins.changing();
        let mut change = self.begin().await?;
        let (kind, product, owner, newest) = sqlx::query_as::<_, (String, String, String, Option<i64>)>(
            "SELECT kind, product_id, owner_id, (SELECT MAX(created_ms) FROM deployments WHERE group_id = $1) FROM devicegroups WHERE id = $1",
        )
        .bind(new.group.to_string())
        .fetch_optional(&mut *change)
        .await?
        .ok_or(ChangeError::NotFound("devicegroup"))?;
        let now = newest.map_or(0, |newest| newest.saturating_add(1)).max(unix_ms());
        let deployment = Deployment {
            id: new.id,
            group: new.group,
            group_kind: row::text("devicegroups.kind", &kind)?,
            product: row::text("devicegroups.product_id", &product)?,
            owner: row::text("devicegroups.owner_id", &owner)?,
            creator: new.creator,
            sha: DeploymentSha::of(&new.device_code, &new.agent_code),
            notes: new.notes.clone(),
            flagger: new.notes.flagged.then_some(new.creator),
            origin: new.origin.clone(),
            device_app: put_image(&mut change, &new.device_image).await?,
            agent_app: put_image(&mut change, &new.agent_image).await?,
            created_ms: now,
            updated_ms: now,
        };
        insert(&mut change, &deployment).await?;
        sqlx::query("INSERT INTO deployment_code (deployment_id, device_code, agent_code) VALUES ($1, $2, $3)")
            .bind(new.id.to_string())
            .bind(&new.device_code)
            .bind(&new.agent_code)
            .execute(&mut *change)
            .await?;
        sqlx::query(
            "UPDATE devicegroups SET current_deployment_id = $2,
             min_supported_deployment_id = COALESCE(min_supported_deployment_id, $2) WHERE id = $1",
        )
        .bind(new.group.to_string())
        .bind(new.id.to_string())
        .execute(&mut *change)
        .await?;
        change.commit().await?;
        Ok(deployment)
    }

    /// The device apps that groups run at present, the newest deployment first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn deployed_apps(&self) -> Result<Vec<DeployedApp>, StoreError> {
        let rows = sqlx::query_as::<_, (String, String, Vec<u8>, i64)>(
            "SELECT p.group_id, p.owner_id, p.device_app_sha256, p.device_app_len FROM devicegroups g
             JOIN deployments p ON p.id = g.current_deployment_id ORDER BY p.created_ms DESC, p.id",
        )
        .fetch_all(self.readers())
        .await?;
        let deployed = |(group, owner, sha256, len): (String, String, Vec<u8>, i64)| {
            Ok(DeployedApp {
                group: row::text("deployments.group_id", &group)?,
                owner: row::text("deployments.owner_id", &owner)?,
                app: app("deployments.device_app", &sha256, len)?,
            })
        };
        rows.into_iter().map(deployed).collect()
    }

    /// Counts up with each change of devices, groups and deployments.
    pub fn changes(&self) -> u64 {
        self.0.logins.changes()
    }

    /// One deployment.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        sqlx::query_as::<_, Row>(ONE)
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await?
            .map(Deployment::try_from)
            .transpose()
    }

    /// A deployment's sources.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn deployment_code(&self, id: DeploymentId) -> Result<Option<DeploymentCode>, StoreError> {
        let code = sqlx::query_as("SELECT device_code, agent_code FROM deployment_code WHERE deployment_id = $1")
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await?;
        Ok(code)
    }

    /// Deployments, newest first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn deployments(&self, filter: &DeploymentFilter, page: Page) -> Result<Listed<Deployment>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        for (column, id) in [
            (" AND p.owner_id = ", filter.owner.map(|id| id.to_string())),
            (" AND p.creator_id = ", filter.creator.map(|id| id.to_string())),
            (" AND p.product_id = ", filter.product.map(|id| id.to_string())),
            (" AND p.group_id = ", filter.group.map(|id| id.to_string())),
            (" AND p.flagger_id = ", filter.flagger.map(|id| id.to_string())),
        ] {
            if let Some(id) = id {
                query.push(column).push_bind(id);
            }
        }
        if let Some(sha) = filter.sha {
            query.push(" AND p.sha = ").push_bind(sha.0.to_vec());
        }
        if let Some(flagged) = filter.flagged {
            query.push(" AND p.flagged = ").push_bind(i64::from(flagged));
        }
        for tag in &filter.tags {
            query.push(" AND replace(p.tags, ").push_bind(format!(" {tag} ")).push(", '') <> p.tags");
        }
        query
            .push(" ORDER BY p.created_ms DESC, p.id LIMIT ")
            .push_bind(page.limit())
            .push(" OFFSET ")
            .push_bind(page.offset());
        let rows = query.build_query_as::<Row>().fetch_all(self.readers()).await?;
        Ok(page.listed(rows.into_iter().map(Deployment::try_from).collect::<Result<_, _>>()?))
    }

    /// Changes what may change of a deployment.
    ///
    /// # Errors
    /// There is no such deployment, or a value is not allowed.
    pub async fn update_deployment(
        &self,
        id: DeploymentId,
        by: AccountId,
        edit: impl FnOnce(&mut DeploymentNotes) + Send,
    ) -> Result<Deployment, ChangeError> {
        let mut change = self.begin().await?;
        let found = sqlx::query_as::<_, Row>(ONE)
            .bind(id.to_string())
            .fetch_optional(&mut *change)
            .await?
            .ok_or(ChangeError::NotFound("deployment"))?;
        let mut deployment = Deployment::try_from(found)?;
        let was_flagged = deployment.notes.flagged;
        edit(&mut deployment.notes);
        deployment.notes.check()?;
        deployment.flagger = match (was_flagged, deployment.notes.flagged) {
            (false, true) => Some(by),
            (true, true) => deployment.flagger,
            (_, false) => None,
        };
        deployment.updated_ms = unix_ms();
        sqlx::query(
            "UPDATE deployments SET description = $2, flagged = $3, flagger_id = $4, tags = $5, updated_ms = $6 WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(&deployment.notes.description)
        .bind(i64::from(deployment.notes.flagged))
        .bind(deployment.flagger.map(|flagger| flagger.to_string()))
        .bind(joined(&deployment.notes.tags))
        .bind(deployment.updated_ms)
        .execute(&mut *change)
        .await?;
        change.commit().await?;
        Ok(deployment)
    }

    /// Deletes a deployment that nothing needs any more.
    ///
    /// # Errors
    /// There is no such deployment, it is flagged, or it is its group's minimum or newer.
    pub async fn delete_deployment(&self, id: DeploymentId) -> Result<(), ChangeError> {
        let _changing = self.0.logins.changing();
        let mut change = self.begin().await?;
        let (flagged, created_ms, minimum_ms) = sqlx::query_as::<_, (i64, i64, Option<i64>)>(
            "SELECT d.flagged, d.created_ms, m.created_ms FROM deployments d
             JOIN devicegroups g ON g.id = d.group_id
             LEFT JOIN deployments m ON m.id = g.min_supported_deployment_id
             WHERE d.id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&mut *change)
        .await?
        .ok_or(ChangeError::NotFound("deployment"))?;
        if flagged != 0 {
            return Err(Rule::DeploymentFlagged.into());
        }
        if minimum_ms.is_some_and(|minimum_ms| created_ms >= minimum_ms) {
            return Err(Rule::DeploymentSupported.into());
        }
        sqlx::query("DELETE FROM deployment_code WHERE deployment_id = $1")
            .bind(id.to_string())
            .execute(&mut *change)
            .await?;
        sqlx::query("DELETE FROM deployments WHERE id = $1").bind(id.to_string()).execute(&mut *change).await?;
        let unused = drop_unused_images(&mut change).await?;
        change.commit().await?;
        self.forget_images(unused);
        Ok(())
    }

    /// A compiled app by its SHA-256. The last used ones come from memory.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn image(&self, sha256: &[u8; 32]) -> Result<Option<Arc<[u8]>>, StoreError> {
        if let Some(image) = self.cached_images().get(sha256) {
            return Ok(Some(image));
        }
        let image = sqlx::query_scalar::<_, Vec<u8>>("SELECT image FROM images WHERE sha256 = $1")
            .bind(sha256.as_slice())
            .fetch_optional(self.readers())
            .await?;
        let Some(image) = image else { return Ok(None) };
        let (image, len) = (Arc::<[u8]>::from(image.as_slice()), image.len());
        self.cached_images().put(*sha256, Arc::clone(&image), len);
        Ok(Some(image))
    }

    /// Takes images that were deleted out of the memory, too.
    pub(super) fn forget_images(&self, unused: Unused) {
        let mut cached = self.cached_images();
        unused.0.iter().filter_map(|sha256| sha256.as_slice().try_into().ok()).for_each(|sha256| cached.remove(sha256));
    }

    fn cached_images(&self) -> std::sync::MutexGuard<'_, super::cache::Cache<[u8; 32], Arc<[u8]>>> {
        self.0.images.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn put_image(change: &mut Transaction<'static, Sqlite>, image: &[u8]) -> Result<AppRef, ChangeError> {
    let len = u32::try_from(image.len()).map_err(|_| StoreError::Damaged("images.image"))?;
    let app = AppRef { sha256: sha256(image), len };
    sqlx::query("INSERT INTO images (sha256, image) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING")
        .bind(app.sha256.as_slice())
        .bind(image)
        .execute(&mut **change)
        .await?;
    Ok(app)
}

async fn insert(change: &mut Transaction<'static, Sqlite>, deployment: &Deployment) -> Result<(), ChangeError> {
    sqlx::query(
        "INSERT INTO deployments (id, group_id, product_id, owner_id, creator_id, sha, description, origin, flagged, flagger_id, tags,
         device_app_sha256, device_app_len, agent_app_sha256, agent_app_len, created_ms, updated_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16)",
    )
    .bind(deployment.id.to_string())
    .bind(deployment.group.to_string())
    .bind(deployment.product.to_string())
    .bind(deployment.owner.to_string())
    .bind(deployment.creator.to_string())
    .bind(deployment.sha.0.as_slice())
    .bind(&deployment.notes.description)
    .bind(&deployment.origin)
    .bind(i64::from(deployment.notes.flagged))
    .bind(deployment.flagger.map(|flagger| flagger.to_string()))
    .bind(joined(&deployment.notes.tags))
    .bind(deployment.device_app.sha256.as_slice())
    .bind(i64::from(deployment.device_app.len))
    .bind(deployment.agent_app.sha256.as_slice())
    .bind(i64::from(deployment.agent_app.len))
    .bind(deployment.created_ms)
    .execute(&mut **change)
    .await?;
    Ok(())
}

/// Deletes images that no deployment names any more, and says which; they are to be forgotten when that is durable.
pub(super) async fn drop_unused_images(change: &mut Transaction<'static, Sqlite>) -> Result<Unused, sqlx::Error> {
    let gone = sqlx::query_scalar(
        "DELETE FROM images WHERE NOT EXISTS (SELECT 1 FROM deployments WHERE device_app_sha256 = images.sha256)
         AND NOT EXISTS (SELECT 1 FROM deployments WHERE agent_app_sha256 = images.sha256) RETURNING sha256",
    )
    .fetch_all(&mut **change)
    .await?;
    Ok(Unused(gone))
}
