//! The event loop of one app: callbacks one at a time, in order, each within its budget.

use std::collections::{HashMap, VecDeque};

use keys::time::Now;
use squirrel::{Budgets, Clock, Fatal, HostCall, Pin, ScriptError, Step, Throw, Value, Vm};
use thiserror::Error;

use crate::api::{Api, Exchanges, Reply, Requests};
use crate::board::Bench;
use crate::code::Code;
use crate::hardware::Hardware;
use crate::input::{Input, InputRefused};
use crate::limits::Limits;
use crate::link::Link;
use crate::output::{LogLevel, Output, Proxy};
use crate::side::{End, Side, WakeReason};
use crate::timers::Timers;

/// Calls of the host that one slice may hold; without it a loop of cheap calls would keep others waiting.
const CALLS_PER_SLICE: usize = 256;

/// Why an app could not be made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum StartError {
    /// A device app's code was to run as an agent, or the other way round.
    #[error("the code is for the other end")]
    OtherEnd,
    /// The limits leave no room for the library.
    #[error("{0} bytes of memory do not hold even an empty app")]
    NoMemory(usize),
}

/// What the host does after [`App::run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do now; others go first.
    More,
    /// Nothing to do until [`App::poll_timeout`] or the next input.
    Idle,
    /// The script waits for the host's answer to a `Send` or a `Save`.
    Waiting,
    /// The app is over.
    Ended,
}

/// What the app is in the middle of.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The program's main function has not begun.
    Fresh,
    /// Between two events.
    Resting,
    /// In an event.
    Running,
    /// The script waits for the answer to a `Send`; the message is kept where it is sent again after a lost session.
    Sending(Option<Message>),
    /// The script waits for a session until then, milliseconds.
    Connecting(u64, AfterConnect),
    /// The app stands still until there is a session again, until then at the longest, milliseconds.
    Suspended(u64),
    /// The script waits for the answer to a `Flush`.
    Flushing,
    /// The script waits for the answer to a `Save` or a `SaveUserConfiguration` of these bytes.
    Saving(Vec<u8>),
    /// The script waits for the answer to a `SetProxy`.
    Redirecting,
    /// The script waits for the answer to this request of its own.
    Requesting(u64),
    /// The script sleeps until then, milliseconds.
    Sleeping(u64),
    /// No event begins any more.
    Ended,
}

/// A message on its way to the host.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
}

/// What a script waits for a session for.
#[derive(Debug)]
pub(crate) enum AfterConnect {
    /// `server.connect` without a callback.
    Answer,
    /// Sending this.
    Send(Message),
}

/// A function to be called when nothing else is to do.
#[derive(Debug)]
pub(crate) struct IdleCall {
    pub(crate) callback: Pin,
    /// Set for `imp.wakeup(0, ..)`.
    pub(crate) timer: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
}

/// One running app. Plain data: it may move between threads between two calls.
#[derive(Debug)]
pub struct App {
    pub(crate) vm: Vm,
    pub(crate) api: &'static Api,
    pub(crate) end: End,
    pub(crate) side: Side,
    pub(crate) limits: Limits,
    pub(crate) wake: WakeReason,
    pub(crate) now: Now,
    pub(crate) phase: Phase,
    pub(crate) link: Link,
    /// A device's alone.
    pub(crate) hardware: Option<Box<Hardware>>,
    /// Whether the event under way is a message whose sender wants to know of its end.
    pub(crate) handling: bool,
    pub(crate) restart_wanted: bool,
    pub(crate) timers: Timers<Pin>,
    pub(crate) idle: VecDeque<IdleCall>,
    pub(crate) handlers: HashMap<String, Pin>,
    pub(crate) on_connect: Option<Pin>,
    pub(crate) on_disconnect: Option<Pin>,
    pub(crate) on_request: Option<Pin>,
    pub(crate) exchanges: Exchanges,
    pub(crate) requests: Requests,
    pub(crate) queue: VecDeque<Input>,
    outputs: VecDeque<Output>,
    output_bytes: usize,
    /// Whether a due timer goes before a waiting input; they take turns, so that neither starves the other.
    pub(crate) timer_first: bool,
}

