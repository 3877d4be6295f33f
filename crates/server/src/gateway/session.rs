//! An authenticated device: a small task that waits, and works in batches when woken.

mod app;
mod self_test;
mod update;
mod write_progress;

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use keys::public::{DeviceId, SpkiHash};
use keys::tls::RecordError;
use protocol::error::SendError;
use protocol::limits::LIMITS;
use protocol::reason::{CloseReason, RestartReason};
use protocol::session::{ServerEvent, ServerSession};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFuture;

use super::arrival::LAST_WORDS;
use super::counters::{Counted, Gauge};
use super::edge::{Caller, Edge};
use super::events::GatewayEventKind;
use super::receipts::{Receipts, Reported, Waiting};
use super::report::Reporter;
use super::session_socket::SessionSocket;
use super::tls_socket::TlsSocketError;
use crate::bus::{AppMessage, DeviceMessage, Full, SessionInbox, SessionTicket, ToSession, Unhandled};
use crate::fleet::{AppRef, DeviceLogin, OsUpdate};
use crate::store::Store;

pub(super) use self::update::Proved;
use self::update::UpdateAnswer;
use self::write_progress::WriteProgress;

/// Room that must be free before a message of the bus is taken: then the largest one fits.
const ROOM_FOR_MESSAGE: usize = LIMITS.app_value + LIMITS.app_name;
/// Room that must be free before the device's requests are acted upon: then a piece of an app fits.
const ROOM_FOR_ANSWER: usize = LIMITS.chunk + 1024;
/// When a device shall come back after the server failed to read its own records, milliseconds.
const COME_BACK_AFTER_FAILURE_MS: u32 = 10_000;

/// Something that the session waits for before it takes more from its device. One at a time: what a device can pile up is bounded.
type Busy = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What became of it.
enum Done {
    /// The agent or the log took what it was given.
    Taken,
    /// The journal took what the device reported.
    Reported(Waiting),
    /// An image that the device asked for, from this byte on; none if it does not exist any more.
    Image { image: Option<Arc<[u8]>>, offset: u32 },
    /// The device's records were read again; none if it does not exist any more.
    Records { found: Option<Box<DeviceLogin>>, os: Option<Box<OsUpdate>>, restart: Option<RestartReason> },
    /// What the device asked for about an OS update.
    Update(UpdateAnswer),
    /// The records cannot be read.
    Failed,
}

/// Why the session goes on.
enum Wake {
    Io(Result<(), TlsSocketError>),
    Bus(Result<ToSession, CloseReason>),
    Done(Done),
    /// A report is durable, or never will be.
    Kept(Option<(Reported, u64)>),
    /// The agent told what became of messages.
    Told,
    Timer,
    Stop,
}

/// Why the session is over.
enum End {
    Device(String),
    Server(CloseReason),
}

/// A session between its login and its end. It holds no buffer while nothing is under way.
pub(super) struct Session {
    socket: SessionSocket,
    machine: ServerSession,
    inbox: SessionInbox,
    ticket: SessionTicket,
    id: DeviceId,
    report: Reporter,
    busy: Option<Busy>,
    receipts: Receipts,
    unhandled: Unhandled,
    /// The app that the device was told about last; it is sent no other.
    app: Option<AppRef>,
    /// The image of it, while the device fetches it.
    image: Option<Arc<[u8]>>,
    /// What the device is and runs, as it proved.
    proved: Proved,
    /// The OS image that the device was told to install.
    os: Option<Box<OsUpdate>>,
    /// The version of the newest root metadata that the device was told of.
    told_root: Option<u64>,
    /// Set when the records changed, with whether the app shall start again, and how.
    stale: Option<Option<RestartReason>>,
    write: WriteProgress,
    /// Set when the device was told to go: until then what it sends is still taken.
    leave_by: Option<Instant>,
}

