//! The app in a task of its own: it starts, runs with or without a session, fails and starts again.
//!
//! The session hands it inputs over a bounded queue and never waits for it; its log lines go into a ring, its messages to
//! whichever session is open. Nothing of the app is stored: after a restart of the runtime it is fetched again.

pub mod logs;

use std::sync::Arc;
use std::time::Duration;

use apphost::{
    App, Board, Code, DeviceInfo, Input, InputRefused, NotSent, Output, RestartDelay, Side, Turn, WakeReason,
};
use protocol::report::{AppState, LogLevel, LogLine};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::app::logs::LogRing;
use crate::clock::DeviceClock;
use crate::events::{DeviceEvent, LogKind, Observer, Sha256Hex};
use crate::limits::Limits;

/// What the session tells the app's task.
#[derive(Debug)]
pub enum ToApp {
    /// A session is open; messages go there.
    Connected(mpsc::Sender<FromApp>),
    /// No session is open any more.
    Disconnected,
    /// A message of the agent.
    Message {
        /// Its name.
        name: String,
        /// Its value, encoded.
        value: Vec<u8>,
    },
    /// Run this app from now on.
    Run {
        /// SHA-256 of its image.
        sha256: [u8; 32],
        /// The app.
        code: Code,
    },
    /// Run no app from now on.
    Remove,
    /// Start the app again.
    Restart,
}

/// A message of the app on its way to the agent; the app waits for the answer.
#[derive(Debug)]
pub struct FromApp {
    /// Its name.
    pub name: String,
    /// Its value, encoded.
    pub value: Vec<u8>,
    /// Whether the session took it; dropped when there is none any more.
    pub taken: oneshot::Sender<Result<(), NotSent>>,
}

/// What the app's task works with.
#[derive(Debug)]
pub struct AppContext {
    /// 16 hex digits.
    pub device_id: String,
    /// The version of the runtime.
    pub software_version: String,
    /// The bounds of the runtime.
    pub limits: Limits,
    /// The time.
    pub clock: Arc<DeviceClock>,
    /// Where log lines wait for the server.
    pub logs: Arc<LogRing>,
    /// Who watches.
    pub observer: Observer,
}

/// The other end of the app's task.
#[derive(Debug)]
pub struct AppLink {
    /// Commands and messages to the app.
    pub commands: mpsc::Sender<ToApp>,
    /// What the server is told about the app.
    pub state: watch::Receiver<AppState>,
}

/// The app's task.
#[derive(Debug)]
pub struct AppRunner {
    context: AppContext,
    commands: mpsc::Receiver<ToApp>,
    state: watch::Sender<AppState>,
    session: Option<mpsc::Sender<FromApp>>,
    slot: Slot,
    assigned: Option<Assigned>,
    delay: RestartDelay,
    /// An input that the app had no room for; no further command is taken until it has.
    held: Option<Input>,
    /// The answer that the app waits for.
    sending: Option<oneshot::Receiver<Result<(), NotSent>>>,
    sending_until: Instant,
    /// What the app stored for itself. It may be secret, so it lives in memory only: no file holds it in clear.
    user_configuration: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Assigned {
    sha256: [u8; 32],
    code: Code,
}

#[derive(Debug)]
enum Slot {
    Empty,
    Running(Box<App>),
    Pausing { until: Instant, wake: WakeReason },
}

/// What the task waited for.
enum Woken {
    Command(Option<ToApp>),
    Sent(Result<(), NotSent>),
    Time,
}

impl AppRunner {
    /// The task and its other end. Nothing happens until [`AppRunner::run`] is awaited.
    pub fn new(context: AppContext) -> (AppRunner, AppLink) {
        let (to_task, commands) = mpsc::channel(context.limits.app_queue);
        let nothing = AppState { sha256: None, wake_reason: 0, free_memory: 0, error: None };
        let (state, state_seen) = watch::channel(nothing);
        let runner = AppRunner {
            context,
            commands,
            state,
            session: None,
            slot: Slot::Empty,
            assigned: None,
            delay: RestartDelay::default(),
            held: None,
            sending: None,
            sending_until: Instant::now(),
            user_configuration: None,
        };
        (runner, AppLink { commands: to_task, state: state_seen })
    }

