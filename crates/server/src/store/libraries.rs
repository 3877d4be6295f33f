//! Libraries.

use keys::hashes::sha256;
use sqlx::FromRow;

use super::{ChangeError, Listed, Page, Store, StoreError, row, unix_ms};
use crate::fleet::library::LIBRARIES_PER_ACCOUNT;
use crate::fleet::{AccountId, Invalid, Library, Rule};

#[derive(FromRow)]
struct Row {
    owner_id: String,
    name: String,
    version: String,
    sha256: Vec<u8>,
    added_ms: i64,
}

impl TryFrom<Row> for Library {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            owner: row::text("libraries.owner_id", &row.owner_id)?,
            name: row.name,
            version: row.version,
            sha256: row.sha256.try_into().map_err(|_| StoreError::Damaged("libraries.sha256"))?,
            added_ms: row.added_ms,
        })
    }
}

impl Store {
    /// Adds a version of a library; adding the same code once more changes nothing.
    ///
    /// # Errors
    /// Name or version is not allowed, the version exists with other code, or there are too many.
    pub async fn add_library(
        &self,
        owner: AccountId,
        name: &str,
        version: &str,
        code: &str,
    ) -> Result<Library, ChangeError> {
        let (name, version) = (name.to_owned(), version.to_owned());
        let library = Library { owner, name, version, sha256: sha256(code.as_bytes()), added_ms: unix_ms() };
        library.check()?;
        let mut change = self.begin().await?;
        let found = sqlx::query_as::<_, Row>(
            "SELECT owner_id, name, version, sha256, added_ms FROM libraries WHERE owner_id = $1 AND name = $2 AND version = $3",
        )
        .bind(owner.to_string())
        .bind(&library.name)
        .bind(&library.version)
        .fetch_optional(&mut *change)
        .await?;
        if let Some(found) = found {
            let found = Library::try_from(found)?;
            return if found.sha256 == library.sha256 { Ok(found) } else { Err(Rule::LibraryVersionTaken.into()) };
        }
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM libraries WHERE owner_id = $1")
            .bind(owner.to_string())
            .fetch_one(&mut *change)
            .await?;
        if count >= LIBRARIES_PER_ACCOUNT {
            return Err(Invalid(format!("an account has at most {LIBRARIES_PER_ACCOUNT} versions of libraries")).into());
        }
        sqlx::query(
            "INSERT INTO libraries (owner_id, name, version, code, sha256, added_ms) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(owner.to_string())
        .bind(&library.name)
        .bind(&library.version)
        .bind(code)
        .bind(library.sha256.to_vec())
        .bind(library.added_ms)
        .execute(&mut *change)
        .await?;
        change.commit().await?;
        Ok(library)
    }

    /// An account's libraries, by name, then in the order they were added.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn libraries(&self, owner: AccountId, page: Page) -> Result<Listed<Library>, StoreError> {
        let rows = sqlx::query_as::<_, Row>(
            "SELECT owner_id, name, version, sha256, added_ms FROM libraries WHERE owner_id = $1
             ORDER BY name, added_ms, version LIMIT $2 OFFSET $3",
        )
        .bind(owner.to_string())
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(self.readers())
        .await?;
        Ok(page.listed(rows.into_iter().map(Library::try_from).collect::<Result<_, _>>()?))
    }

    /// The code of a library.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn library_code(
        &self,
        owner: AccountId,
        name: &str,
        version: &str,
    ) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT code FROM libraries WHERE owner_id = $1 AND name = $2 AND version = $3")
            .bind(owner.to_string())
            .bind(name)
            .bind(version)
            .fetch_optional(self.readers())
            .await?)
    }
}
