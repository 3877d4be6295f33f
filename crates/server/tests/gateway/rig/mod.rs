//! A gateway with a real store and bus on loopback, and devices that speak the real protocol to it.

// Each test binary uses its part. A rig that cannot be built fails its test, as an unwrap in the test itself does.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod device;
pub(crate) mod link;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use keys::hashes::{random, sha256};
use keys::pki::{OperatorPki, ServerName, ServingPki};
use keys::profile::Profile;
use keys::secret::Secret;
use keys::time::Now;
use protocol::enrol::EnrolmentToken;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vouch_server::bus::Bus;
use vouch_server::fleet::{
    AccountId, AgentIdSecret, AgentUrls, DeploymentId, EnvVars, GroupId, GroupType, NewDeployment, TokenId,
};
use vouch_server::gateway::{
    Gateway, GatewayConfig, GatewayCounters, GatewayEvent, GatewayEventKind, GatewayLimits, Listen,
};
use vouch_server::limits::{LIMITS, Limits};
use vouch_server::repository::Repository;
use vouch_server::store::{NewToken, Store};

use device::TestDevice;

/// Longest wait for something that must happen; only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The name in the gateway's certificates.
pub(crate) const NAME: &str = "gateway.test";
/// The operator's name in its roots.
pub(crate) const OURS: &str = "Ours";

pub(crate) struct Rig {
    pub(crate) pki: Arc<ServingPki>,
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) repository: Repository,
    pub(crate) listens: Vec<Listen>,
    pub(crate) counters: Arc<GatewayCounters>,
    pub(crate) events: broadcast::Receiver<Arc<GatewayEvent>>,
    pub(crate) owner: AccountId,
    pub(crate) group: GroupId,
    stop: CancellationToken,
    gateway: Option<JoinHandle<()>>,
    journal: JoinHandle<()>,
    pub(crate) dir: TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(GatewayLimits::default(), LIMITS, 60).await
    }

    /// With these keys and certificates.
    pub(crate) async fn of(pki: Arc<ServingPki>) -> Self {
        Self::made_of(pki, GatewayLimits::default(), LIMITS, 60).await
    }

    pub(crate) async fn with(gateway_limits: GatewayLimits, limits: Limits, keepalive_s: u32) -> Self {
        Self::made_of(ours(), gateway_limits, limits, keepalive_s).await
    }

    async fn made_of(pki: Arc<ServingPki>, gateway_limits: GatewayLimits, limits: Limits, keepalive_s: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), AgentIdSecret::new(Secret::new(vec![7; 32])), &limits).await.unwrap();
        let (journal, task) = store.journal();
        let journal_task = tokio::spawn(task.run());
        let bus = Bus::new(&limits, journal);
        let owner = store.create_account(&"owner".parse().unwrap(), "o@example.org", "$argon2id$").await.unwrap();
        let product = store.create_product(owner, owner, "product", "").await.unwrap();
        let group = store
            .create_group(GroupType::Development, product.id, owner, "group", "", &EnvVars::default())
            .await
            .unwrap();
        let listen = [31_314, 993].map(|rule_port| Listen { rule_port, addr: "127.0.0.1:0".parse().unwrap() });
        let config = GatewayConfig {
            listen: listen.to_vec(),
            limits: gateway_limits,
            keepalive_s,
            agent_urls: AgentUrls::new("http://central.test"),
        };
        let repository =
            Repository::open(dir.path(), store.clone(), "server.example", pki.server_roots.clone(), &limits)
                .await
                .unwrap();
        let gateway = Gateway::bind(config, pki.clone(), store.clone(), bus.clone(), repository.clone()).unwrap();
        let (listens, counters, events) = (gateway.listens(), gateway.counters(), gateway.events().subscribe());
        let stop = CancellationToken::new();
        let gateway = Some(tokio::spawn(gateway.run(stop.clone())));
        Self {
            pki,
            store,
            bus,
            listens,
            counters,
            events,
            owner,
            group: group.id,
            stop,
            gateway,
            journal: journal_task,
            repository,
            dir,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.listens[0].addr
    }

    /// A token for `uses` devices, in the rig's group.
    pub(crate) async fn token(&self, uses: u32) -> EnrolmentToken {
        let id: [u8; 9] = random();
        let token = EnrolmentToken::new(TokenId::new(id), random(), self.pki.server_roots.hash());
        let new = NewToken {
            id: TokenId::new(id),
            secret_sha256: token.secret_sha256(),
            owner: self.owner,
            group: Some(self.group),
            uses,
            minutes: 60,
        };
        self.store.create_enrolment_token(&new).await.unwrap();
        token
    }

    /// A device, enrolled through the gateway.
    pub(crate) async fn device(&self, profile: Profile) -> TestDevice {
        let token = self.token(1).await;
        let mut device = TestDevice::born(profile, self.pki.server_roots.clone());
        device.enrol(self.addr(), &token).await.expect("enrolment");
        device
    }

    /// Makes a deployment with this device app; whoever is connected has still to be told.
    pub(crate) async fn deploy(&self, device_image: Vec<u8>) -> [u8; 32] {
        let sha = sha256(&device_image);
        let new = NewDeployment {
            id: DeploymentId::random(),
            group: self.group,
            creator: self.owner,
            notes: Default::default(),
            origin: None,
            device_code: String::new(),
            agent_code: String::new(),
            device_image,
            agent_image: vec![1],
        };
        self.store.create_deployment(&new).await.unwrap();
        sha
    }

    /// The next event for which `pick` has a value; others are skipped.
    pub(crate) async fn event<T>(&mut self, mut pick: impl FnMut(&GatewayEvent) -> Option<T>) -> T {
        let picked = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
        };
        timeout(PATIENCE, picked).await.expect("the event must come")
    }

    /// Why the next connection is turned away.
    pub(crate) async fn turned(&mut self) -> (vouch_server::gateway::Turned, String) {
        self.event(|event| match &event.what {
            GatewayEventKind::Turned { reason, detail } => Some((*reason, detail.clone())),
            _ => None,
        })
        .await
    }

    /// Waits for the counters.
    pub(crate) async fn until(&self, enough: impl Fn(&GatewayCounters) -> bool) {
        let waited = timeout(PATIENCE, self.counters.wait_for(enough)).await;
        waited.unwrap_or_else(|_| panic!("never so: {:?}", self.counters));
    }

    /// Stops the gateway as an operator does.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        timeout(PATIENCE, self.gateway.take().unwrap()).await.expect("the gateway stops").unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
        self.journal.abort();
    }
}

/// The keys and certificates of all rigs but those that say otherwise; RSA keys take their time to be born.
pub(crate) fn ours() -> Arc<ServingPki> {
    static OPERATOR: OnceLock<Arc<ServingPki>> = OnceLock::new();
    OPERATOR.get_or_init(|| Arc::new(operator(OURS).serving)).clone()
}

/// The keys and certificates of an operator of this name, for the server name of all rigs.
pub(crate) fn operator(operator: &str) -> OperatorPki {
    let name = ServerName::try_from(NAME).unwrap();
    OperatorPki::create(operator, &[name], now()).unwrap()
}

/// The present, for machines of the tests.
pub(crate) fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let mono_ms = START.get_or_init(Instant::now).elapsed().as_millis();
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Now { mono_ms: u64::try_from(mono_ms).unwrap(), unix_ms: i64::try_from(unix.as_millis()).unwrap() }
}