    /// Runs until the other end is gone.
    pub async fn run(mut self) {
        loop {
            let turn = self.turn();
            self.take_outputs();
            match self.wait(turn).await {
                Woken::Command(None) => return,
                Woken::Command(Some(command)) => self.command(command),
                Woken::Sent(result) => {
                    self.sending = None;
                    self.input(Input::Sent(result));
                }
                Woken::Time => {}
            }
        }
    }

    /// Gives the app one slice, or starts it when its pause is over.
    fn turn(&mut self) -> Turn {
        let now = self.context.clock.now();
        if let Slot::Pausing { until, wake } = self.slot
            && Instant::now() >= until
        {
            self.start(wake);
        }
        let Slot::Running(app) = &mut self.slot else { return Turn::Idle };
        if app.has_room()
            && let Some(input) = self.held.take()
            && let Err(InputRefused::Full(input)) = app.input(input, now)
        {
            self.held = Some(input);
        }
        app.run(now)
    }

    async fn wait(&mut self, turn: Turn) -> Woken {
        if matches!(turn, Turn::More) {
            // Others get their turn between two slices; what has come meanwhile is taken first.
            tokio::task::yield_now().await;
            if self.held.is_none()
                && let Ok(command) = self.commands.try_recv()
            {
                return Woken::Command(Some(command));
            }
            return Woken::Time;
        }
        let wake_at = match &self.slot {
            Slot::Empty => None,
            Slot::Running(app) => app.poll_timeout().map(|mono_ms| self.context.clock.instant(mono_ms)),
            Slot::Pausing { until, .. } => Some(*until),
        };
        let sending_until = self.sending_until;
        tokio::select! {
            command = self.commands.recv(), if self.held.is_none() => Woken::Command(command),
            result = answer(self.sending.as_mut(), sending_until) => Woken::Sent(result),
            () = sleep_until(wake_at.unwrap_or(sending_until)), if wake_at.is_some() => Woken::Time,
        }
    }

    fn command(&mut self, command: ToApp) {
        match command {
            ToApp::Connected(session) => {
                self.session = Some(session);
                self.input(Input::Connected);
            }
            ToApp::Disconnected => {
                self.session = None;
                self.input(Input::Disconnected);
            }
            ToApp::Message { name, value } => self.input(Input::Message { name, value }),
            ToApp::Run { sha256, code } => {
                let wake = if self.assigned.is_some() { WakeReason::NewApp } else { WakeReason::PowerOn };
                self.assigned = Some(Assigned { sha256, code });
                self.delay.reset();
                self.start(wake);
            }
            ToApp::Remove => {
                self.stop();
                if self.assigned.take().is_some() {
                    self.context.observer.tell(DeviceEvent::AppRemoved);
                    self.report(WakeReason::PowerOn, None);
                }
            }
            ToApp::Restart => self.start(WakeReason::Restart),
        }
    }

    fn start(&mut self, wake: WakeReason) {
        self.stop();
        let Some(assigned) = self.assigned.clone() else { return };
        let now = self.context.clock.now();
        let side = Side::Device(DeviceInfo {
            device_id: self.context.device_id.clone(),
            software_version: self.context.software_version.clone(),
            connected: self.session.is_some(),
            user_configuration: self.user_configuration.clone(),
            board: Board::default(),
        });
        self.context
            .observer
            .tell(DeviceEvent::AppStarted { sha256: Sha256Hex(assigned.sha256), wake_reason: wake.code() });
        self.delay.started(now);
        match App::new(&assigned.code, side, apphost::Limits::device(), wake, now) {
            Ok(app) => {
                self.slot = Slot::Running(Box::new(app));
                self.report(wake, None);
            }
            Err(error) => self.failed(error.to_string()),
        }
    }

