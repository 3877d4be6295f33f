//! What logins need of devices, kept between the changes: a login that comes again costs no query.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::public::SpkiHash;

use super::cache::Cache;
use crate::fleet::DeviceLogin;

/// After this the database is asked again, whatever this memory believes.
const KEPT: Duration = Duration::from_secs(60);

/// The memory. Whoever changes what is in it holds a [`Changing`] meanwhile.
pub(super) struct Logins(Mutex<State>);

struct State {
    known: Cache<SpkiHash, (DeviceLogin, Instant)>,
    bound: usize,
    changes: u64,
}

/// How many changes there were before the database was asked.
pub(super) struct Before(u64);

/// A change of devices, groups or deployments. When it ends, however it ends, nothing is remembered, and no answer that the database gave
/// before that moment will be.
pub(super) struct Changing<'a>(&'a Logins);

impl Logins {
    pub(super) fn new(bound: usize) -> Self {
        Self(Mutex::new(State { known: Cache::new(bound), bound, changes: 0 }))
    }

    /// What is remembered of a device, or what to hand to [`Self::keep`] with the database's answer.
    pub(super) fn get(&self, spki: &SpkiHash) -> Result<DeviceLogin, Before> {
        let mut state = self.lock();
        match state.known.get(spki) {
            Some((login, since)) if since.elapsed() < KEPT => Ok(login),
            _ => Err(Before(state.changes)),
        }
    }

    /// Remembers an answer, unless something has changed since the question.
    pub(super) fn keep(&self, login: &DeviceLogin, before: &Before) {
        let mut state = self.lock();
        if state.changes == before.0 {
            state.known.put(login.spki, (login.clone(), Instant::now()), 1);
        }
    }

    /// To be held from before a change is begun until after it is made.
    pub(super) fn changing(&self) -> Changing<'_> {
        Changing(self)
    }

    /// How many changes there were.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.changes += 1;
        let bound = state.bound;
        state.known = Cache::new(bound);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keys::profile::Profile;
    use keys::purpose::KeyPurpose;
    use keys::signer::Signer;

    use super::*;
    use crate::fleet::Demand;

    fn login() -> DeviceLogin {
        let identity = Signer::generate(KeyPurpose::DeviceIdentity).unwrap().public().clone();
        DeviceLogin {
            spki: identity.spki_hash(),
            id: identity.device_id(),
            identity: Arc::new(identity),
            tls_spki: SpkiHash([1; 32]),
            profile: Profile::Modern,
            revoked: false,
            agent: "a".repeat(12).parse().unwrap(),
            owner: crate::fleet::AccountId::random(),
            group: None,
            production: false,
            deployment: None,
            app: None,
            os_version: None,
            attestation: None,
            demand: Demand::Any,
        }
    }

    fn question(logins: &Logins, spki: &SpkiHash) -> Before {
        logins.get(spki).expect_err("it is not remembered")
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_remembered() {
        let (logins, login) = (Logins::new(8), login());
        let before = question(&logins, &login.spki);
        drop(logins.changing());
        logins.keep(&login, &before);
        question(&logins, &login.spki);
    }

    /// The database may answer with the old state until the change is made, whenever the question was put.
    #[test]
    fn an_answer_from_during_a_change_is_forgotten_when_it_ends() {
        let (logins, login) = (Logins::new(8), login());
        let changing = logins.changing();
        logins.keep(&login, &question(&logins, &login.spki));
        assert!(logins.get(&login.spki).is_ok());
        drop(changing);
        question(&logins, &login.spki);
    }
}