impl Session {
    /// The session of a device that is attached to the bus; its welcome waits to be sent.
    pub(super) fn new(
        socket: SessionSocket,
        machine: ServerSession,
        ticket: SessionTicket,
        inbox: SessionInbox,
        found: &DeviceLogin,
        proved: Proved,
        edge: &Edge,
    ) -> Self {
        let has_rollout = found.group.is_some_and(|group| edge.store.is_rolling_out(group));
        let stale = has_rollout.then_some(None);
        Self {
            socket,
            machine,
            inbox,
            ticket,
            id: found.id,
            report: Reporter { device: found.spki, production: found.production, deployment: found.deployment },
            busy: None,
            receipts: Receipts::default(),
            unhandled: Unhandled::default(),
            app: found.app,
            image: None,
            proved,
            os: None,
            told_root: None,
            stale,
            write: WriteProgress { sent: 0, stuck_since: None },
            leave_by: None,
        }
    }

    /// Serves the device until either end, the bus or the server closes. Boxed, since a future has room for what it was given and for what
    /// it makes of it.
    pub(super) async fn run(mut self: Box<Self>, caller: Box<Caller>) {
        let counted = caller.edge.counters.hold(Gauge::Sessions);
        self.log(self.report.status(caller.edge.now(), "Device connected"), &caller.edge);
        self.tell_root(&caller);
        let end = self.live(&caller).await;
        Box::pin(self.finish(&caller, end, counted)).await;
    }

    async fn finish(mut self: Box<Self>, caller: &Caller, end: End, counted: Counted) {
        let edge = &*caller.edge;
        let end = if self.leave_by.is_some() { End::Server(CloseReason::Drain) } else { end };
        let last_words = self.machine.poll_transmit();
        let Self { mut socket, ticket, inbox, report, id, busy, .. } = *self;
        // What waits for its turn gives it up.
        drop((ticket, inbox, busy));
        let reason = match &end {
            End::Device(detail) => detail.clone(),
            End::Server(reason) => reason.to_string(),
        };
        // A newer session of the device has said that it is connected; it still is.
        if !matches!(end, End::Server(CloseReason::Replaced)) {
            let gone = report.status(edge.now(), "Device disconnected");
            edge.bus.log(gone).await;
        }
        drop(counted);
        caller.emit(|| GatewayEventKind::Ended { device_id: id.to_string(), reason });
        // A device that went away is told nothing more.
        let to_say = last_words.is_some() || socket.wants_write();
        if to_say && socket.write(&last_words.unwrap_or_default()).is_ok() {
            socket.close(LAST_WORDS).await;
        }
    }

    async fn live(&mut self, caller: &Caller) -> End {
        let edge = &*caller.edge;
        let mut timer = pin!(sleep_until(Instant::now()));
        let mut stop = pin!(edge.stop.cancelled());
        loop {
            if let Some(end) = self.work(caller) {
                return end;
            }
            if let Err(error) = self.fill() {
                return End::Device(error.to_string());
            }
            self.breathe(edge);
            let deadline = self.deadline(edge);
            // Moving the timer costs more than one early wake-up for each keep-alive.
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            match self.wait(edge, timer.as_mut(), stop.as_mut()).await {
                Wake::Io(Ok(())) | Wake::Told => {}
                Wake::Io(Err(TlsSocketError::Closed)) => self.machine.handle_eof(),
                Wake::Io(Err(error)) => return End::Device(error.to_string()),
                Wake::Bus(message) => {
                    if let Err(reason) = message.and_then(|message| self.take(message)) {
                        return self.end(reason, None);
                    }
                }
                Wake::Done(done) => {
                    self.busy = None;
                    if let Some(end) = self.done(done, caller) {
                        return end;
                    }
                }
                Wake::Kept(Some((Reported::Logs, next))) => self.machine.logs_kept(next),
                Wake::Kept(Some((Reported::Diary, next))) => self.machine.diary_kept(next),
                // The device still has what could not be written, and sends it again when it is back.
                Wake::Kept(None) => return self.end(CloseReason::Drain, Some(COME_BACK_AFTER_FAILURE_MS)),
                Wake::Timer => {
                    if self.leave_by.is_some_and(|by| Instant::now() >= by) {
                        return End::Server(CloseReason::Drain);
                    }
                    self.machine.handle_timeout(edge.now());
                    if self.write.stuck_for(edge) {
                        return End::Device("the device does not read".to_owned());
                    }
                }
                Wake::Stop => self.leave(edge),
            }
        }
    }

