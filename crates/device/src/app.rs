//! The app in a task of its own: it starts, runs with or without a session, sleeps, makes room for another, fails and starts again.
//!
//! The session hands it inputs over a bounded queue and never waits for it; its log lines go into a ring, its messages to
//! whichever session is open.

pub mod logs;
mod outputs;
mod saving;
pub mod sending;
pub mod wish;

use std::sync::Arc;

use apphost::{App, Code, DeviceInfo, Input, InputRefused, RestartDelay, ShutdownReason, Side, Turn, WakeReason};
use keys::secret::Secret;
use protocol::report::AppState;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::app::logs::LogRing;
use crate::app::saving::Saving;
use crate::app::sending::{FromApp, Sending};
use crate::app::wish::Wish;
use crate::board::DeviceBoard;
use crate::clock::DeviceClock;
use crate::events::{DeviceEvent, Observer, Sha256Hex};
use crate::limits::Limits;
use crate::store::Store;

/// What the session tells the app's task.
#[derive(Debug)]
pub enum ToApp {
    /// A session is open; messages go there.
    Connected(mpsc::Sender<FromApp>),
    /// No session is open any more.
    Disconnected,
    /// The server was not reached.
    Unreached(apphost::Unreached),
    /// A message of the agent.
    Message {
        /// Its name.
        name: String,
        /// Its value, encoded.
        value: Vec<u8>,
    },
    /// Run this app from now on.
    Run {
        /// The app.
        app: Assigned,
        /// When it takes the place of the one that runs.
        when: When,
    },
    /// Run no app from now on.
    Remove,
    /// Start the app again.
    Restart(When),
}

/// When a running app makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// When it is ready, if it has asked to be told (`server.onshutdown`); it has [`Limits::shutdown_wait`].
    Ready,
}

/// An app that is to run.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// SHA-256 of its image.
    pub sha256: [u8; 32],
    /// The app.
    pub code: Code,
}

/// What the app's task works with.
#[derive(Debug)]
pub struct AppContext {
    /// The board that apps run on.
    pub board: DeviceBoard,
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
    /// Where it keeps what the app stores for itself.
    pub store: Store,
    /// What the app stored for itself in an earlier run.
    pub user_configuration: Option<Secret>,
    /// Why the first app of this process is started.
    pub first_wake: WakeReason,
    /// Told when the app has set another proxy than this process dials.
    pub redirected: watch::Sender<bool>,
}

/// The other end of the app's task.
#[derive(Debug)]
pub struct AppLink {
    /// Commands and messages to the app.
    pub commands: mpsc::Sender<ToApp>,
    /// What the server is told about the app.
    pub state: watch::Receiver<AppState>,
    /// Whether the app wants a session.
    pub wish: watch::Receiver<Wish>,
}

/// The app's task.
#[derive(Debug)]
pub struct AppRunner {
    context: AppContext,
    commands: mpsc::Receiver<ToApp>,
    state: watch::Sender<AppState>,
    wish: watch::Sender<Wish>,
    session: Option<mpsc::Sender<FromApp>>,
    slot: Slot,
    assigned: Option<Assigned>,
    /// Until when the app that runs has to make room.
    leaving: Option<Leaving>,
    delay: RestartDelay,
    /// When the board is looked at next.
    look_at: Instant,
    /// An input that the app had no room for; no further command is taken until it has.
    held: Option<Input>,
    /// The answer that the app waits for.
    sending: Option<Sending>,
    /// What the app stored for itself.
    user_configuration: Option<Secret>,
    /// The write that the app waits for.
    saving: Option<Saving>,
}

/// A running app that was asked to make room.
#[derive(Debug)]
struct Leaving {
    until: Instant,
    /// The app that comes after it; itself when there is none.
    successor: Option<Assigned>,
}

#[derive(Debug)]
enum Slot {
    Empty,
    Running(Box<App>),
    Pausing {
        until: Instant,
        wake: WakeReason,
    },
    /// Until then, or until there is a session.
    Sleeping {
        until: Option<Instant>,
        nv: Option<Vec<u8>>,
        pins: Vec<&'static str>,
    },
}

