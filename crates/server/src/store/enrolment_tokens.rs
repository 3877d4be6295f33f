//! Enrolment tokens, and the one transaction in which a token becomes a device.

use keys::hashes::ct_eq;
use keys::keystore::AttestationLevel;
use sqlx::{FromRow, Sqlite, Transaction};
use thiserror::Error;

use super::{ChangeError, Listed, Page, Store, StoreError, deleted_devices, is_duplicate, row, unix_ms};
use crate::fleet::proof::level_name;
use crate::fleet::{
    AccountId, Demand, DeviceLogin, EnrolmentToken, GroupId, NewDevice, RedeemRefused, TokenId, enrolment_token,
};

/// A token to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewToken {
    /// Its public half.
    pub id: TokenId,
    /// SHA-256 of its secret.
    pub secret_sha256: [u8; 32],
    /// Who makes it.
    pub owner: AccountId,
    /// Where its devices are assigned.
    pub group: Option<GroupId>,
    /// How many devices may enrol with it.
    pub uses: u32,
    /// How long it lives, minutes.
    pub minutes: u32,
}

/// Why a token was not redeemed; nothing was changed.
#[derive(Debug, Error)]
pub enum RedeemError {
    /// The device is refused.
    #[error(transparent)]
    Refused(#[from] RedeemRefused),
    /// The state could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RedeemError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(StoreError::Database(error))
    }
}

const ONE: &str =
    "SELECT t.*, g.kind FROM enrolment_tokens t LEFT JOIN devicegroups g ON g.id = t.group_id WHERE t.id = $1";
const ALL: &str = "SELECT t.*, g.kind FROM enrolment_tokens t LEFT JOIN devicegroups g ON g.id = t.group_id
    ORDER BY t.created_ms DESC, t.id LIMIT $1 OFFSET $2";

#[derive(FromRow)]
struct Row {
    id: String,
    owner_id: String,
    group_id: Option<String>,
    kind: Option<String>,
    uses: i64,
    uses_left: i64,
    created_ms: i64,
    expires_ms: i64,
}

impl TryFrom<Row> for EnrolmentToken {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row::text("enrolment_tokens.id", &row.id)?,
            owner: row::text("enrolment_tokens.owner_id", &row.owner_id)?,
            group: row::optional("enrolment_tokens.group_id", row.group_id.as_deref())?,
            group_kind: row::optional("devicegroups.kind", row.kind.as_deref())?,
            uses: row::count("enrolment_tokens.uses", row.uses)?,
            uses_left: row::count("enrolment_tokens.uses_left", row.uses_left)?,
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
        })
    }
}

impl Store {
    /// Makes an enrolment token; its devices belong to the group's owner, or without a group to who made it.
    ///
    /// # Errors
    /// Its count or life is not allowed, or there is no such group.
    pub async fn create_enrolment_token(&self, new: &NewToken) -> Result<EnrolmentToken, ChangeError> {
        enrolment_token::check_new(new.uses, new.minutes)?;
        let now = unix_ms();
        let mut change = self.begin().await?;
        let owner = match new.group {
            None => new.owner.to_string(),
            Some(group) => sqlx::query_scalar::<_, String>("SELECT owner_id FROM devicegroups WHERE id = $1")
                .bind(group.to_string())
                .fetch_optional(&mut *change)
                .await?
                .ok_or(ChangeError::NotFound("devicegroup"))?,
        };
        sqlx::query(
            "INSERT INTO enrolment_tokens (id, secret_hash, owner_id, group_id, uses, uses_left, created_ms, expires_ms)
             VALUES ($1, $2, $3, $4, $5, $5, $6, $7)",
        )
        .bind(new.id.to_string())
        .bind(new.secret_sha256.as_slice())
        .bind(owner)
        .bind(new.group.map(|group| group.to_string()))
        .bind(i64::from(new.uses))
        .bind(now)
        .bind(now.saturating_add(i64::from(new.minutes) * 60_000))
        .execute(&mut *change)
        .await?;
        let made = sqlx::query_as::<_, Row>(ONE).bind(new.id.to_string()).fetch_one(&mut *change).await?;
        change.commit().await?;
        Ok(made.try_into()?)
    }

