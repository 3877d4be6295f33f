//! What every handler works with.

use std::sync::Arc;

use axum::Router;
use tokio::sync::Semaphore;

use super::health::Health;
use super::login_door::LoginDoor;
use super::routes;
use crate::bus::Bus;
use crate::fleet::AgentUrls;
use crate::limits::Limits;
use crate::repository::Repository;
use crate::status::Vitals;
use crate::store::Store;

/// Central's API. Cheap to clone.
#[derive(Clone)]
pub struct Central(Arc<Shared>);

/// What every handler works with.
pub struct Shared {
    pub(super) store: Store,
    pub(super) bus: Bus,
    pub(super) repository: Repository,
    pub(super) limits: Limits,
    pub(super) agent_urls: AgentUrls,
    /// Where links begin: `http://host:port/v5`.
    pub(super) base: String,
    /// What enrolment tokens pin.
    pub(super) roots_sha256: [u8; 32],
    pub(super) logins: LoginDoor,
    pub(super) compilations: Arc<Semaphore>,
    pub(super) requests: Semaphore,
    pub(super) uploads: Semaphore,
    pub(super) auth_requests: Semaphore,
    pub(super) health: Health,
    pub(super) vitals: Vitals,
}

impl Central {
    /// The API over this store and bus, at this public address of the server (`http://host:port`).
    pub fn new(
        store: Store,
        bus: Bus,
        repository: Repository,
        public_url: &str,
        roots_sha256: [u8; 32],
        vitals: Vitals,
        limits: &Limits,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            bus,
            repository,
            agent_urls: AgentUrls::new(public_url),
            base: format!("{}/v5", public_url.trim_end_matches('/')),
            roots_sha256,
            logins: LoginDoor::new(limits),
            compilations: Arc::new(Semaphore::new(limits.compilations.max(1))),
            requests: Semaphore::new(limits.requests.max(1)),
            uploads: Semaphore::new(1),
            auth_requests: Semaphore::new(limits.auth_requests.max(1)),
            health: Health::default(),
            vitals,
            limits: limits.clone(),
        }))
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        routes::router(self)
    }
}

impl std::ops::Deref for Central {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
