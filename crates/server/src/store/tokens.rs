//! Access and refresh tokens, of which only the hashes are kept.

use keys::password::{random_token, token_hash};

use super::{ChangeError, Listed, Page, Store, StoreError, row, unix_ms};
use crate::fleet::token::{ACCESS_TOKEN_LIFE, REFRESH_TOKEN_LIFE, REFRESH_TOKENS_MAX};
use crate::fleet::{AccountId, Caller, RefreshToken, RefreshTokenId};

/// What a login gives; the tokens exist nowhere else in clear.
pub struct Login {
    /// For the next hour.
    pub access_token: String,
    /// When that ends, Unix milliseconds.
    pub expires_ms: i64,
    /// To renew it; none when it was just used for that.
    pub refresh_token: Option<String>,
}

impl Store {
    /// Makes tokens for an account that has just proved itself with its password.
    ///
    /// # Errors
    /// The state could not be written.
    pub async fn log_in(&self, account: AccountId) -> Result<Login, StoreError> {
        let refresh_token = random_token();
        let hash = token_hash(&refresh_token).ok_or(StoreError::Damaged("refresh_tokens.hash"))?;
        let mut change = self.begin().await?;
        sqlx::query("INSERT INTO refresh_tokens (hash, id, account_id, created_ms) VALUES ($1, $2, $3, $4)")
            .bind(hash.as_slice())
            .bind(RefreshTokenId::random().to_string())
            .bind(account.to_string())
            .bind(unix_ms())
            .execute(&mut *change)
            .await?;
        sqlx::query("DELETE FROM refresh_tokens WHERE account_id = $1 AND created_ms <= $2")
            .bind(account.to_string())
            .bind(born_before(unix_ms()))
            .execute(&mut *change)
            .await?;
        sqlx::query(
            "DELETE FROM refresh_tokens WHERE account_id = $1 AND id NOT IN
             (SELECT id FROM refresh_tokens WHERE account_id = $1 ORDER BY created_ms DESC, id LIMIT $2)",
        )
        .bind(account.to_string())
        .bind(i64::from(REFRESH_TOKENS_MAX))
        .execute(&mut *change)
        .await?;
        let login = access_token(&mut change, account).await?;
        change.commit().await?;
        Ok(Login { refresh_token: Some(refresh_token), ..login })
    }

    /// Makes a new access token for who has a refresh token. `None`: there is no such refresh token, or its time is over.
    ///
    /// # Errors
    /// The state could not be read or written.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Option<Login>, StoreError> {
        let Some(hash) = token_hash(refresh_token) else { return Ok(None) };
        // Looked up before the one connection that writes is asked for: a stranger's guesses delay nobody's writes.
        let sql = "SELECT account_id FROM refresh_tokens WHERE hash = $1 AND created_ms > $2";
        let found = sqlx::query_scalar::<_, String>(sql)
            .bind(hash.as_slice())
            .bind(born_before(unix_ms()))
            .fetch_optional(self.readers())
            .await?;
        let Some(account) = found else { return Ok(None) };
        let mut change = self.begin().await?;
        let login = access_token(&mut change, row::text("refresh_tokens.account_id", &account)?).await?;
        change.commit().await?;
        Ok(Some(login))
    }

    /// An account's refresh tokens that still serve, the newest first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn refresh_tokens(&self, account: AccountId, page: Page) -> Result<Listed<RefreshToken>, StoreError> {
        let rows = sqlx::query_as::<_, (String, i64)>(
            "SELECT id, created_ms FROM refresh_tokens WHERE account_id = $1 AND created_ms > $2
             ORDER BY created_ms DESC, id LIMIT $3 OFFSET $4",
        )
        .bind(account.to_string())
        .bind(born_before(unix_ms()))
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(self.readers())
        .await?;
        let token = |(id, created_ms): (String, i64)| -> Result<RefreshToken, StoreError> {
            let expires_ms = created_ms.saturating_add(refresh_life_ms());
            Ok(RefreshToken { id: row::text("refresh_tokens.id", &id)?, created_ms, expires_ms })
        };
        Ok(page.listed(rows.into_iter().map(token).collect::<Result<_, _>>()?))
    }

    /// Ends a login of an account: its refresh token serves no more.
    ///
    /// # Errors
    /// The account has no such token.
    pub async fn delete_refresh_token(&self, account: AccountId, id: RefreshTokenId) -> Result<(), ChangeError> {
        let deleted = sqlx::query("DELETE FROM refresh_tokens WHERE account_id = $1 AND id = $2")
            .bind(account.to_string())
            .bind(id.to_string())
            .execute(self.writer())
            .await?;
        if deleted.rows_affected() == 0 { Err(ChangeError::NotFound("refresh token")) } else { Ok(()) }
    }

    /// Who an access token belongs to, if it is still valid.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn caller(&self, access_token: &str) -> Result<Option<Caller>, StoreError> {
        let Some(hash) = token_hash(access_token) else { return Ok(None) };
        let account =
            sqlx::query_scalar::<_, String>("SELECT account_id FROM access_tokens WHERE hash = $1 AND expires_ms > $2")
                .bind(hash.as_slice())
                .bind(unix_ms())
                .fetch_optional(self.readers())
                .await?;
        account.map(|account| Ok(Caller { account: row::text("access_tokens.account_id", &account)? })).transpose()
    }
}

