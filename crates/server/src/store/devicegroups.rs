//! Device groups.

use sqlx::{FromRow, QueryBuilder, Sqlite};

use super::{ChangeError, Listed, Page, Store, StoreError, is_duplicate, row, unix_ms};
use crate::fleet::{AccountId, Demand, DeploymentId, DeviceGroup, EnvVars, GroupId, GroupType, ProductId, Rule};

/// Which device groups are wanted.
#[derive(Clone, Debug, Default)]
pub struct GroupFilter {
    /// Of this owner.
    pub owner: Option<AccountId>,
    /// Of this product.
    pub product: Option<ProductId>,
    /// Of this type.
    pub kind: Option<GroupType>,
}

#[derive(FromRow)]
struct Row {
    id: String,
    kind: String,
    product_id: String,
    owner_id: String,
    creator_id: String,
    name: String,
    description: String,
    env_vars: String,
    attestation: String,
    current_deployment_id: Option<String>,
    min_supported_deployment_id: Option<String>,
    created_ms: i64,
    updated_ms: i64,
}

impl TryFrom<Row> for DeviceGroup {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row::text("devicegroups.id", &row.id)?,
            kind: row::text("devicegroups.kind", &row.kind)?,
            product: row::text("devicegroups.product_id", &row.product_id)?,
            owner: row::text("devicegroups.owner_id", &row.owner_id)?,
            creator: row::text("devicegroups.creator_id", &row.creator_id)?,
            name: row.name,
            description: row.description,
            env_vars: EnvVars::from_json(&row.env_vars).ok_or(StoreError::Damaged("devicegroups.env_vars"))?,
            attestation: row::text("devicegroups.attestation", &row.attestation)?,
            current_deployment: row::optional(
                "devicegroups.current_deployment_id",
                row.current_deployment_id.as_deref(),
            )?,
            min_supported_deployment: row::optional(
                "devicegroups.min_supported_deployment_id",
                row.min_supported_deployment_id.as_deref(),
            )?,
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
        })
    }
}

impl Store {
    /// Makes a device group; its owner is the product's.
    ///
    /// # Errors
    /// There is no such product, a value is not allowed, or the name is taken.
    pub async fn create_group(
        &self,
        kind: GroupType,
        product: ProductId,
        creator: AccountId,
        name: &str,
        description: &str,
        env_vars: &EnvVars,
    ) -> Result<DeviceGroup, ChangeError> {
        let now = unix_ms();
        let mut change = self.begin().await?;
        let owner = sqlx::query_scalar::<_, String>("SELECT owner_id FROM products WHERE id = $1")
            .bind(product.to_string())
            .fetch_optional(&mut *change)
            .await?
            .ok_or(ChangeError::NotFound("product"))?;
        let group = DeviceGroup {
            id: GroupId::random(),
            kind,
            product,
            owner: row::text("products.owner_id", &owner)?,
            creator,
            name: name.to_owned(),
            description: description.to_owned(),
            env_vars: env_vars.clone(),
            attestation: Demand::default(),
            current_deployment: None,
            min_supported_deployment: None,
            created_ms: now,
            updated_ms: now,
        };
        group.check()?;
        let made = sqlx::query(
            "INSERT INTO devicegroups (id, kind, product_id, owner_id, creator_id, name, description, env_vars, created_ms, updated_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        )
        .bind(group.id.to_string())
        .bind(kind.as_str())
        .bind(product.to_string())
        .bind(owner)
        .bind(creator.to_string())
        .bind(name)
        .bind(description)
        .bind(env_vars.to_json())
        .bind(now)
        .execute(&mut *change)
        .await;
        named(made)?;
        change.commit().await?;
        Ok(group)
    }

    /// One device group.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn group(&self, id: GroupId) -> Result<Option<DeviceGroup>, StoreError> {
        sqlx::query_as::<_, Row>("SELECT * FROM devicegroups WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await?
            .map(DeviceGroup::try_from)
            .transpose()
    }

    /// Device groups, oldest first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn groups(&self, filter: &GroupFilter, page: Page) -> Result<Listed<DeviceGroup>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM devicegroups WHERE 1 = 1");
        if let Some(owner) = filter.owner {
            query.push(" AND owner_id = ").push_bind(owner.to_string());
        }
        if let Some(product) = filter.product {
            query.push(" AND product_id = ").push_bind(product.to_string());
        }
        if let Some(kind) = filter.kind {
            query.push(" AND kind = ").push_bind(kind.as_str());
        }
        query.push(" ORDER BY created_ms, id LIMIT ").push_bind(page.limit()).push(" OFFSET ").push_bind(page.offset());
        let rows = query.build_query_as::<Row>().fetch_all(self.readers()).await?;
        Ok(page.listed(rows.into_iter().map(DeviceGroup::try_from).collect::<Result<_, _>>()?))
    }