    /// One enrolment token.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn enrolment_token(&self, id: TokenId) -> Result<Option<EnrolmentToken>, StoreError> {
        sqlx::query_as::<_, Row>(ONE)
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await?
            .map(EnrolmentToken::try_from)
            .transpose()
    }

    /// All enrolment tokens, newest first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn enrolment_tokens(&self, page: Page) -> Result<Listed<EnrolmentToken>, StoreError> {
        let rows =
            sqlx::query_as::<_, Row>(ALL).bind(page.limit()).bind(page.offset()).fetch_all(self.readers()).await?;
        Ok(page.listed(rows.into_iter().map(EnrolmentToken::try_from).collect::<Result<_, _>>()?))
    }

    /// Deletes an enrolment token: no device enrols with it from then on.
    ///
    /// # Errors
    /// There is no such token.
    pub async fn delete_enrolment_token(&self, id: TokenId) -> Result<(), ChangeError> {
        let deleted = sqlx::query("DELETE FROM enrolment_tokens WHERE id = $1")
            .bind(id.to_string())
            .execute(self.writer())
            .await?;
        if deleted.rows_affected() == 0 { Err(ChangeError::NotFound("enrolment_token")) } else { Ok(()) }
    }

    /// Enrols a device and uses up one use of its token, or neither. Call it only with a request whose signatures are verified.
    ///
    /// A device that missed the answer may ask again: the same identity key with the same token gets the same enrolment, with its new TLS
    /// key, and uses none up.
    ///
    /// # Errors
    /// [`RedeemRefused`], or the state could not be written.
    pub async fn redeem_token(
        &self,
        id: &TokenId,
        secret_sha256: &[u8; 32],
        now_unix_ms: i64,
        device: NewDevice,
    ) -> Result<DeviceLogin, RedeemError> {
        let device = &device;
        device.check().map_err(RedeemRefused::Invalid)?;
        let spki = device.identity.spki_hash();
        // Looked up before the one connection that writes is asked for: who has no token delays nobody's writes. What may change until
        // then, the uses left and the token itself, is looked at again by the change.
        let token = sqlx::query_as::<_, (Vec<u8>, i64, String, Option<String>)>(
            "SELECT secret_hash, expires_ms, owner_id, group_id FROM enrolment_tokens WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(self.readers())
        .await?;
        let Some((secret_hash, expires_ms, owner, group)) = token else { return Err(RedeemRefused::Unknown.into()) };
        if !ct_eq(&secret_hash, secret_sha256) {
            return Err(RedeemRefused::Unknown.into());
        }
        if now_unix_ms >= expires_ms {
            return Err(RedeemRefused::Expired.into());
        }
        self.takes(group.as_deref(), device.attestation).await?;
        let mut change = self.begin().await?;
        let repeated = self.repeated(&mut change, id, device).await?;
        let _changing = repeated.then(|| self.0.logins.changing());
        if !repeated {
            let used =
                sqlx::query("UPDATE enrolment_tokens SET uses_left = uses_left - 1 WHERE id = $1 AND uses_left > 0")
                    .bind(id.to_string())
                    .execute(&mut *change)
                    .await?;
            if used.rows_affected() == 0 {
                return Err(RedeemRefused::UsedUp.into());
            }
            let owner: AccountId = row::text("enrolment_tokens.owner_id", &owner)?;
            self.enrol(&mut change, id, owner, group, now_unix_ms, device).await?;
        }
        let login = self.device_login_in(&mut change, spki).await?.ok_or(StoreError::Damaged("devices.spki"))?;
        change.commit().await?;
        Ok(login)
    }

    /// Whether the group, if there is one, takes a device whose keys live there.
    async fn takes(&self, group: Option<&str>, level: AttestationLevel) -> Result<(), RedeemError> {
        let Some(group) = group else { return Ok(()) };
        let demand = sqlx::query_scalar::<_, String>("SELECT attestation FROM devicegroups WHERE id = $1")
            .bind(group)
            .fetch_optional(self.readers())
            .await?;
        let demand: Option<Demand> = row::optional("devicegroups.attestation", demand.as_deref())?;
        if demand.is_none_or(|demand| demand.is_met_by(level)) {
            Ok(())
        } else {
            Err(RedeemRefused::AttestationTooLow.into())
        }
    }

    /// Whether this very key was enrolled with this very token before; then its TLS key is brought up to date.
    async fn repeated(
        &self,
        change: &mut Transaction<'static, Sqlite>,
        id: &TokenId,
        device: &NewDevice,
    ) -> Result<bool, RedeemError> {
        let spki = device.identity.spki_hash();
        let known =
            sqlx::query_as::<_, (String, Option<i64>)>("SELECT token_id, revoked_ms FROM devices WHERE spki = $1")
                .bind(spki.as_bytes().as_slice())
                .fetch_optional(&mut **change)
                .await?;
        let Some((token, revoked)) = known else { return Ok(false) };
        if token != id.to_string() || revoked.is_some() {
            return Err(RedeemRefused::AlreadyEnrolled.into());
        }
        sqlx::query(
            "UPDATE devices SET tls_spki = $2, profile = $3, key_agreement_spki = $4, model = $5, attestation = $6 WHERE spki = $1",
        )
        .bind(spki.as_bytes().as_slice())
        .bind(device.tls_spki.as_bytes().as_slice())
        .bind(device.profile.as_str())
        .bind(&device.key_agreement_spki)
        .bind(&device.model)
        .bind(level_name(device.attestation))
        .execute(&mut **change)
        .await?;
        Ok(true)
    }

    async fn enrol(
        &self,
        change: &mut Transaction<'static, Sqlite>,
        token: &TokenId,
        owner: AccountId,
        group: Option<String>,
        now_unix_ms: i64,
        device: &NewDevice,
    ) -> Result<(), RedeemError> {
        let spki = device.identity.spki_hash();
        deleted_devices::begin_anew(change, &spki).await?;
        let made = sqlx::query(
            "INSERT INTO devices (spki, id, owner_id, group_id, model, profile, identity_spki, key_agreement_spki, tls_spki, agent_id,
             token_id, enrolled_ms, attestation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(spki.as_bytes().as_slice())
        .bind(device.identity.device_id().to_string())
        .bind(owner.to_string())
        .bind(group)
        .bind(&device.model)
        .bind(device.profile.as_str())
        .bind(device.identity.spki_der())
        .bind(&device.key_agreement_spki)
        .bind(device.tls_spki.as_bytes().as_slice())
        .bind(self.0.agent_ids.agent_id(spki, owner).to_string())
        .bind(token.to_string())
        .bind(now_unix_ms)
        .bind(level_name(device.attestation))
        .execute(&mut **change)
        .await;
        match made {
            Ok(_) => Ok(()),
            // The key itself is new here, so what is taken is the 64-bit id made from it.
            Err(error) if is_duplicate(&error) => Err(RedeemRefused::DeviceIdTaken.into()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keys::profile::Profile;
    use keys::public::SpkiHash;
    use keys::purpose::KeyPurpose;
    use keys::secret::Secret;
    use keys::signer::Signer;

    use super::*;
    use crate::fleet::AgentIdSecret;
    use crate::limits::LIMITS;

    fn new_device() -> NewDevice {
        let identity = Arc::new(Signer::generate(KeyPurpose::DeviceIdentity).unwrap().public().clone());
        let key_agreement_spki = identity.spki_der().to_vec();
        NewDevice {
            identity,
            key_agreement_spki,
            tls_spki: SpkiHash([0; 32]),
            profile: Profile::Modern,
            model: "m".to_owned(),
            attestation: AttestationLevel::Software,
        }
    }

    #[tokio::test]
    async fn who_has_no_token_does_not_wait_for_the_connection_that_writes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), AgentIdSecret::new(Secret::new(vec![1; 32])), &LIMITS).await.unwrap();
        let _writing = store.begin().await.unwrap();
        let unknown = TokenId::new([9; 9]);
        let redeeming = store.redeem_token(&unknown, &[2; 32], unix_ms(), new_device());
        let refused = tokio::time::timeout(std::time::Duration::from_secs(5), redeeming).await;
        let refused = refused.expect("answered while another writes");
        assert!(matches!(refused, Err(RedeemError::Refused(RedeemRefused::Unknown))), "{refused:?}");
    }

    #[tokio::test]
    async fn another_key_with_the_same_device_id_is_refused_and_uses_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let secret = AgentIdSecret::new(Secret::new(vec![1; 32]));
        let store = Store::create(dir.path(), secret, &LIMITS).await.unwrap();
        let owner = store.create_account(&"me".parse().unwrap(), "", "").await.unwrap();
        let id = TokenId::new([1; 9]);
        let new = NewToken { id, secret_sha256: [2; 32], owner, group: None, uses: 2, minutes: 1 };
        store.create_enrolment_token(&new).await.unwrap();
        let (first, second) = (new_device(), new_device());
        store.redeem_token(&id, &[2; 32], unix_ms(), first.clone()).await.unwrap();
        // A real collision costs 2^32 keys: here the first device has taken the second one's id over.
        sqlx::query("UPDATE devices SET id = $1")
            .bind(second.identity.device_id().to_string())
            .execute(store.writer())
            .await
            .unwrap();
        let refused = store.redeem_token(&id, &[2; 32], unix_ms(), second).await;
        assert!(matches!(refused, Err(RedeemError::Refused(RedeemRefused::DeviceIdTaken))), "{refused:?}");
        assert_eq!(store.enrolment_token(id).await.unwrap().unwrap().uses_left, 1);
    }
}