fn refresh_life_ms() -> i64 {
    i64::try_from(REFRESH_TOKEN_LIFE.as_millis()).unwrap_or(i64::MAX)
}

/// A refresh token that was made at this time or earlier serves no more.
fn born_before(now_ms: i64) -> i64 {
    now_ms.saturating_sub(refresh_life_ms())
}

async fn access_token(
    change: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    account: AccountId,
) -> Result<Login, StoreError> {
    let (token, now) = (random_token(), unix_ms());
    let hash = token_hash(&token).ok_or(StoreError::Damaged("access_tokens.hash"))?;
    let life = i64::try_from(ACCESS_TOKEN_LIFE.as_millis()).unwrap_or(i64::MAX);
    let expires_ms = now.saturating_add(life);
    sqlx::query("DELETE FROM access_tokens WHERE expires_ms <= $1").bind(now).execute(&mut **change).await?;
    sqlx::query("INSERT INTO access_tokens (hash, account_id, expires_ms) VALUES ($1, $2, $3)")
        .bind(hash.as_slice())
        .bind(account.to_string())
        .bind(expires_ms)
        .execute(&mut **change)
        .await?;
    Ok(Login { access_token: token, expires_ms, refresh_token: None })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keys::secret::Secret;
    use tokio::time::timeout;

    use super::*;
    use crate::fleet::AgentIdSecret;
    use crate::limits::LIMITS;

    #[tokio::test]
    async fn a_refresh_token_serves_for_its_time_and_not_longer() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), AgentIdSecret::new(Secret::new(vec![1; 32])), &LIMITS).await.unwrap();
        let account = store.create_account(&"admin".parse().unwrap(), "", "no hash").await.unwrap();
        let page = Page { number: 1, size: 10 };
        // A minute before its end, and just past it.
        for (age_ms, serves) in [(refresh_life_ms() - 60_000, true), (refresh_life_ms(), false)] {
            let token = store.log_in(account).await.unwrap().refresh_token.unwrap();
            let born = "UPDATE refresh_tokens SET created_ms = $1";
            sqlx::query(born).bind(unix_ms() - age_ms).execute(store.writer()).await.unwrap();
            assert_eq!(store.refresh(&token).await.unwrap().is_some(), serves);
            assert_eq!(store.refresh_tokens(account, page).await.unwrap().items.is_empty(), !serves);
        }
        store.log_in(account).await.unwrap();
        let left: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM refresh_tokens").fetch_one(store.writer()).await.unwrap();
        assert_eq!(left, 1, "the next login removes what is over");
    }

    #[tokio::test]
    async fn a_guessed_refresh_token_does_not_wait_for_the_connection_that_writes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), AgentIdSecret::new(Secret::new(vec![1; 32])), &LIMITS).await.unwrap();
        let _writing = store.begin().await.unwrap();
        let refused = timeout(Duration::from_secs(5), store.refresh(&random_token())).await;
        assert!(refused.expect("answered while another writes").unwrap().is_none());
    }
}