    /// Ends the app that runs, with whatever it waited for.
    fn stop(&mut self) {
        self.slot = Slot::Empty;
        self.held = None;
        self.sending = None;
    }

    fn input(&mut self, input: Input) {
        let now = self.context.clock.now();
        let Slot::Running(app) = &mut self.slot else { return };
        if let Err(InputRefused::Full(input)) = app.input(input, now) {
            self.held = Some(input);
        }
    }

    fn take_outputs(&mut self) {
        while let Slot::Running(app) = &mut self.slot {
            let Some(output) = app.poll_output() else { return };
            match output {
                Output::Log { level, text } => self.log(level, text),
                Output::Send { name, value } => self.send(name, value),
                Output::Failed { error } => self.failed(error),
                // An app that restarts itself over and over is slowed down like one that fails.
                Output::RestartRequested => {
                    self.pause(WakeReason::Restart, None);
                }
                Output::SaveUserConfiguration(bytes) => {
                    self.user_configuration = Some(bytes).filter(|bytes| !bytes.is_empty());
                    self.input(Input::Saved(Ok(())));
                }
                Output::Save(_) => self.input(Input::Saved(Err("a device app has no saved state".to_owned()))),
                // Only agents have a URL and make requests.
                Output::HttpResponse(_) | Output::HttpRequest(_) | Output::HttpCancel(_) => {}
            }
        }
    }

    fn log(&self, level: apphost::LogLevel, text: String) {
        let unix_ms = self.context.clock.now().unix_ms;
        let (kind, level) = match level {
            apphost::LogLevel::Log => (LogKind::Log, LogLevel::Log),
            apphost::LogLevel::Error => (LogKind::Error, LogLevel::Error),
        };
        self.context.observer.tell(DeviceEvent::AppLog { unix_ms, level: kind, text: text.clone() });
        self.context.logs.push(LogLine::new(unix_ms, level, text));
    }

    fn send(&mut self, name: String, value: Vec<u8>) {
        let (taken, answer) = oneshot::channel();
        let offered = self.session.as_ref().map(|session| session.try_send(FromApp { name, value, taken }));
        // With no session, or with one that is ending, `taken` is gone and the answer says so at once.
        drop(offered);
        self.sending = Some(answer);
        self.sending_until = Instant::now() + self.context.limits.write_wait;
    }

    fn failed(&mut self, error: String) {
        let restart_in_ms = self.pause(WakeReason::AppError, Some(error.clone()));
        self.context.observer.tell(DeviceEvent::AppFailed { error, restart_in_ms });
    }

    /// Ends the app and starts it again after a while; returns how long that is, in milliseconds.
    fn pause(&mut self, wake: WakeReason, error: Option<String>) -> u64 {
        let pause_ms = self.delay.failed(self.context.clock.now());
        self.stop();
        self.slot = Slot::Pausing { until: Instant::now() + Duration::from_millis(pause_ms), wake };
        self.report(wake, error);
        pause_ms
    }

    fn report(&mut self, wake: WakeReason, error: Option<String>) {
        let free_memory = match &mut self.slot {
            Slot::Running(app) => app.memory_free(),
            Slot::Empty | Slot::Pausing { .. } => 0,
        };
        let sha256 = self.assigned.as_ref().map(|assigned| assigned.sha256);
        let error = error.map(|mut text| {
            text.truncate(text.floor_char_boundary(protocol::limits::LIMITS.error_text));
            text
        });
        self.state.send_replace(AppState { sha256, wake_reason: wake.code(), free_memory, error });
    }
}

/// The answer to the message that the app is sending; never, when it sends none.
async fn answer(sending: Option<&mut oneshot::Receiver<Result<(), NotSent>>>, until: Instant) -> Result<(), NotSent> {
    let Some(sending) = sending else { return std::future::pending().await };
    match timeout_at(until, sending).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(NotSent::NotConnected),
        Err(_) => Err(NotSent::TimedOut),
    }
}
