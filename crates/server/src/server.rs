//! A running server: store, bus, agents, gateway and central, started together and stopped in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use keys::pki::{PkiError, ServingPki};
use keys::private_file::{self, PrivateFileError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::agents::{self, AgentLimits, Agents, AgentsError};
use crate::api::Central;
use crate::api::listener::HttpListener;
use crate::bus::Bus;
use crate::config::ServerConfig;
use crate::fleet::{AgentIdSecret, AgentUrls};
use crate::gateway::{Gateway, GatewayConfig, GatewayCounters, GatewayError, GatewayEvents, Listen, Turned};
use crate::init::{AGENT_ID_SECRET_FILE, PKI_FOLDER};
use crate::repository::{Repository, RepositoryError};
use crate::status::{GatewayNumbers, Listener, Troubles, Vitals};
use crate::store::{DATABASE_FILE, Store, StoreError, unix_ms};

/// How many turns the server's runtime takes before it looks for what has come from the network (`event_interval`). A turn is up to four tasks;
/// those that send pieces of images, or log in, take some hundred microseconds each, and everybody else would wait for 61 turns of them.
pub const TURNS_BEFORE_IO: u32 = 8;

/// Starts servers.
#[derive(Debug)]
pub struct Server;

/// A server at work. Without [`Running::stop`] its gateway and central end with the runtime, as a crash would end them; nothing
/// acknowledged is lost.
pub struct Running {
    http: SocketAddr,
    listens: Vec<Listen>,
    counters: Arc<GatewayCounters>,
    events: GatewayEvents,
    store: Store,
    bus: Bus,
    agents: Agents,
    stop_edges: CancellationToken,
    edges: Vec<JoinHandle<()>>,
    journal: JoinHandle<()>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no server in the folder.
    #[error("{} holds no server; make one with `vouch init`", .0.display())]
    NoServer(PathBuf),
    /// The operator's keys or certificates cannot be read.
    #[error("the operator's keys cannot be read")]
    Pki(#[from] PkiError),
    /// A secret cannot be read.
    #[error("a secret cannot be read")]
    Secret(#[from] PrivateFileError),
    /// The database cannot be opened.
    #[error("the database cannot be opened")]
    Store(#[from] StoreError),
    /// The keys of the online roles, or the metadata of releases, cannot be read.
    #[error("the server's part of releases cannot be done")]
    Repository(#[from] RepositoryError),
    /// The agents do not start.
    #[error("the agents do not start")]
    Agents(#[from] AgentsError),
    /// The gateway does not start.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// Central's port cannot be had.
    #[error("cannot serve central on {0}: is another program there?")]
    Http(SocketAddr, #[source] io::Error),
}

impl Server {
    /// Starts everything; when it returns, devices and people can connect. Call it within a multi-threaded runtime.
    ///
    /// # Errors
    /// [`StartError`], naming the part that does not start.
    pub async fn start(config: ServerConfig) -> Result<Running, StartError> {
        let ServerConfig {
            dir,
            listen,
            http,
            public_url,
            keepalive_s,
            gateway: gateway_limits,
            limits,
            troubles,
            danger_agents_private_addresses,
        } = config;
        if !dir.join(DATABASE_FILE).exists() {
            return Err(StartError::NoServer(dir));
        }
        let pki = Arc::new(ServingPki::load(&dir.join(PKI_FOLDER))?);
        let agent_ids = AgentIdSecret::new(private_file::read(&dir.join(AGENT_ID_SECRET_FILE))?);
        let store = Store::open(&dir, agent_ids, &limits).await?;
        let (journal, journal_task) = store.journal();
        let journal_task = tokio::spawn(journal_task.run());
        let bus = Bus::new(&limits, journal);
        let repository =
            Repository::open(&dir, store.clone(), &server_name(&pki)?, pki.server_roots.clone(), &limits).await?;

        let http_listener = HttpListener::bind(http).await.map_err(|error| StartError::Http(http, error))?;
        let http = http_listener.addr();
        let public_url = public_url.unwrap_or_else(|| format!("http://{http}"));
        let urls = AgentUrls::new(&public_url);
        let config = GatewayConfig { listen, limits: gateway_limits, keepalive_s, agent_urls: urls.clone() };
        let gateway = Gateway::bind(config, pki.clone(), store.clone(), bus.clone(), repository.clone())?;
        let (listens, counters, events) = (gateway.listens(), gateway.counters(), gateway.events());

        let agent_limits =
            AgentLimits { danger_private_addresses: danger_agents_private_addresses, ..AgentLimits::default() };
        let agents = Agents::start(store.clone(), bus.clone(), urls.clone(), agent_limits.clone())?;
        let vitals = vitals(http, &listens, &counters, troubles);
        let roots = pki.server_roots.hash();
        let central = Central::new(store.clone(), bus.clone(), repository, &public_url, roots, vitals, &limits);
        let router = central.router().merge(agents::router(bus.clone(), &agent_limits));
        let stop_edges = CancellationToken::new();
        let edges = vec![
            tokio::spawn(gateway.run(stop_edges.clone())),
            tokio::spawn(http_listener.run(router, limits, stop_edges.clone())),
        ];
        Ok(Running { http, listens, counters, events, store, bus, agents, stop_edges, edges, journal: journal_task })
    }
}

/// The name that people know the server by.
fn server_name(pki: &ServingPki) -> Result<String, PkiError> {
    Ok(pki.names()?.into_iter().next().unwrap_or_else(|| "server".to_owned()))
}

fn vitals(http: SocketAddr, listens: &[Listen], counters: &Arc<GatewayCounters>, troubles: Troubles) -> Vitals {
    let counters = Arc::clone(counters);
    let turned = |counters: &GatewayCounters| {
        let counted = Turned::ALL.map(|reason| (reason.as_str().to_owned(), counters.turned(reason)));
        counted.into_iter().filter(|(_, count)| *count > 0).collect()
    };
    let listener = |listen: &Listen| Listener { rule_port: listen.rule_port, address: listen.addr };
    Vitals {
        started_ms: unix_ms(),
        http,
        listeners: listens.iter().map(listener).collect(),
        gateway: Arc::new(move || GatewayNumbers {
            sessions: counters.sessions(),
            connections: counters.connections(),
            handshakes: counters.door(),
            waiting: counters.waiting(),
            logins: counters.logins(),
            enrolments: counters.enrolments(),
            turned_away: turned(&counters),
        }),
        troubles,
    }
}

impl Running {
    /// Where central and the agents' URLs are.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where the gateway listens.
    pub fn listens(&self) -> Vec<Listen> {
        self.listens.clone()
    }

    /// What the gateway counts.
    pub fn counters(&self) -> Arc<GatewayCounters> {
        self.counters.clone()
    }

    /// What happens at the gateway.
    pub fn events(&self) -> GatewayEvents {
        self.events.clone()
    }

    /// Stops in order: first nobody comes in, then the agents end, then what is still to be written is written.
    pub async fn stop(self) {
        self.stop_edges.cancel();
        // A log stream has no end of its own; its reader is told that it is over.
        self.bus.streams().close_all();
        for edge in self.edges {
            // Each edge bounds its own end.
            let _ = edge.await;
        }
        self.agents.stop().await;
        self.bus.journal().flush().await;
        self.journal.abort();
        self.store.close().await;
    }
}
