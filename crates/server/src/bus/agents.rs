//! Agents that run now: found by their device and by their id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keys::public::SpkiHash;

use super::mailbox::{self, Beyond, Full, Refused, Sending};
use super::message::{DeviceMessage, HttpCall, ToAgent};
use super::shards::Shards;
use super::{Bus, Inner};
use crate::fleet::{AgentId, DeploymentId};

#[derive(Default)]
pub(super) struct Agents {
    by_device: Shards<SpkiHash, Agent>,
    by_id: Shards<AgentId, Agent>,
    epochs: AtomicU64,
}

#[derive(Clone)]
struct Agent {
    epoch: u64,
    /// What it runs, once it does.
    deployment: Option<DeploymentId>,
    sender: mailbox::Sender<ToAgent, ()>,
}

/// What an agent has from the bus: it is reachable while this lives, or until another agent of the same device takes its place.
pub struct AgentTicket {
    bus: Arc<Inner>,
    device: SpkiHash,
    id: AgentId,
    epoch: u64,
}

/// The messages for one agent.
pub struct AgentInbox(mailbox::Receiver<ToAgent, ()>);

impl AgentInbox {
    /// The next message; `None` once another agent of the same device has taken the place. May be dropped while waiting; nothing is lost.
    pub async fn recv(&mut self) -> Option<ToAgent> {
        self.0.recv().await.ok()
    }

    /// Whether connections and disconnections wake the agent from now on; they are queued in any case.
    pub fn listen(&self, listens: bool) {
        self.0.listen(listens);
    }

    /// The next message if one is queued.
    pub fn try_recv(&mut self) -> Option<ToAgent> {
        self.0.try_recv().ok().flatten()
    }
}

impl Agents {
    pub(super) fn notice(&self, device: &SpkiHash, notice: ToAgent) {
        let Some(agent) = self.by_device.lock(device).get(device).cloned() else { return };
        let connects = matches!(notice, ToAgent::DeviceConnected);
        agent.sender.remark(notice, |queue| match queue.back() {
            Some(ToAgent::DeviceConnected) if !connects => Beyond::CancelsLast,
            Some(ToAgent::DeviceDisconnected) if connects => Beyond::CancelsLast,
            _ => Beyond::Queue,
        });
    }
}

impl Bus {
    /// Makes this agent the device's only one. Ask [`Bus::is_connected`] after it; a connection in between is told twice, never not at all.
    pub fn register_agent(&self, device: SpkiHash, id: AgentId) -> (AgentTicket, AgentInbox) {
        let (sender, receiver) = mailbox::mailbox(self.0.agent_inbox, ());
        let epoch = self.0.agents.epochs.fetch_add(1, Ordering::Relaxed);
        let agent = Agent { epoch, deployment: None, sender };
        if let Some(older) = self.0.agents.by_device.lock(&device).insert(device, agent.clone()) {
            older.sender.end(());
        }
        self.0.agents.by_id.lock(&id).insert(id, agent);
        (AgentTicket { bus: Arc::clone(&self.0), device, id, epoch }, AgentInbox(receiver))
    }

    /// Queues a device's message for its agent if there is room. Without an agent the message is dropped, as there is nobody to hear it.
    ///
    /// # Errors
    /// The message comes back when there is no room: wait with [`Bus::to_agent`].
    pub fn try_to_agent(&self, device: &SpkiHash, message: Box<DeviceMessage>) -> Result<(), Full<Box<DeviceMessage>>> {
        let Some(sender) = self.agent_sender(device) else { return Ok(()) };
        match sender.try_send(ToAgent::Message(message)) {
            Err(Refused::Full(ToAgent::Message(message))) => Err(Full(message)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Queues a device's message for its agent, waiting for room; `false` when there is no agent. Keeps nothing borrowed.
    pub fn to_agent(&self, device: &SpkiHash, message: Box<DeviceMessage>) -> Sending {
        match self.agent_sender(device) {
            Some(sender) => Box::pin(sender.send(ToAgent::Message(message))),
            None => Box::pin(std::future::ready(false)),
        }
    }

    /// Queues a request to an agent's URL. `None`: no agent with that id runs.
    ///
    /// # Errors
    /// The call comes back when the agent's inbox is full.
    pub fn http(&self, id: &AgentId, call: Box<HttpCall>) -> Option<Result<(), Full<Box<HttpCall>>>> {
        let sender = self.0.agents.by_id.lock(id).get(id).map(|agent| agent.sender.clone())?;
        match sender.try_send(ToAgent::Http(call)) {
            Ok(()) => Some(Ok(())),
            Err(Refused::Full(ToAgent::Http(call))) => Some(Err(Full(call))),
            Err(_) => None,
        }
    }

    /// Which deployment a device's agent runs, if it does.
    pub fn agent_deployment(&self, device: &SpkiHash) -> Option<DeploymentId> {
        self.0.agents.by_device.lock(device).get(device)?.deployment
    }

    /// Whether a device's agent runs.
    pub fn agent_runs(&self, device: &SpkiHash) -> bool {
        self.0.agents.by_device.lock(device).contains_key(device)
    }

    /// How many agents run.
    pub fn agents(&self) -> usize {
        self.0.agents.by_device.len()
    }

    fn agent_sender(&self, device: &SpkiHash) -> Option<mailbox::Sender<ToAgent, ()>> {
        self.0.agents.by_device.lock(device).get(device).map(|agent| agent.sender.clone())
    }
}

impl AgentTicket {
    /// Says which deployment the agent runs from now on.
    pub fn runs(&self, deployment: DeploymentId) {
        let mut agents = self.bus.agents.by_device.lock(&self.device);
        if let Some(agent) = agents.get_mut(&self.device).filter(|agent| agent.epoch == self.epoch) {
            agent.deployment = Some(deployment);
        }
    }
}

impl Drop for AgentTicket {
    fn drop(&mut self) {
        let agents = &self.bus.agents;
        let mut by_device = agents.by_device.lock(&self.device);
        if by_device.get(&self.device).is_some_and(|agent| agent.epoch == self.epoch) {
            by_device.remove(&self.device);
        }
        drop(by_device);
        let mut by_id = agents.by_id.lock(&self.id);
        if by_id.get(&self.id).is_some_and(|agent| agent.epoch == self.epoch) {
            by_id.remove(&self.id);
        }
    }
}
