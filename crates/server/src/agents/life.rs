//! One run of an agent app: inputs from the bus, outputs to the bus, the store and waiting requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use apphost::{App, Code, HttpAnswer, HttpFailure, HttpResponse, Input, InputRefused, LogLevel, NotSent, Output, Turn};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::error;

use super::agent::Order;
use super::supervisor::Shared;
use crate::bus::{AgentInbox, AppMessage, Delivery, DeviceMessage, Full, HttpCall, HttpReply, ToAgent, ToHandle};
use crate::fleet::{AgentStart, LogEntry, LogType};
use crate::store::unix_ms;

/// How long an agent goes from one event to the next before others have their turn. What its messages lead to is then done for all of them
/// at once: one acknowledgement, one write.
const STINT: Duration = Duration::from_micros(200);

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LifeEnd {
    /// The supervisor gave a new order.
    Order,
    /// Another agent of this device took the place on the bus.
    Replaced,
    /// The app failed.
    Failed,
    /// The app asked for a restart.
    Restart,
}

/// A running agent app and what it owes to others.
pub(super) struct Life {
    shared: Arc<Shared>,
    start: AgentStart,
    app: App,
    /// Kept so that the next agent of this deployment finds it.
    _code: Arc<Code>,
    /// Messages that the app was given and that are to be handled, in their order; those that are here at the end were not.
    to_handle: VecDeque<ToHandle>,
    /// Requests that the app has not answered.
    requests: HashMap<u64, oneshot::Sender<HttpReply>>,
    next_request: u64,
    /// Requests of the app's own, and how to give each up.
    outgoing: JoinSet<(u64, Result<HttpAnswer, HttpFailure>)>,
    outgoing_ids: HashMap<u64, AbortHandle>,
    /// The version of the saved state.
    version: u64,
    /// Lines logged in the second that began then.
    lines: u32,
    lines_since: Instant,
}

impl Life {
    pub(super) fn new(shared: Arc<Shared>, start: AgentStart, app: App, code: Arc<Code>, version: u64) -> Self {
        Self {
            shared,
            start,
            app,
            _code: code,
            to_handle: VecDeque::new(),
            requests: HashMap::new(),
            next_request: 0,
            outgoing: JoinSet::new(),
            outgoing_ids: HashMap::new(),
            version,
            lines: 0,
            lines_since: Instant::now(),
        }
    }

    /// Drives the app until it ends or is to end.
    pub(super) async fn run(&mut self, inbox: &mut AgentInbox, orders: &mut watch::Receiver<Order>) -> LifeEnd {
        let mut since = Instant::now();
        loop {
            // Connections may have been queued without a wake-up; a timer's function shall know of them too.
            while self.app.has_room()
                && let Some(message) = inbox.try_recv()
            {
                self.take(message);
            }
            let turn = self.app.run(self.shared.clock.now());
            if let Some(end) = self.carry(orders).await {
                return end;
            }
            match turn {
                // An error means that there is no supervisor any more, so nobody wants this agent.
                Turn::More if orders.has_changed().unwrap_or(true) => return LifeEnd::Order,
                Turn::More => {
                    while let Some(answer) = self.outgoing.try_join_next() {
                        self.answered(answer);
                    }
                    if since.elapsed() >= STINT {
                        tokio::task::yield_now().await;
                        since = Instant::now();
                    }
                }
                Turn::Idle | Turn::Waiting => {
                    if let Some(end) = self.wait(inbox, orders).await {
                        return end;
                    }
                    since = Instant::now();
                }
                Turn::Ended => return LifeEnd::Failed,
            }
        }
    }

    /// Sleeps until something happens.
    async fn wait(&mut self, inbox: &mut AgentInbox, orders: &mut watch::Receiver<Order>) -> Option<LifeEnd> {
        let due = self.app.poll_timeout().map(|due| self.shared.clock.instant(due));
        let timer = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        inbox.listen(self.app.hears_connections());
        tokio::select! {
            _ = orders.changed() => return Some(LifeEnd::Order),
            () = timer => {}
            Some(answer) = self.outgoing.join_next() => self.answered(answer),
            message = inbox.recv(), if self.app.has_room() => match message {
                Some(message) => self.take(message),
                None => return Some(LifeEnd::Replaced),
            },
        }
        None
    }

    fn take(&mut self, message: ToAgent) {
        let input = match message {
            ToAgent::DeviceConnected => Input::Connected,
            ToAgent::DeviceDisconnected => Input::Disconnected,
            ToAgent::Message(message) => self.message(*message),
            ToAgent::Http(call) => self.request(*call),
        };
        self.tell(input);
    }

    fn message(&mut self, message: DeviceMessage) -> Input {
        let DeviceMessage { message: AppMessage { name, value }, to_handle } = message;
        let waits = to_handle.is_some();
        self.to_handle.extend(to_handle);
        Input::Message { name, value, to_handle: waits }
    }

    /// What became of the oldest message that is to be handled.
    fn handled(&mut self, handled: bool) {
        if let Some(message) = self.to_handle.pop_front().filter(|_| handled) {
            message.handled();
        }
        if self.to_handle.is_empty() {
            self.to_handle = VecDeque::new();
        }
    }