    /// Changes what is given of a device group.
    ///
    /// # Errors
    /// There is no such group, a value is not allowed, or the name is taken.
    pub async fn update_group(
        &self,
        id: GroupId,
        name: Option<&str>,
        description: Option<&str>,
        env_vars: Option<&EnvVars>,
    ) -> Result<DeviceGroup, ChangeError> {
        let mut group = self.group(id).await?.ok_or(ChangeError::NotFound("devicegroup"))?;
        group.name = name.unwrap_or(&group.name).to_owned();
        group.description = description.unwrap_or(&group.description).to_owned();
        group.env_vars = env_vars.unwrap_or(&group.env_vars).clone();
        group.updated_ms = unix_ms();
        group.check()?;
        let changed = sqlx::query(
            "UPDATE devicegroups SET name = COALESCE($2, name), description = COALESCE($3, description),
             env_vars = COALESCE($4, env_vars), updated_ms = $5 WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(name)
        .bind(description)
        .bind(env_vars.map(EnvVars::to_json))
        .bind(group.updated_ms)
        .execute(self.writer())
        .await;
        if named(changed)? == 0 { Err(ChangeError::NotFound("devicegroup")) } else { Ok(group) }
    }

    /// Deletes a device group without devices, with its deployments and unused enrolment tokens.
    ///
    /// # Errors
    /// There is no such group, devices are assigned to it, or one of its deployments is flagged.
    pub async fn delete_group(&self, id: GroupId) -> Result<(), ChangeError> {
        let id = id.to_string();
        let _changing = self.0.logins.changing();
        let mut change = self.begin().await?;
        let devices: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM devices WHERE group_id = $1")
            .bind(&id)
            .fetch_one(&mut *change)
            .await?;
        if devices > 0 {
            return Err(Rule::GroupHasDevices.into());
        }
        let flagged: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM deployments WHERE group_id = $1 AND flagged = 1")
            .bind(&id)
            .fetch_one(&mut *change)
            .await?;
        if flagged > 0 {
            return Err(Rule::GroupHasFlagged.into());
        }
        sqlx::query(
            "DELETE FROM deployment_code WHERE deployment_id IN (SELECT id FROM deployments WHERE group_id = $1)",
        )
        .bind(&id)
        .execute(&mut *change)
        .await?;
        sqlx::query("DELETE FROM deployments WHERE group_id = $1").bind(&id).execute(&mut *change).await?;
        sqlx::query("DELETE FROM enrolment_tokens WHERE group_id = $1").bind(&id).execute(&mut *change).await?;
        let unused = super::deployments::drop_unused_images(&mut change).await?;
        let deleted = sqlx::query("DELETE FROM devicegroups WHERE id = $1").bind(&id).execute(&mut *change).await?;
        if deleted.rows_affected() == 0 {
            return Err(ChangeError::NotFound("devicegroup"));
        }
        change.commit().await?;
        self.forget_images(unused);
        Ok(())
    }

    /// Moves a group's minimum supported deployment forward.
    ///
    /// # Errors
    /// There is no such group or deployment, it is another group's, or older than the minimum that is set.
    pub async fn set_min_supported(&self, id: GroupId, deployment: DeploymentId) -> Result<(), ChangeError> {
        let mut change = self.begin().await?;
        let group = sqlx::query_as::<_, Row>("SELECT * FROM devicegroups WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *change)
            .await?
            .ok_or(ChangeError::NotFound("devicegroup"))?;
        let made = "SELECT group_id, created_ms FROM deployments WHERE id = $1";
        let (of_group, created_ms) = sqlx::query_as::<_, (String, i64)>(made)
            .bind(deployment.to_string())
            .fetch_optional(&mut *change)
            .await?
            .ok_or(ChangeError::NotFound("deployment"))?;
        if of_group != group.id {
            return Err(Rule::MinimumOfOtherGroup.into());
        }
        if let Some(minimum) = &group.min_supported_deployment_id {
            let old = sqlx::query_as::<_, (String, i64)>(made).bind(minimum).fetch_optional(&mut *change).await?;
            if old.is_some_and(|(_, old_ms)| created_ms < old_ms) {
                return Err(Rule::MinimumOlder.into());
            }
        }
        sqlx::query("UPDATE devicegroups SET min_supported_deployment_id = $2, updated_ms = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(deployment.to_string())
            .bind(unix_ms())
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }
}

fn named(result: Result<sqlx::sqlite::SqliteQueryResult, sqlx::Error>) -> Result<u64, ChangeError> {
    match result {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) if is_duplicate(&error) => Err(Rule::GroupNameTaken.into()),
        Err(error) => Err(error.into()),
    }
}
