//! The gateway itself: its listeners, what all connections share, and what one connection carries along.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keys::pki::ServingPki;
use keys::time::{FloorClock, Now};
use keys::tls::{ServerTls, ServerTlsMaterial, TlsError};
use protocol::limits::LIMITS;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::arrival::{TurnedAway, arrive};
use super::counters::{Counted, GatewayCounters, Gauge, Turned};
use super::entrance::door::Door;
use super::entrance::listener::{BindError, Listen, Listener};
use super::entrance::lobby::Lobby;
use super::events::{GatewayEvent, GatewayEventKind, GatewayEvents};
use super::limits::GatewayLimits;
use crate::bus::Bus;
use crate::fleet::AgentUrls;
use crate::repository::Repository;
use crate::store::{Store, unix_ms};

/// How often a listener that cannot accept says so in the log.
const ACCEPT_LOG_PAUSE: Duration = Duration::from_secs(5);
/// When the first device shall come back after a drain, milliseconds: a server that is restarted needs about that long. The others follow
/// over no less than the same time.
const COME_BACK_MS: u32 = 1_000;
/// The part of the time over which devices come back that the first one waits for besides: a server that has many to tell stops later.
const COME_BACK_HELD: u32 = 8;

/// What an operator decides about the gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where to listen. All listeners behave the same.
    pub listen: Vec<Listen>,
    /// Bounds and deadlines.
    pub limits: GatewayLimits,
    /// After how many seconds of silence a device is asked whether it is there.
    pub keepalive_s: u32,
    /// Where agents' URLs begin; devices are told their own.
    pub agent_urls: AgentUrls,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The keys and certificates do not make a TLS configuration.
    #[error("the gateway's TLS keys cannot be used: {0}")]
    Tls(#[from] TlsError),
}

/// The gateway, bound to its ports.
pub struct Gateway {
    edge: Arc<Edge>,
    listeners: Vec<Listener>,
}

/// What all connections share.
pub(super) struct Edge {
    pub(super) limits: GatewayLimits,
    pub(super) keepalive_s: u32,
    pub(super) agent_urls: AgentUrls,
    pub(super) tls: ServerTls,
    pub(super) pki: Arc<ServingPki>,
    pub(super) store: Store,
    pub(super) bus: Bus,
    pub(super) repository: Repository,
    pub(super) lobby: Arc<Lobby>,
    pub(super) door: Arc<Door>,
    pub(super) issuing: Semaphore,
    pub(super) signing: Semaphore,
    pub(super) os_lane: Arc<Semaphore>,
    pub(super) counters: Arc<GatewayCounters>,
    pub(super) events: GatewayEvents,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    started: Instant,
    numbers: AtomicU64,
    /// Over how many milliseconds devices are to come back.
    come_back_over: AtomicU32,
}

/// One connection, as every stage knows it.
pub(super) struct Caller {
    pub(super) edge: Arc<Edge>,
    pub(super) peer: SocketAddr,
    number: u64,
    rule_port: u16,
    _counted: Counted,
}

impl Gateway {
    /// Binds every listener; connections wait in the kernel until [`Gateway::run`]. Call it within the runtime.
    ///
    /// # Errors
    /// [`GatewayError`]: a port is taken or needs a privilege, or the keys are not usable.
    pub fn bind(
        config: GatewayConfig,
        pki: Arc<ServingPki>,
        store: Store,
        bus: Bus,
        repository: Repository,
    ) -> Result<Self, GatewayError> {
        let GatewayConfig { listen, limits, keepalive_s, agent_urls } = config;
        let tls = ServerTls::new(ServerTlsMaterial { pki: &pki, time: Arc::new(FloorClock::default()) })?;
        let listeners = listen.into_iter().map(Listener::bind).collect::<Result<_, _>>()?;
        let edge = Arc::new(Edge {
            lobby: Lobby::new(&limits),
            door: Door::new(&limits),
            issuing: Semaphore::new(limits.issuing),
            signing: Semaphore::new(limits.signing),
            os_lane: Arc::new(Semaphore::new(limits.os_pieces)),
            limits,
            keepalive_s,
            agent_urls,
            tls,
            pki,
            store,
            bus,
            repository,
            counters: Arc::default(),
            events: GatewayEvents::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            started: Instant::now(),
            numbers: AtomicU64::new(0),
            come_back_over: AtomicU32::new(COME_BACK_MS),
        });
        Ok(Self { edge, listeners })
    }