    fn request(&mut self, call: HttpCall) -> Input {
        self.forget_gone();
        self.next_request += 1;
        let mut request = call.request;
        request.id = self.next_request;
        self.requests.insert(request.id, call.reply);
        Input::Http(Box::new(request))
    }

    /// Tells the app of requests whose clients went away.
    fn forget_gone(&mut self) {
        let gone: Vec<u64> = self.requests.iter().filter(|(_, reply)| reply.is_closed()).map(|(id, _)| *id).collect();
        for id in gone {
            self.requests.remove(&id);
            self.tell(Input::HttpGone(id));
        }
    }

    fn tell(&mut self, input: Input) {
        match self.app.input(input, self.shared.clock.now()) {
            Ok(()) => {}
            // The run is over; its requests are answered when this is dropped.
            Err(InputRefused::Ended(_)) => {}
            Err(InputRefused::Full(_)) => {
                error!(device = %self.start.device_id, "an input was lost: the app's queue had no room")
            }
        }
    }

    /// Does what the app asks for.
    async fn carry(&mut self, orders: &mut watch::Receiver<Order>) -> Option<LifeEnd> {
        while let Some(output) = self.app.poll_output() {
            match output {
                Output::Log { level, text } => tokio::select! {
                    () = self.log(level, text) => {}
                    _ = orders.changed() => return Some(LifeEnd::Order),
                },
                Output::Send { name, value, .. } => {
                    // A new order cuts short every wait but that for a save, which is never left half way.
                    tokio::select! {
                        sent = self.send(AppMessage { name, value }) => self.tell(Input::Sent(sent)),
                        _ = orders.changed() => return Some(LifeEnd::Order),
                    }
                }
                Output::Handled(handled) => self.handled(handled),
                Output::HttpResponse(response) => self.respond(response),
                Output::HttpRequest(request) => {
                    let (shared, id) = (Arc::clone(&self.shared), request.id);
                    let task = self.outgoing.spawn(async move { (id, shared.outbound.perform(*request).await) });
                    self.outgoing_ids.insert(id, task);
                }
                Output::HttpCancel(id) => {
                    if let Some(task) = self.outgoing_ids.remove(&id) {
                        task.abort();
                    }
                }
                Output::Save(bytes) => {
                    let saved = self.save(&bytes).await;
                    self.tell(Input::Saved(saved));
                }
                Output::SaveUserConfiguration(_) | Output::SetProxy(_) => {
                    self.tell(Input::Saved(Err("an agent has no configuration".to_owned())));
                }
                // Only a device app connects and sleeps.
                Output::Connect | Output::Disconnect | Output::Flush { .. } | Output::Sleep(_) => {}
                Output::Failed { .. } => return Some(LifeEnd::Failed),
                Output::RestartRequested => return Some(LifeEnd::Restart),
            }
        }
        None
    }

    fn answered(&mut self, answer: Result<(u64, Result<HttpAnswer, HttpFailure>), JoinError>) {
        match answer {
            Ok((id, answer)) => {
                self.outgoing_ids.remove(&id);
                self.tell(Input::HttpAnswer { id, answer });
            }
            // The app gave it up itself.
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                error!(device = %self.start.device_id, %error, "a request of an agent's panicked");
                let broken: Vec<u64> =
                    self.outgoing_ids.iter().filter(|(_, task)| task.id() == error.id()).map(|(id, _)| *id).collect();
                for id in broken {
                    self.outgoing_ids.remove(&id);
                    self.tell(Input::HttpAnswer { id, answer: Err(HttpFailure::Broken) });
                }
            }
        }
    }

    async fn log(&mut self, level: LogLevel, text: String) {
        if self.lines >= self.shared.limits.log_lines_per_second {
            sleep_until(self.lines_since + Duration::from_secs(1)).await;
        }
        if self.lines_since.elapsed() >= Duration::from_secs(1) {
            self.lines = 0;
            self.lines_since = Instant::now();
        }
        self.lines += 1;
        let kind = match level {
            LogLevel::Log => LogType::AgentLog,
            LogLevel::Error => LogType::AgentError,
        };
        let (device, production) = (self.start.device, self.start.production);
        self.shared.bus.log(LogEntry { device, at_ms: unix_ms(), kind, production, text: text.into() }).await;
    }

    async fn send(&mut self, message: AppMessage) -> Result<(), NotSent> {
        let (bus, device) = (&self.shared.bus, &self.start.device);
        match bus.to_session(device, Box::new(message)) {
            Ok(Delivery::Queued) => Ok(()),
            Ok(Delivery::Offline) => Err(NotSent::NotConnected),
            Err(Full(message)) => {
                match timeout(self.shared.limits.send_wait, bus.send_to_session(device, message)).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(NotSent::NotConnected),
                    Err(_) => Err(NotSent::TimedOut),
                }
            }
        }
    }

    async fn save(&mut self, bytes: &[u8]) -> Result<(), String> {
        let saved = self.shared.store.save_agent_state(self.start.agent, self.version, bytes).await;
        self.version = saved.map_err(|error| format!("server.save: not saved: {error}"))?;
        Ok(())
    }

    fn respond(&mut self, response: HttpResponse) {
        if let Some(reply) = self.requests.remove(&response.id) {
            // An error means that nobody waits any more.
            let _ = reply.send(HttpReply { status: response.status, headers: response.headers, body: response.body });
        }
    }
}