/// What the task waited for.
enum Woken {
    Command(Option<ToApp>),
    Sent(Input),
    Saved(Result<(), String>),
    Time,
}

impl AppRunner {
    /// The task and its other end. Nothing happens until [`AppRunner::run`] is awaited.
    pub fn new(mut context: AppContext) -> (AppRunner, AppLink) {
        let (to_task, commands) = mpsc::channel(context.limits.app_queue);
        let nothing = AppState { sha256: None, wake_reason: 0, free_memory: 0, error: None };
        let (state, state_seen) = watch::channel(nothing);
        let (wish, wish_seen) = Wish::channel();
        let user_configuration = context.user_configuration.take();
        let runner = AppRunner {
            context,
            commands,
            state,
            wish,
            session: None,
            slot: Slot::Empty,
            assigned: None,
            leaving: None,
            delay: RestartDelay::default(),
            look_at: Instant::now(),
            held: None,
            sending: None,
            user_configuration,
            saving: None,
        };
        (runner, AppLink { commands: to_task, state: state_seen, wish: wish_seen })
    }

    /// Runs until the other end is gone.
    pub async fn run(mut self) {
        loop {
            let turn = self.turn();
            self.take_outputs();
            match self.wait(turn).await {
                Woken::Command(None) => return,
                Woken::Command(Some(command)) => self.command(command),
                Woken::Sent(answer) => {
                    self.sending = None;
                    self.input(answer);
                }
                Woken::Saved(result) => {
                    if self.saving.take().is_some_and(|saving| saving.is_awaited) {
                        self.input(Input::Saved(result));
                    }
                }
                Woken::Time => {}
            }
        }
    }

    /// Gives the app one slice, or starts it when its pause or sleep is over.
    fn turn(&mut self) -> Turn {
        let now = self.context.clock.now();
        let over = |until: &Instant| Instant::now() >= *until;
        match &self.slot {
            Slot::Pausing { until, wake } if over(until) => self.start(*wake),
            Slot::Sleeping { until: Some(until), .. } if over(until) => self.start(WakeReason::Timer),
            Slot::Running(_) if self.leaving.as_ref().is_some_and(|leaving| over(&leaving.until)) => self.make_room(),
            _ => {}
        }
        self.look_at_board();
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
        let slot = match &self.slot {
            Slot::Empty => None,
            Slot::Running(app) => app.poll_timeout().map(|mono_ms| self.context.clock.instant(mono_ms)),
            Slot::Pausing { until, .. } => Some(*until),
            Slot::Sleeping { until, .. } => *until,
        };
        let leaving = self.leaving.as_ref().map(|leaving| leaving.until);
        let look = Some(self.look_at).filter(|_| self.looks_at_board());
        let wake_at = [slot, leaving, look].into_iter().flatten().min();
        tokio::select! {
            command = self.commands.recv(), if self.held.is_none() => Woken::Command(command),
            answer = answer(self.sending.as_mut()) => Woken::Sent(answer),
            saved = Saving::ended(self.saving.as_mut()) => Woken::Saved(saved),
            () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => Woken::Time,
        }
    }

    fn looks_at_board(&self) -> bool {
        self.context.board.moves() && matches!(self.slot, Slot::Running(_) | Slot::Sleeping { .. })
    }

    /// Tells those who watch, and the app, what changed on the board; a pin may end the app's sleep.
    fn look_at_board(&mut self) {
        if !self.looks_at_board() || Instant::now() < self.look_at {
            return;
        }
        self.look_at = Instant::now() + self.context.limits.board_look;
        let at = self.context.clock.now().mono_ms as f64 / 1000.0;
        for event in self.context.board.look(at) {
            self.context.observer.tell(event);
        }
        match &self.slot {
            Slot::Running(app) if app.watches_board() => self.input(Input::BoardMoved),
            Slot::Sleeping { pins, .. } if self.context.board.any_high(pins, at) => self.start(WakeReason::Pin),
            _ => {}
        }
    }

