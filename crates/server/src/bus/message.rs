//! What is said on the bus.

use apphost::HttpRequest;
use keys::public::SpkiHash;
use tokio::sync::oneshot;

use super::handling::ToHandle;

/// A message between a device app and its agent; the value is one encoded CBOR item, not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppMessage {
    /// What the sender calls it.
    pub name: String,
    /// One encoded value.
    pub value: Vec<u8>,
}

/// A message of a device app on its way to its agent.
#[derive(Debug)]
pub struct DeviceMessage {
    /// What it says.
    pub message: AppMessage,
    /// Where the agent tells that it was handled, when the device wants to know.
    pub to_handle: Option<ToHandle>,
}

/// To a device's session. Small, since a queue's slots are paid by every device.
#[derive(Debug, PartialEq, Eq)]
pub enum ToSession {
    /// From the agent to the device app.
    App(Box<AppMessage>),
    /// The device may have another app now, or none: look it up and tell the device.
    AppChanged,
    /// As [`ToSession::AppChanged`], and the app starts again even if it is the same.
    Restart,
    /// As [`ToSession::Restart`], but when the app is ready.
    RestartWhenReady,
}

/// To an agent.
#[derive(Debug)]
pub enum ToAgent {
    /// The device proved itself on a new session.
    DeviceConnected,
    /// The device has no session any more.
    DeviceDisconnected,
    /// From the device app.
    Message(Box<DeviceMessage>),
    /// A request to the agent's URL.
    Http(Box<HttpCall>),
}

/// A request to an agent's URL, and where its answer goes. The receiver is dropped when nobody waits any more.
#[derive(Debug)]
pub struct HttpCall {
    /// The request; its id is the agent's to choose.
    pub request: HttpRequest,
    /// Where the answer goes.
    pub reply: oneshot::Sender<HttpReply>,
}

/// An agent's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// 100 to 999.
    pub status: u16,
    /// As the app set them.
    pub headers: Vec<(String, String)>,
    /// The bytes to send.
    pub body: Vec<u8>,
}

/// An order to the agents' supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentControl {
    /// Start this device's agent on the current deployment of its group, ending the running one first; end it when it has none.
    Reload(SpkiHash),
    /// End this device's agent: it is unassigned or revoked.
    Stop(SpkiHash),
}
