//! One device's agent over all its restarts.

use std::sync::Arc;
use std::time::Duration;

use apphost::{AgentInfo, App, RestartDelay, Side, WakeReason};
use keys::public::SpkiHash;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

use super::code::CodeError;
use super::life::{Life, LifeEnd};
use super::supervisor::Shared;
use crate::bus::{AgentInbox, AgentTicket, HttpReply, ToAgent};
use crate::fleet::{AgentId, AgentStart, LogEntry, LogType};
use crate::store::unix_ms;

/// What the supervisor wants of an agent; a higher number is a newer order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) number: u64,
    /// End for good; otherwise begin anew with what the store says now.
    pub(super) stop: bool,
}

/// One agent's task.
pub(super) struct Agent {
    shared: Arc<Shared>,
    device: SpkiHash,
    orders: watch::Receiver<Order>,
    delay: RestartDelay,
    place: Option<Place>,
}

/// The agent's place on the bus, kept over its restarts.
struct Place {
    agent: AgentId,
    inbox: AgentInbox,
    ticket: AgentTicket,
}

/// What comes after a life.
enum Next {
    /// Begin anew, for this reason.
    Again(WakeReason),
    /// The agent is not wanted any more.
    Done,
}

impl Agent {
    pub(super) fn new(shared: Arc<Shared>, device: SpkiHash, orders: watch::Receiver<Order>) -> Self {
        Self { shared, device, orders, delay: RestartDelay::default(), place: None }
    }

    /// Runs until the agent is not wanted any more, beginning after `wait`; the last order obeyed.
    pub(super) async fn run(mut self, wait: Duration) -> (SpkiHash, Order) {
        self.wait(wait).await;
        let mut wake = WakeReason::NewApp;
        loop {
            let order = *self.orders.borrow_and_update();
            // Without a supervisor nobody wants this agent.
            if order.stop || self.orders.has_changed().is_err() {
                return (self.device, order);
            }
            match self.live(wake).await {
                Ok(Next::Again(reason)) => wake = reason,
                Ok(Next::Done) => return (self.device, order),
                Err(problem) => {
                    error!(device = %self.device, %problem, "an agent could not be started");
                    self.pause().await;
                }
            }
        }
    }

    /// One life, from the store's word on what to run to its end.
    async fn live(&mut self, wake: WakeReason) -> Result<Next, CodeError> {
        let Some((start, mut life)) = self.begin(wake).await? else { return Ok(Next::Done) };
        let Some(place) = &mut self.place else { return Ok(Next::Done) };
        self.delay.started(self.shared.clock.now());
        let end = life.run(&mut place.inbox, &mut self.orders).await;
        drop(life);
        Ok(match end {
            LifeEnd::Order => {
                self.delay.reset();
                Next::Again(WakeReason::NewApp)
            }
            LifeEnd::Replaced => Next::Done,
            LifeEnd::Failed => {
                warn!(device = %start.device_id, "an agent failed");
                self.pause().await;
                Next::Again(WakeReason::AppError)
            }
            LifeEnd::Restart => {
                self.pause().await;
                Next::Again(WakeReason::Restart)
            }
        })
    }

    /// Reads program and state; `None` when there is nothing to run.
    async fn begin(&mut self, wake: WakeReason) -> Result<Option<(AgentStart, Box<Life>)>, CodeError> {
        let shared = Arc::clone(&self.shared);
        let turn = shared.starting.acquire().await;
        let Some(start) = shared.store.agent_start(self.device).await? else { return Ok(None) };
        let code = shared.codes.get(&shared.store, &start.app.sha256).await?;
        let saved = shared.store.agent_state(start.agent).await?;
        drop(turn);
        self.take_place(start.agent);
        if let Some(place) = &self.place {
            place.ticket.runs(start.deployment);
        }
        let info = AgentInfo {
            agent_url: shared.urls.of(start.agent),
            software_version: concat!("vouch ", env!("CARGO_PKG_VERSION")).to_owned(),
            connected: shared.bus.is_connected(&self.device),
            saved: saved.as_ref().map(|state| state.bytes.clone()),
        };
        let app = App::new(&code, Side::Agent(info), shared.limits.app.clone(), wake, shared.clock.now())?;
        shared.bus.log(self.status(&start, wake)).await;
        let version = saved.map_or(0, |state| state.version);
        Ok(Some((start.clone(), Box::new(Life::new(Arc::clone(&shared), start, app, code, version)))))
    }

    fn take_place(&mut self, agent: AgentId) {
        if self.place.as_ref().is_none_or(|place| place.agent != agent) {
            let (ticket, inbox) = self.shared.bus.register_agent(self.device, agent);
            self.place = Some(Place { agent, inbox, ticket });
        }
    }

    fn status(&self, start: &AgentStart, wake: WakeReason) -> LogEntry {
        let text = match wake {
            WakeReason::AppError => "Agent restarted: error.",
            WakeReason::Restart => "Agent restarted: restart.",
            _ => "Agent restarted: reload.",
        };
        LogEntry {
            device: self.device,
            at_ms: unix_ms(),
            kind: LogType::Status,
            production: start.production,
            text: text.into(),
        }
    }

    /// Waits before the next try, longer after each.
    async fn pause(&mut self) {
        let wait = self.delay.failed(self.shared.clock.now());
        self.wait(Duration::from_millis(wait)).await;
    }

    /// Waits; a new order ends the wait. Requests are told to come back, messages are dropped.
    async fn wait(&mut self, wait: Duration) {
        if wait.is_zero() {
            return;
        }
        let end = Instant::now() + wait;
        loop {
            let arrived = async {
                match &mut self.place {
                    Some(place) => place.inbox.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep_until(end) => return,
                _ = self.orders.changed() => return,
                message = arrived => match message {
                    Some(ToAgent::Http(call)) => {
                        let seconds = wait.as_secs().max(1).to_string();
                        let headers = vec![("retry-after".to_owned(), seconds)];
                        // Nobody may be waiting any more.
                        let _ = call.reply.send(HttpReply { status: 503, headers, body: b"The agent is restarting.\n".to_vec() });
                    }
                    Some(_) => {}
                    None => self.place = None,
                },
            }
        }
    }
}
