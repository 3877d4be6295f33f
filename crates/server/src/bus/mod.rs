//! Who is there now, and the ways between the edges, in one process.
//!
//! | who | attaches with | is reached with |
//! |---|---|---|
//! | a device's session | [`Bus::attach`] | [`Bus::to_session`], [`Bus::send_to_session`], [`Bus::close_session`] |
//! | an agent | [`Bus::register_agent`] | [`Bus::try_to_agent`], [`Bus::to_agent`], [`Bus::http`] |
//! | the agents' supervisor | [`Bus::take_agent_control`] | [`Bus::control_agents`] |
//! | a reader of logs | [`Bus::streams`] | [`Bus::log`] |
//!
//! Every queue has a bound, no lock is held across an await, and what a device costs does not depend on how many there are.

mod agents;
mod handling;
mod mailbox;
mod message;
mod sessions;
mod shards;
mod streams;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::fleet::LogEntry;
use crate::limits::Limits;
use crate::store::Journal;

pub use agents::{AgentInbox, AgentTicket};
pub use handling::{ToHandle, Unhandled};
pub use mailbox::{Full, Sending};
pub use message::{AgentControl, AppMessage, DeviceMessage, HttpCall, HttpReply, ToAgent, ToSession};
pub use sessions::{Delivery, Presence, SessionInbox, SessionTicket};
pub use streams::{StreamEvent, StreamReader, Streams};

/// The switchboard. Cheap to clone.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    sessions: sessions::Sessions,
    agents: agents::Agents,
    streams: Arc<Streams>,
    journal: Journal,
    control: mpsc::Sender<AgentControl>,
    control_receiver: Mutex<Option<mpsc::Receiver<AgentControl>>>,
    agent_inbox: usize,
    session_inbox: usize,
}

impl Bus {
    /// A bus with nobody on it. What is logged goes to `journal` as well.
    pub fn new(limits: &Limits, journal: Journal) -> Self {
        let (control, control_receiver) = mpsc::channel(limits.agent_control_queue);
        let streams = Arc::new(Streams::new(limits));
        let followed = Arc::clone(&streams);
        journal.told(move |line| followed.publish(line));
        Self(Arc::new(Inner {
            sessions: sessions::Sessions::default(),
            agents: agents::Agents::default(),
            streams,
            journal,
            control,
            control_receiver: Mutex::new(Some(control_receiver)),
            agent_inbox: limits.agent_inbox,
            session_inbox: limits.session_inbox,
        }))
    }

    /// Writes a line of the server's own into the device's log: to every stream that follows the device, and to the store. Waits while the
    /// store's queue is full, so that who logs faster than the disk writes is slowed down. What a device reports goes to the journal and
    /// reaches the streams once it is written, so that they too have it once.
    pub async fn log(&self, entry: LogEntry) {
        self.0.streams.publish(&entry);
        self.0.journal.log(entry).await;
    }

    /// The log streams.
    pub fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// What the store writes down in the background.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// The orders to the agents' supervisor; whoever asks first has them.
    pub fn take_agent_control(&self) -> Option<mpsc::Receiver<AgentControl>> {
        self.0.control_receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives the agents' supervisor an order; waits while it is busy. Without a supervisor nothing happens.
    pub async fn control_agents(&self, order: AgentControl) {
        // An error means that the supervisor is gone: the server is stopping.
        let _ = self.0.control.send(order).await;
    }
}