    fn end(&mut self, reason: CloseReason, come_back_ms: Option<u32>) -> End {
        self.machine.close(reason, come_back_ms);
        End::Server(reason)
    }

    /// Tells the device to go, after all that waits for it; it counts as offline from now on.
    fn leave(&mut self, edge: &Edge) {
        while self.machine.room() >= ROOM_FOR_MESSAGE
            && let Ok(Some(message)) = self.inbox.try_recv()
        {
            // Without a session there is nothing to look up for it.
            if let ToSession::App(message) = message {
                self.send(&message);
            }
        }
        edge.bus.close_session(&self.report.device, CloseReason::Drain);
        self.machine.drain(edge.come_back_ms());
        self.leave_by = Some(Instant::now() + edge.limits.leave_deadline);
    }

    /// Acts on what came, until something is to be waited for or the device must first take what waits for it.
    fn work(&mut self, caller: &Caller) -> Option<End> {
        while self.busy.is_none()
            && !self.receipts.is_full()
            && self.has_room_for_answer()
            && let Some(event) = self.machine.poll_event()
        {
            if let Some(end) = self.act(event, caller) {
                return Some(end);
            }
        }
        if self.busy.is_none()
            && let Some(restart) = self.stale.take()
        {
            self.busy =
                Some(Box::pin(records(caller.edge.store.clone(), self.report.device, self.proved.clone(), restart)));
        }
        None
    }

    fn act(&mut self, event: ServerEvent, caller: &Caller) -> Option<End> {
        let bus = &caller.edge.bus;
        match event {
            ServerEvent::App { name, value, to_handle } => {
                let to_handle = to_handle.then(|| self.unhandled.one_more());
                let message = Box::new(DeviceMessage { message: AppMessage { name, value }, to_handle });
                if let Err(Full(message)) = bus.try_to_agent(&self.report.device, message) {
                    let sending = bus.to_agent(&self.report.device, message);
                    self.busy = Some(Box::pin(async move {
                        sending.await;
                        Done::Taken
                    }));
                }
            }
            ServerEvent::Logs { ring, first, lines } => {
                let next = first.saturating_add(lines.len() as u64);
                let lines: Vec<_> = lines.into_iter().map(|line| self.report.line(line)).collect();
                let (journal, ring) = (bus.journal().clone(), self.receipts.ring(self.report.device, ring));
                self.busy = Some(Box::pin(async move {
                    let receipt = journal.reported(&ring, first, lines).await;
                    Done::Reported(Waiting { what: Reported::Logs, next, receipt })
                }));
            }
            ServerEvent::Diary { ring, first, entries } => {
                let next = first.saturating_add(entries.len() as u64);
                let attempts = self.report.diary(caller.edge.now(), first, &entries);
                let (journal, ring) = (bus.journal().clone(), self.receipts.ring(self.report.device, ring));
                self.busy = Some(Box::pin(async move {
                    let receipt = journal.diary(&ring, attempts).await;
                    Done::Reported(Waiting { what: Reported::Diary, next, receipt })
                }));
            }
            ServerEvent::WantApp { sha256, offset } => self.want_app(sha256, offset, caller),
            ServerEvent::SelfTest { cose } => self.self_test(caller, cose),
            ServerEvent::AppState(state) => self.report.app_state(bus, &state, self.app),
            ServerEvent::Broken(error) => return Some(End::Device(error.to_string())),
            // The machine yields these before the welcome only.
            ServerEvent::Identify { .. } | ServerEvent::Authenticated(_) | ServerEvent::Refused(_) => {}
            update => self.act_on_update(update, caller),
        }
        None
    }

