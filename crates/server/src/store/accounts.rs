//! Accounts and the hashes of their passwords.

use sqlx::FromRow;

use super::{ChangeError, Listed, Page, Store, StoreError, is_duplicate, row, unix_ms};
use crate::fleet::{Account, AccountId, AccountName, Rule};

#[derive(FromRow)]
struct Row {
    id: String,
    username: String,
    email: String,
    created_ms: i64,
    updated_ms: i64,
}

impl TryFrom<Row> for Account {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row::text("accounts.id", &row.id)?,
            username: row::text("accounts.username", &row.username)?,
            email: row.email,
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
        })
    }
}

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn create_account(
        &self,
        username: &AccountName,
        email: &str,
        password_hash: &str,
    ) -> Result<AccountId, ChangeError> {
        let (id, now) = (AccountId::random(), unix_ms());
        let made = sqlx::query(
            "INSERT INTO accounts (id, username, email, password_hash, created_ms, updated_ms) VALUES ($1, $2, $3, $4, $5, $5)",
        )
        .bind(id.to_string())
        .bind(username.as_str())
        .bind(email)
        .bind(password_hash)
        .bind(now)
        .execute(self.writer())
        .await;
        match made {
            Ok(_) => Ok(id),
            Err(error) if is_duplicate(&error) => Err(Rule::AccountNameTaken.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// One account.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        sqlx::query_as::<_, Row>("SELECT id, username, email, created_ms, updated_ms FROM accounts WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await?
            .map(Account::try_from)
            .transpose()
    }

    /// All accounts, oldest first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn accounts(&self, page: Page) -> Result<Listed<Account>, StoreError> {
        let rows = sqlx::query_as::<_, Row>(
            "SELECT id, username, email, created_ms, updated_ms FROM accounts ORDER BY created_ms, id LIMIT $1 OFFSET $2",
        )
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(self.readers())
        .await?;
        Ok(page.listed(rows.into_iter().map(Account::try_from).collect::<Result<_, _>>()?))
    }

    /// Who a user name or e-mail address belongs to, and the hash of the password. An address that several accounts share names nobody.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn password_hash(&self, user: &str) -> Result<Option<(AccountId, String)>, StoreError> {
        let rows = sqlx::query_as::<_, (String, String, String)>(
            "SELECT id, username, password_hash FROM accounts WHERE username = $1 OR (email = $1 AND email <> '') LIMIT 3",
        )
        .bind(user)
        .fetch_all(self.readers())
        .await?;
        let by_name = rows.iter().find(|(_, username, _)| username == user);
        let found = by_name.or(if rows.len() == 1 { rows.first() } else { None });
        found.map(|(id, _, hash)| Ok((row::text("accounts.id", id)?, hash.clone()))).transpose()
    }
}