impl App {
    /// An app that is ready to run from its beginning.
    ///
    /// # Errors
    /// The code is for the other end, or the limits leave no room for anything: the host's mistakes, never the script's.
    pub fn new(code: &Code, mut side: Side, limits: Limits, wake: WakeReason, now: Now) -> Result<Self, StartError> {
        let budgets =
            Budgets { slice: limits.slice, event: limits.event, bytes: limits.memory_bytes, depth: limits.depth };
        let end = side.end();
        if code.end != end {
            return Err(StartError::OtherEnd);
        }
        let hardware = match &mut side {
            Side::Device(device) => {
                let board = std::mem::replace(&mut device.board, Box::new(Bench::default()));
                Some(Box::new(Hardware::new(board)))
            }
            Side::Agent(_) => None,
        };
        Ok(Self {
            vm: Vm::new(&code.linked, budgets).map_err(|_| StartError::NoMemory(limits.memory_bytes))?,
            api: Api::of(end),
            end,
            link: Link::new(side.connected(), wake.begins_connected()),
            hardware,
            side,
            wake,
            now,
            phase: Phase::Fresh,
            handling: false,
            restart_wanted: false,
            timers: Timers::new(limits.timers),
            idle: VecDeque::new(),
            handlers: HashMap::new(),
            on_connect: None,
            on_disconnect: None,
            on_request: None,
            exchanges: Exchanges::default(),
            requests: Requests::new(now.mono_ms),
            queue: VecDeque::new(),
            outputs: VecDeque::new(),
            output_bytes: 0,
            timer_first: false,
            limits,
        })
    }

    /// Tells the app what happened. Then call [`Self::run`].
    ///
    /// # Errors
    /// Returns the input when the queue is full or the app is over. Answers are always taken.
    pub fn input(&mut self, input: Input, now: Now) -> Result<(), InputRefused> {
        self.now = now;
        if matches!(self.phase, Phase::Ended) {
            return Err(InputRefused::Ended(input));
        }
        match input {
            Input::Sent(answer) => self.sent(answer),
            Input::Flushed(answer) => self.flushed(answer),
            Input::Unreached(why) => self.link.failure = why as i32,
            Input::Saved(answer) => self.saved(answer),
            Input::BoardMoved => {
                if let Some(hardware) = &mut self.hardware {
                    hardware.moved = true;
                }
            }
            Input::HttpGone(id) => self.http_gone(id),
            Input::HttpAnswer { id, answer } => self.http_answered(id, answer),
            // They come one after the other, so that they need no bound.
            input @ (Input::Connected | Input::Disconnected) => {
                self.link.there = matches!(input, Input::Connected);
                self.queue.push_back(input);
            }
            input if self.has_room() => self.queue.push_back(input),
            input => return Err(InputRefused::Full(input)),
        }
        Ok(())
    }

    /// Whether another input would be taken now.
    pub fn has_room(&self) -> bool {
        self.queue.len() < self.limits.queue && !matches!(self.phase, Phase::Ended)
    }

    /// Runs one slice of one event at most. Then take the outputs.
    pub fn run(&mut self, now: Now) -> Turn {
        self.now = now;
        match self.phase {
            Phase::Ended => return Turn::Ended,
            Phase::Sending(_) | Phase::Flushing | Phase::Saving(_) | Phase::Redirecting | Phase::Requesting(_) => {
                return Turn::Waiting;
            }
            Phase::Connecting(..) | Phase::Suspended(_) => match self.wait_for_session() {
                Some(turn) => return turn,
                None => self.set_clock(),
            },
            Phase::Sleeping(until) if until > now.mono_ms => return Turn::Waiting,
            Phase::Sleeping(_) => {
                self.phase = Phase::Running;
                self.set_clock();
                self.vm.resume(Ok(Value::Null));
            }
            Phase::Fresh | Phase::Resting if self.is_blocked() => return Turn::More,
            Phase::Fresh => {
                self.restore_nv();
                self.set_clock();
                self.vm.start();
                self.phase = Phase::Running;
            }
            Phase::Resting => {
                if !self.begin_event() {
                    return self.rest();
                }
            }
            Phase::Running => {}
        }
        self.run_slice()
    }