    fn done(&mut self, done: Done, caller: &Caller) -> Option<End> {
        match done {
            Done::Taken => {}
            Done::Reported(waiting) => self.receipts.push(waiting),
            Done::Image { image: Some(image), offset } => self.send_piece(&image, offset, caller),
            // Deleted since the device was told of it: the records know what there is now.
            Done::Image { image: None, .. } => drop(self.stale.get_or_insert(None)),
            Done::Records { found: Some(found), os, restart } if !found.revoked => {
                self.told_os(os);
                self.tell_root(caller);
                (self.report.production, self.report.deployment) = (found.production, found.deployment);
                if found.app != self.app {
                    self.app = found.app;
                    self.image = None;
                    self.tell_app();
                }
                if restart.is_some_and(|reason| self.machine.restart(reason) == Err(SendError::Full)) {
                    self.stale = Some(restart);
                }
            }
            Done::Update(answer) => self.answer_update(answer),
            Done::Records { .. } => return Some(self.end(CloseReason::Revoked, None)),
            Done::Failed => return Some(self.end(CloseReason::Drain, Some(COME_BACK_AFTER_FAILURE_MS))),
        }
        None
    }

    /// Takes what the bus brings, and all that came with it, so that one write carries it.
    fn take(&mut self, first: ToSession) -> Result<(), CloseReason> {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                ToSession::App(message) => self.send(&message),
                ToSession::AppChanged => drop(self.stale.get_or_insert(None)),
                ToSession::Restart => self.stale = Some(Some(RestartReason::Asked)),
                ToSession::RestartWhenReady => {
                    self.stale.get_or_insert_default().get_or_insert(RestartReason::WhenReady);
                }
            }
            next = if self.machine.room() >= ROOM_FOR_MESSAGE { self.inbox.try_recv()? } else { None };
        }
        Ok(())
    }

    fn send(&mut self, message: &AppMessage) {
        // There is room for the largest one; what breaks a bound was not made by our agent host.
        if let Err(error) = self.machine.send_app(&message.name, &message.value) {
            tracing::debug!(device = %self.id, %error, "a message to the device is dropped");
        }
    }

    /// Hands everything that is to be sent to TLS, once it has sent what it was handed before.
    fn fill(&mut self) -> Result<(), RecordError> {
        if !self.socket.wants_write() {
            self.unhandled.take(|next, handled| self.machine.app_handled(next, handled));
        }
        if !self.socket.wants_write()
            && let Some(bytes) = self.machine.poll_transmit()
        {
            self.socket.write(&bytes)?;
        }
        Ok(())
    }

    /// Lets the socket have what it takes now. What goes wrong is told when the session waits for it.
    fn send_at_once(&mut self) {
        if self.fill().is_ok() {
            let _ = self.socket.poll_write(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn reads(&self) -> bool {
        self.busy.is_none()
            && !self.receipts.is_full()
            && !self.machine.has_events()
            && (self.leave_by.is_some() || self.machine.room() >= ROOM_FOR_ANSWER)
    }

    fn has_room_for_answer(&self) -> bool {
        match self.os {
            _ if !self.machine.is_open() => true,
            None => self.machine.room() >= ROOM_FOR_ANSWER,
            // A piece of an OS image is sent before the next one is looked at, so that a slow device holds one of them.
            Some(_) => self.machine.transmit_backlog() == 0 && !self.socket.wants_write(),
        }
    }

    /// Keeps the two watches: on the device's silence, which says nothing while nothing is read, and on bytes it does not take.
    fn breathe(&mut self, edge: &Edge) {
        if self.reads() {
            self.machine.resume(edge.now());
        } else {
            self.machine.pause();
        }
        self.write.look(&self.socket);
    }

    fn deadline(&self, edge: &Edge) -> Instant {
        let silence = self.machine.poll_timeout().map(|mono_ms| edge.instant(mono_ms));
        let stuck = self.write.stuck_since.map(|since| since + edge.limits.write_deadline);
        let far = || Instant::now() + edge.limits.write_deadline;
        silence.into_iter().chain(stuck).chain(self.leave_by).min().unwrap_or_else(far)
    }

    async fn wait(
        &mut self,
        edge: &Edge,
        timer: Pin<&mut Sleep>,
        stop: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Wake {
        let reads = self.reads();
        let takes = self.machine.room() >= ROOM_FOR_MESSAGE;
        let stays = self.leave_by.is_none();
        let Self { socket, machine, inbox, busy, receipts, unhandled, .. } = self;
        let bus = async {
            // Without room for a message, its reason to close is still heard.
            if takes { inbox.recv().await } else { Err(inbox.ended().await) }
        };
        let busy = async {
            match busy {
                Some(busy) => busy.await,
                None => pending().await,
            }
        };
        tokio::select! {
            io = poll_fn(|cx| poll_io(socket, machine, edge, reads, cx)) => Wake::Io(io),
            message = bus, if stays => Wake::Bus(message),
            done = busy => Wake::Done(done),
            kept = receipts.next() => Wake::Kept(kept),
            () = unhandled.told() => Wake::Told,
            () = timer => Wake::Timer,
            () = stop, if stays => Wake::Stop,
        }
    }

    /// Writes a line into the device's log before anything else is done.
    fn log(&mut self, line: crate::fleet::LogEntry, edge: &Edge) {
        let bus = edge.bus.clone();
        self.busy = Some(Box::pin(async move {
            bus.log(line).await;
            Done::Taken
        }));
    }
}

/// Writes what waits, and reads when asked to. Ready when everything is written or something was read.
fn poll_io(
    socket: &mut SessionSocket,
    machine: &mut ServerSession,
    edge: &Edge,
    reads: bool,
    cx: &mut Context<'_>,
) -> Poll<Result<(), TlsSocketError>> {
    let waits = socket.wants_write();
    match socket.poll_write(cx) {
        Poll::Ready(Ok(())) if waits => return Poll::Ready(Ok(())),
        Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
        Poll::Ready(Ok(())) | Poll::Pending => {}
    }
    if !reads {
        return Poll::Pending;
    }
    socket.poll_read(cx, |plain| machine.handle_bytes(plain, edge.now()))
}

/// What the records say of a device now.
async fn records(store: Store, device: SpkiHash, proved: Proved, restart: Option<RestartReason>) -> Done {
    let found = match store.device_login(device).await {
        Ok(found) => found.map(Box::new),
        Err(error) => return failed(device, &error),
    };
    let has_rollout = found.as_ref().and_then(|found| found.group).is_some_and(|group| store.is_rolling_out(group));
    let os = match &proved.os_version {
        Some(runs) if has_rollout => match store.os_update(device, &proved.model, *runs).await {
            Ok(os) => os.map(Box::new),
            Err(error) => return failed(device, &error),
        },
        _ => None,
    };
    Done::Records { found, os, restart }
}

fn failed(device: SpkiHash, error: &crate::store::StoreError) -> Done {
    tracing::error!(%device, %error, "cannot read the records of a connected device; it is told to come back");
    Done::Failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::arrival::arrive;

    /// The size of the future that a function returns.
    fn size<F>(_: impl Fn(Box<Session>, Box<Caller>) -> F) -> usize {
        size_of::<F>()
    }

    fn size_of_arrival<F>(_: impl Fn(Caller, tokio::net::TcpStream) -> F) -> usize {
        size_of::<F>()
    }

    /// This is what an idle device costs here; tokio and the bus add about as much.
    #[test]
    fn an_idle_session_stays_small() {
        let (task, session) = (size(Session::run), size_of::<Session>());
        assert!(task <= 768 && session <= 896, "{task} and {session} bytes");
    }

    /// A stranger that waits before or at the door has one of these; the handshake's state comes in a box, later, and goes first.
    #[test]
    fn the_task_of_a_waiting_stranger_stays_small() {
        let bytes = size_of_arrival(arrive);
        assert!(bytes <= 1024, "{bytes} bytes");
    }
}
