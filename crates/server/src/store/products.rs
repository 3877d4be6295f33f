//! Products.

use sqlx::{FromRow, QueryBuilder, Sqlite};

use super::{ChangeError, Listed, Page, Store, StoreError, is_duplicate, row, unix_ms};
use crate::fleet::{AccountId, Product, ProductId, Rule};

#[derive(FromRow)]
struct Row {
    id: String,
    owner_id: String,
    creator_id: String,
    name: String,
    description: String,
    created_ms: i64,
    updated_ms: i64,
}

impl TryFrom<Row> for Product {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row::text("products.id", &row.id)?,
            owner: row::text("products.owner_id", &row.owner_id)?,
            creator: row::text("products.creator_id", &row.creator_id)?,
            name: row.name,
            description: row.description,
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
        })
    }
}

impl Store {
    /// Makes a product.
    ///
    /// # Errors
    /// A value is not allowed, the name is taken, or the owner does not exist.
    pub async fn create_product(
        &self,
        owner: AccountId,
        creator: AccountId,
        name: &str,
        description: &str,
    ) -> Result<Product, ChangeError> {
        let now = unix_ms();
        let product = Product {
            id: ProductId::random(),
            owner,
            creator,
            name: name.to_owned(),
            description: description.to_owned(),
            created_ms: now,
            updated_ms: now,
        };
        product.check()?;
        let mut change = self.begin().await?;
        let owners: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM accounts WHERE id = $1")
            .bind(owner.to_string())
            .fetch_one(&mut *change)
            .await?;
        if owners == 0 {
            return Err(ChangeError::NotFound("account"));
        }
        let made = sqlx::query(
            "INSERT INTO products (id, owner_id, creator_id, name, description, created_ms, updated_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $6)",
        )
        .bind(product.id.to_string())
        .bind(owner.to_string())
        .bind(creator.to_string())
        .bind(name)
        .bind(description)
        .bind(now)
        .execute(&mut *change)
        .await;
        named(made)?;
        change.commit().await?;
        Ok(product)
    }

    /// One product.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn product(&self, id: ProductId) -> Result<Option<Product>, StoreError> {
        sqlx::query_as::<_, Row>("SELECT * FROM products WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await?
            .map(Product::try_from)
            .transpose()
    }

    /// Products, oldest first; of one owner if one is given.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn products(&self, owner: Option<AccountId>, page: Page) -> Result<Listed<Product>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM products WHERE 1 = 1");
        if let Some(owner) = owner {
            query.push(" AND owner_id = ").push_bind(owner.to_string());
        }
        query.push(" ORDER BY created_ms, id LIMIT ").push_bind(page.limit()).push(" OFFSET ").push_bind(page.offset());
        let rows = query.build_query_as::<Row>().fetch_all(self.readers()).await?;
        Ok(page.listed(rows.into_iter().map(Product::try_from).collect::<Result<_, _>>()?))
    }

    /// Changes what is given of a product.
    ///
    /// # Errors
    /// There is no such product, a value is not allowed, or the name is taken.
    pub async fn update_product(
        &self,
        id: ProductId,
        name: Option<&str>,
        description: Option<&str>,
    ) -> Result<Product, ChangeError> {
        let mut product = self.product(id).await?.ok_or(ChangeError::NotFound("product"))?;
        product.name = name.unwrap_or(&product.name).to_owned();
        product.description = description.unwrap_or(&product.description).to_owned();
        product.updated_ms = unix_ms();
        product.check()?;
        let changed = sqlx::query(
            "UPDATE products SET name = COALESCE($2, name), description = COALESCE($3, description), updated_ms = $4 WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(name)
        .bind(description)
        .bind(product.updated_ms)
        .execute(self.writer())
        .await;
        if named(changed)? == 0 { Err(ChangeError::NotFound("product")) } else { Ok(product) }
    }

    /// Deletes a product without groups.
    ///
    /// # Errors
    /// There is no such product, or it has groups.
    pub async fn delete_product(&self, id: ProductId) -> Result<(), ChangeError> {
        let mut change = self.begin().await?;
        let groups: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM devicegroups WHERE product_id = $1")
            .bind(id.to_string())
            .fetch_one(&mut *change)
            .await?;
        if groups > 0 {
            return Err(Rule::ProductHasGroups.into());
        }
        let deleted =
            sqlx::query("DELETE FROM products WHERE id = $1").bind(id.to_string()).execute(&mut *change).await?;
        change.commit().await?;
        if deleted.rows_affected() == 0 { Err(ChangeError::NotFound("product")) } else { Ok(()) }
    }
}

fn named(result: Result<sqlx::sqlite::SqliteQueryResult, sqlx::Error>) -> Result<u64, ChangeError> {
    match result {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) if is_duplicate(&error) => Err(Rule::ProductNameTaken.into()),
        Err(error) => Err(error.into()),
    }
}