    /// The next thing the host must do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        match &output {
            Some(output) => self.output_bytes = self.output_bytes.saturating_sub(weight(output)),
            None => self.outputs.shrink_to(4),
        }
        output
    }

    /// When to run next though nothing happens, milliseconds of the clock that never goes back; not in the future when there is more to
    /// do now. `None` while the app waits for an input or an answer.
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::Fresh | Phase::Running => Some(self.now.mono_ms),
            Phase::Resting if !self.queue.is_empty() || !self.idle.is_empty() => Some(self.now.mono_ms),
            Phase::Resting => self.next_due(),
            Phase::Sleeping(until) => Some(until),
            Phase::Connecting(until, _) | Phase::Suspended(until) => {
                Some(if self.link.there { self.now.mono_ms } else { until })
            }
            Phase::Sending(_) | Phase::Flushing | Phase::Saving(_) | Phase::Redirecting => None,
            Phase::Requesting(_) | Phase::Ended => None,
        }
    }

    /// Bytes that the script may still use, garbage not counted.
    pub fn memory_free(&mut self) -> u32 {
        self.vm.collect_garbage();
        u32::try_from(self.vm.heap().memory_free()).unwrap_or(u32::MAX)
    }

    fn run_slice(&mut self) -> Turn {
        for _ in 0..CALLS_PER_SLICE {
            if self.is_blocked() {
                return Turn::More;
            }
            match self.vm.run() {
                Step::Done(_) => return self.end_event(),
                Step::SliceEnded => return Turn::More,
                Step::Failed(error) => {
                    self.fail(&error);
                    return Turn::Ended;
                }
                Step::HostCall(call) => {
                    if let Some(turn) = self.serve(&call) {
                        return turn;
                    }
                }
            }
        }
        Turn::More
    }

    /// Answers a call of the script; a turn when the script does not go on at once.
    fn serve(&mut self, call: &HostCall) -> Option<Turn> {
        match self.answer(call) {
            Ok(Reply::Value(value)) => self.vm.resume(Ok(value)),
            Ok(Reply::Wait) if matches!(self.phase, Phase::Ended) => return Some(Turn::Ended),
            Ok(Reply::Wait) => return Some(Turn::Waiting),
            Err(Throw::Message(text)) => self.vm.resume(Err(text)),
            Err(Throw::Value(value)) => {
                let text = String::from_utf8_lossy(&self.vm.text(value)).into_owned();
                self.vm.resume(Err(text));
            }
            Err(Throw::Fatal(fatal)) => {
                self.fail(&exhausted(fatal));
                return Some(Turn::Ended);
            }
        }
        None
    }

    fn end_event(&mut self) -> Turn {
        self.phase = Phase::Resting;
        if std::mem::take(&mut self.handling) {
            self.put(Output::Handled(true));
        }
        if self.restart_wanted {
            self.end(Output::RestartRequested);
            return Turn::Ended;
        }
        self.rest()
    }

    fn rest(&self) -> Turn {
        let due = self.next_due().is_some_and(|due| due <= self.now.mono_ms);
        match self.phase {
            Phase::Ended => Turn::Ended,
            Phase::Suspended(_) => Turn::Waiting,
            _ if due || !self.queue.is_empty() || !self.idle.is_empty() => Turn::More,
            _ => Turn::Idle,
        }
    }

    /// Whether an agent's app has a function that is to be called when its device connects or disconnects.
    pub fn hears_connections(&self) -> bool {
        self.on_connect.is_some() || self.on_disconnect.is_some()
    }

    /// When the next timer is due, an answer to `server.connect`, or the news of a lost session.
    fn next_due(&self) -> Option<u64> {
        [self.timers.next_due(), self.link.next_due(self.now.mono_ms), self.hardware_due()].into_iter().flatten().min()
    }

    fn saved(&mut self, answer: Result<(), String>) {
        match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Saving(bytes) => {
                match (&mut self.side, &answer) {
                    (Side::Agent(agent), Ok(())) => agent.saved = Some(bytes),
                    (Side::Device(device), Ok(())) => {
                        device.user_configuration = Some(bytes).filter(|bytes| !bytes.is_empty());
                    }
                    (_, Err(_)) => {}
                }
                self.vm.resume(answer.map(|()| Value::Null));
            }
            Phase::Redirecting => self.vm.resume(answer.map(|()| Value::Null)),
            other => self.phase = other,
        }
    }

    fn http_gone(&mut self, id: u64) {
        let waiting = |input: &Input| matches!(input, Input::Http(request) if request.id == id);
        self.queue.retain(|input| !waiting(input));
        self.exchanges.gone(id, self.limits.http_open);
    }

    /// Logs an error with its stack, as the imp does, and ends the app.
    pub(crate) fn fail(&mut self, error: &ScriptError) {
        self.put_log(LogLevel::Error, format!("ERROR: {}", error.message));
        for (depth, entry) in error.stack.iter().enumerate() {
            let word = if depth == 0 { "in" } else { "from" };
            self.put_log(LogLevel::Error, format!("ERROR:   {word} {} {}:{}", entry.function, entry.file, entry.line));
        }
        let wake = if error.fatal == Some(Fatal::Memory) { WakeReason::OutOfMemory } else { WakeReason::AppError };
        self.end(Output::Failed { error: error.message.lines().next().unwrap_or_default().to_owned(), wake });
    }

    pub(crate) fn end(&mut self, last: Output) {
        self.put(last);
        self.phase = Phase::Ended;
        self.queue.clear();
        self.idle.clear();
    }

    pub(crate) fn set_clock(&mut self) {
        let mono_us = self.now.mono_ms.saturating_mul(1000);
        self.vm.set_clock(Clock { unix_ms: self.now.unix_ms, mono_us });
    }

    /// Whether the host has yet to take what there is.
    fn is_blocked(&self) -> bool {
        self.outputs.len() >= self.limits.outputs || self.output_bytes >= self.limits.output_bytes
    }

    pub(crate) fn put(&mut self, output: Output) {
        self.output_bytes += weight(&output);
        self.outputs.push_back(output);
    }

    /// Puts one line into the log, cut at its limit.
    pub(crate) fn put_log(&mut self, level: LogLevel, mut text: String) {
        text.truncate(text.floor_char_boundary(self.limits.log_line_bytes));
        self.put(Output::Log { level, text });
    }

    /// Counts work done for the script outside its VM.
    pub(crate) fn count_work(&mut self, units: usize) {
        let counted = self.vm.build(|heap| {
            heap.work(units);
            Ok(())
        });
        debug_assert!(counted.is_ok(), "counting allocates nothing");
    }
}

fn weight(output: &Output) -> usize {
    match output {
        Output::Log { text, .. } => text.len(),
        Output::Send { name, value, .. } => name.len() + value.len(),
        Output::HttpResponse(response) => response.body.len(),
        Output::Save(bytes) | Output::SaveUserConfiguration(bytes) => bytes.len(),
        Output::HttpRequest(request) => request.weight(),
        Output::SetProxy(proxy) => proxy.as_ref().map_or(0, Proxy::weight),
        Output::HttpCancel(_)
        | Output::Handled(_)
        | Output::Connect
        | Output::Disconnect
        | Output::Flush { .. }
        | Output::Failed { .. }
        | Output::RestartRequested
        | Output::Sleep(_) => 0,
    }
}

pub(crate) fn exhausted(fatal: Fatal) -> ScriptError {
    ScriptError { fatal: Some(fatal), ..plain(&fatal.to_string()) }
}

fn plain(message: &str) -> ScriptError {
    ScriptError { message: message.to_owned(), fatal: None, stack: Vec::new() }
}