    fn command(&mut self, command: ToApp) {
        match command {
            ToApp::Connected(session) => {
                self.session = Some(session);
                self.input(Input::Connected);
                if matches!(self.slot, Slot::Sleeping { until: None, .. }) {
                    self.start(WakeReason::Snooze);
                }
            }
            ToApp::Disconnected => {
                self.session = None;
                self.input(Input::Disconnected);
            }
            ToApp::Unreached(why) => self.input(Input::Unreached(why)),
            ToApp::Message { name, value } => self.input(Input::Message { name, value, to_handle: false }),
            ToApp::Run { app, when: When::Ready } if matches!(self.slot, Slot::Running(_)) => {
                self.ask_to_leave(Some(app));
            }
            ToApp::Run { app, .. } => {
                let wake = if self.assigned.is_some() { WakeReason::NewApp } else { self.context.first_wake };
                self.assigned = Some(app);
                self.delay.reset();
                self.start(wake);
            }
            ToApp::Remove => {
                self.stop();
                self.wish.send_modify(|wish| wish.online = true);
                if self.assigned.take().is_some() {
                    self.context.observer.tell(DeviceEvent::AppRemoved);
                    self.report(WakeReason::PowerOn, None);
                }
            }
            ToApp::Restart(When::Ready) if matches!(self.slot, Slot::Running(_)) => self.ask_to_leave(None),
            ToApp::Restart(_) if self.leaving.is_some() => self.make_room(),
            ToApp::Restart(_) => self.start(WakeReason::Restart),
        }
    }

    /// Asks the app that runs to make room for another, or for itself, begun anew.
    fn ask_to_leave(&mut self, successor: Option<Assigned>) {
        let asked = self.leaving.take();
        let is_new = asked.is_none();
        let until = asked.as_ref().map_or_else(|| Instant::now() + self.context.limits.shutdown_wait, |old| old.until);
        let successor = successor.or_else(|| asked.and_then(|old| old.successor));
        self.leaving = Some(Leaving { until, successor });
        if is_new {
            self.input(Input::Shutdown(ShutdownReason::NewApp));
        }
    }

    /// Ends the app that was asked to make room and starts what comes after it.
    fn make_room(&mut self) {
        let successor = self.leaving.take().and_then(|leaving| leaving.successor);
        let wake = if successor.is_some() { WakeReason::NewApp } else { WakeReason::Restart };
        self.assigned = successor.or(self.assigned.take());
        self.delay.reset();
        self.start(wake);
    }

    fn start(&mut self, wake: WakeReason) {
        let nv = match std::mem::replace(&mut self.slot, Slot::Empty) {
            Slot::Sleeping { nv, .. } if matches!(wake, WakeReason::Timer | WakeReason::Pin | WakeReason::Snooze) => nv,
            _ => None,
        };
        self.stop();
        let Some(assigned) = self.assigned.clone() else { return };
        if !matches!(wake, WakeReason::Timer | WakeReason::Pin) {
            self.wish.send_modify(|wish| wish.online = true);
        }
        let now = self.context.clock.now();
        let side = Side::Device(DeviceInfo {
            device_id: self.context.device_id.clone(),
            software_version: self.context.software_version.clone(),
            connected: self.session.is_some(),
            user_configuration: self.user_configuration.as_ref().map(|bytes| bytes.expose().to_vec()),
            nv,
            board: self.context.board.for_app(),
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
            Err(error) => self.failed(error.to_string(), WakeReason::AppError),
        }
    }

    /// Ends the app that runs, with whatever it waited for.
    fn stop(&mut self) {
        self.slot = Slot::Empty;
        self.leaving = None;
        if let Some(saving) = &mut self.saving {
            saving.is_awaited = false;
        }
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
}

/// The answer to what the app is sending; never, when it sends nothing.
async fn answer(sending: Option<&mut Sending>) -> Input {
    match sending {
        Some(sending) => sending.answer().await,
        None => std::future::pending().await,
    }
}
