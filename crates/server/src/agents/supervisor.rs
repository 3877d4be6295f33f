//! Which agents run: those of enrolled devices whose group has a deployment, from the server's start on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keys::public::SpkiHash;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::agent::{Agent, Order};
use super::clock::Clock;
use super::code::Codes;
use super::limits::AgentLimits;
use super::outbound::Outbound;
use crate::bus::{AgentControl, Bus};
use crate::fleet::AgentUrls;
use crate::store::{Store, StoreError};

/// All agents of this process. Dropping it ends them without waiting.
pub struct Agents {
    stop: CancellationToken,
    ended: watch::Receiver<bool>,
    limits: Arc<AgentLimits>,
    runtime: Option<Runtime>,
}

/// Why the agents cannot run.
#[derive(Debug, Error)]
pub enum AgentsError {
    /// The bus has a supervisor already.
    #[error("agents run on this bus already")]
    Twice,
    /// The agents' own requests could not be encrypted.
    #[error("no TLS for the agents' own requests: {0}")]
    Tls(#[source] keys::tls::TlsError),
    /// The system gives no threads.
    #[error("no threads for the agents")]
    Threads(#[source] std::io::Error),
}

/// What every agent needs.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) bus: Bus,
    pub(super) urls: AgentUrls,
    pub(super) limits: Arc<AgentLimits>,
    pub(super) codes: Codes,
    pub(super) clock: Clock,
    /// Makes the agents' own requests.
    pub(super) outbound: Outbound,
    /// Who may read program and state from the store now.
    pub(super) starting: Semaphore,
}

impl Agents {
    /// Starts the agents of all enrolled devices that have a deployment, and takes orders from the bus.
    ///
    /// # Errors
    /// Agents run on this bus already, or there are no threads or no TLS.
    pub fn start(store: Store, bus: Bus, urls: AgentUrls, limits: AgentLimits) -> Result<Self, AgentsError> {
        let control = bus.take_agent_control().ok_or(AgentsError::Twice)?;
        let limits = Arc::new(limits);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(limits.workers.max(1))
            .thread_name("agents")
            .enable_all()
            .build()
            .map_err(AgentsError::Threads)?;
        let shared = Arc::new(Shared {
            store,
            bus,
            urls,
            limits: Arc::clone(&limits),
            codes: Codes::default(),
            clock: Clock::start(),
            outbound: Outbound::new(Arc::clone(&limits), keys::tls::web_client().map_err(AgentsError::Tls)?),
            starting: Semaphore::new(limits.starting.max(1)),
        });
        let stop = CancellationToken::new();
        let (ended_sender, ended) = watch::channel(false);
        let supervisor = Supervisor { shared, running: HashMap::new(), tasks: JoinSet::new() };
        let stopping = stop.clone();
        runtime.spawn(async move {
            supervisor.run(control, stopping).await;
            ended_sender.send_replace(true);
        });
        Ok(Self { stop, ended, limits, runtime: Some(runtime) })
    }

    /// Ends all agents. What they saved is durable; events under way are given up.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if timeout(self.limits.shutdown, self.ended.wait_for(|ended| *ended)).await.is_err() {
            warn!("some agents did not end in time");
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    running: HashMap<SpkiHash, Running>,
    /// Each ends with its device and the last order it obeyed.
    tasks: JoinSet<(SpkiHash, Order)>,
}

struct Running {
    orders: watch::Sender<Order>,
    task: task::Id,
}

impl Supervisor {
    async fn run(mut self, mut control: mpsc::Receiver<AgentControl>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.serve(&mut control) => {}
        }
        for running in self.running.values() {
            running.orders.send_modify(|order| order.stop = true);
        }
        while self.tasks.join_next().await.is_some() {}
    }

    async fn serve(&mut self, control: &mut mpsc::Receiver<AgentControl>) {
        match self.start_all().await {
            Ok(count) => info!(count, "agents started"),
            Err(error) => {
                error!(%error, "not all agents were started; they start when their devices' groups are deployed to again")
            }
        }
        loop {
            tokio::select! {
                order = control.recv() => match order {
                    Some(AgentControl::Reload(device)) => self.reload(device),
                    Some(AgentControl::Stop(device)) => self.end(&device),
                    None => return,
                },
                Some(ended) = self.tasks.join_next_with_id() => self.joined(ended),
            }
        }
    }

    async fn start_all(&mut self) -> Result<usize, StoreError> {
        let mut last = None;
        loop {
            let page = self.shared.store.agents_to_start(last, self.shared.limits.page).await?;
            last = page.last().copied();
            if last.is_none() {
                return Ok(self.running.len());
            }
            for device in page {
                self.reload(device);
            }
        }
    }

    fn reload(&mut self, device: SpkiHash) {
        match self.running.get(&device) {
            Some(running) => {
                running.orders.send_modify(|order| *order = Order { number: order.number + 1, stop: false })
            }
            None => self.spawn(device, Duration::ZERO),
        }
    }

    fn spawn(&mut self, device: SpkiHash, wait: Duration) {
        let (orders, receiver) = watch::channel(Order::default());
        let task = self.tasks.spawn(Agent::new(Arc::clone(&self.shared), device, receiver).run(wait)).id();
        self.running.insert(device, Running { orders, task });
    }

    fn end(&mut self, device: &SpkiHash) {
        if let Some(running) = self.running.get(device) {
            running.orders.send_modify(|order| *order = Order { number: order.number + 1, stop: true });
        }
    }

    fn joined(&mut self, ended: Result<(task::Id, (SpkiHash, Order)), JoinError>) {
        match ended {
            Ok((_, (device, obeyed))) => {
                let last = self.running.remove(&device).map(|running| *running.orders.borrow());
                // An order may have come while the agent was ending on its own.
                if last.is_some_and(|last| last.number > obeyed.number && !last.stop) {
                    self.spawn(device, Duration::ZERO);
                }
            }
            Err(problem) => {
                error!(%problem, "an agent's task panicked");
                let device =
                    self.running.iter().find(|(_, running)| running.task == problem.id()).map(|(device, _)| *device);
                if let Some(device) = device {
                    self.running.remove(&device);
                    self.spawn(device, self.shared.limits.panic_wait);
                }
            }
        }
    }
}