    /// Where it listens, with the ports that were bound.
    pub fn listens(&self) -> Vec<Listen> {
        self.listeners.iter().map(|listener| listener.listen).collect()
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<GatewayCounters> {
        self.edge.counters.clone()
    }

    /// What happens at it.
    pub fn events(&self) -> GatewayEvents {
        self.edge.events.clone()
    }

    /// Serves until `stop`, then tells every device to come back later and waits for the sessions to end, no longer than the limit says.
    pub async fn run(self, stop: CancellationToken) {
        let accepting = self.listeners.into_iter().map(|listener| {
            let edge = self.edge.clone();
            tokio::spawn(async move { accept_all(edge, listener).await })
        });
        let accepting: Vec<_> = accepting.collect();
        stop.cancelled().await;
        for task in accepting {
            task.abort();
        }
        self.edge.spread(self.edge.counters.sessions());
        self.edge.stop.cancel();
        self.edge.tasks.close();
        if tokio::time::timeout(self.edge.limits.drain_deadline, self.edge.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.edge.tasks.len(), "connections did not end in time and are cut");
        }
    }
}

async fn accept_all(edge: Arc<Edge>, listener: Listener) {
    let rule_port = listener.listen.rule_port;
    let mut complained: Option<Instant> = None;
    loop {
        let (tcp, peer) = listener
            .accept(|error| {
                edge.counters.count_accept_error();
                if complained.is_none_or(|at| at.elapsed() >= ACCEPT_LOG_PAUSE) {
                    complained = Some(Instant::now());
                    tracing::warn!(rule_port, %error, "cannot accept a connection; is the limit of open files too low?");
                }
            })
            .await;
        let caller = Caller::new(edge.clone(), rule_port, peer);
        // Who has said nothing yet makes room first.
        if edge.counters.connections() > edge.limits.connections as u64 && !edge.lobby.evict_oldest() {
            caller.turned(&Turned::TooMany.into());
            continue;
        }
        // A connection that is not a session yet ends with the server at once.
        let stop = edge.stop.clone();
        edge.tasks.spawn(async move {
            let _ = stop.run_until_cancelled_owned(arrive(caller, tcp)).await;
        });
    }
}

impl Edge {
    /// Sets the time over which so many devices come back after a drain.
    fn spread(&self, devices: u64) {
        let rate = u64::from(self.limits.come_back_per_second.max(1));
        let over = u32::try_from(devices.saturating_mul(1_000) / rate).unwrap_or(u32::MAX);
        self.come_back_over.store(over.clamp(COME_BACK_MS, LIMITS.come_back_max_ms / 2), Ordering::Relaxed);
    }

    /// When one device shall come back after a drain, milliseconds: each at a time of its own.
    pub(super) fn come_back_ms(&self) -> u32 {
        let over = self.come_back_over.load(Ordering::Relaxed).max(1);
        COME_BACK_MS + over / COME_BACK_HELD + u32::from_le_bytes(keys::hashes::random()) % over
    }

    /// The present.
    pub(super) fn now(&self) -> Now {
        let mono_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { mono_ms, unix_ms: unix_ms() }
    }

    /// The moment of a time of the monotonic clock.
    pub(super) fn instant(&self, mono_ms: u64) -> tokio::time::Instant {
        (self.started + Duration::from_millis(mono_ms)).into()
    }
}

impl Caller {
    fn new(edge: Arc<Edge>, rule_port: u16, peer: SocketAddr) -> Self {
        edge.counters.count_accepted();
        let counted = edge.counters.hold(Gauge::Connections);
        let number = edge.numbers.fetch_add(1, Ordering::Relaxed);
        Self { edge, peer, number, rule_port, _counted: counted }
    }

    /// Tells what happened to whoever listens; nothing is built when nobody does.
    pub(super) fn emit(&self, what: impl FnOnce() -> GatewayEventKind) {
        if self.edge.events.wanted() {
            self.edge.events.publish(GatewayEvent {
                unix_ms: unix_ms(),
                connection: self.number,
                rule_port: self.rule_port,
                peer: self.peer,
                what: what(),
            });
        }
    }

    /// Records that the connection is turned away. Strangers can make as many of these as they like, so they are not logged above DEBUG.
    pub(super) fn turned(&self, away: &TurnedAway) {
        let TurnedAway { reason, detail } = away;
        tracing::debug!(connection = self.number, peer = %self.peer, ?reason, detail, "connection turned away");
        self.edge.counters.count_turned(*reason);
        self.emit(|| GatewayEventKind::Turned { reason: *reason, detail: detail.clone() });
    }
}
