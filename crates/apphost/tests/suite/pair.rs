//! A host in virtual time: one app, or a device app and its agent back to back.

use std::collections::VecDeque;

use squirrel::{CompileOptions, Program, Source, compile};
use vouch_apphost::{
    AgentInfo, App, Bench, Code, DeviceInfo, End as Place, HttpRequest, HttpResponse, Input, Limits, LogLevel, NotSent,
    Now, OutgoingRequest, Output, Proxy, Side, Sleep, Turn, WakeReason,
};

/// More turns than any test needs: a loop that never ends fails instead of hanging.
const TURNS_MAX: usize = 5_000_000;

/// One app and all that came out of it.
pub(crate) struct End {
    pub(crate) app: App,
    pub(crate) logs: Vec<String>,
    pub(crate) sent: VecDeque<(String, Vec<u8>)>,
    pub(crate) saves: Vec<Vec<u8>>,
    pub(crate) user_configurations: Vec<Vec<u8>>,
    pub(crate) proxies: Vec<Option<Proxy>>,
    pub(crate) responses: Vec<HttpResponse>,
    pub(crate) requests: Vec<OutgoingRequest>,
    pub(crate) cancelled: Vec<u64>,
    pub(crate) failed: Option<String>,
    pub(crate) restart: bool,
    /// `true` for each wish to connect, `false` for each to disconnect.
    pub(crate) wishes: Vec<bool>,
    /// How long each message or flush may take, and whether it wants an acknowledgement.
    pub(crate) waits: Vec<(bool, u64)>,
    pub(crate) sleep: Option<Sleep>,
    /// What became of the messages that were to be handled.
    pub(crate) handled: Vec<bool>,
    pub(crate) turns: usize,
    /// What the host answers to a save; `None` leaves the script waiting.
    pub(crate) save_answer: Option<Result<(), String>>,
    pub(crate) send_answer: Result<(), NotSent>,
    pub(crate) now: Now,
}

impl End {
    pub(crate) fn new(app: App, now: Now) -> Self {
        Self {
            app,
            logs: Vec::new(),
            sent: VecDeque::new(),
            saves: Vec::new(),
            user_configurations: Vec::new(),
            proxies: Vec::new(),
            responses: Vec::new(),
            requests: Vec::new(),
            cancelled: Vec::new(),
            failed: None,
            restart: false,
            wishes: Vec::new(),
            waits: Vec::new(),
            sleep: None,
            handled: Vec::new(),
            turns: 0,
            save_answer: Some(Ok(())),
            send_answer: Ok(()),
            now,
        }
    }

    /// Runs until the app has nothing more to do at this moment.
    pub(crate) fn settle(&mut self) -> Turn {
        for _ in 0..TURNS_MAX {
            let turn = self.app.run(self.now);
            self.turns += 1;
            let answered = self.take_outputs();
            if turn != Turn::More && !answered {
                return turn;
            }
        }
        panic!("the app never came to rest");
    }

    /// Whether an output was answered, so that the script can go on.
    pub(crate) fn take_outputs(&mut self) -> bool {
        let mut answered = false;
        while let Some(output) = self.app.poll_output() {
            match output {
                Output::Log { level: LogLevel::Log, text } => self.logs.push(text),
                Output::Log { level: LogLevel::Error, text } => self.logs.push(format!("! {text}")),
                Output::Send { name, value, acknowledged, timeout_ms } => {
                    self.waits.push((acknowledged, timeout_ms));
                    if self.send_answer.is_ok() {
                        self.sent.push_back((name, value));
                    }
                    self.app.input(Input::Sent(self.send_answer), self.now).expect("answers are always taken");
                    answered = true;
                }
                Output::HttpRequest(request) => self.requests.push(*request),
                Output::HttpCancel(id) => self.cancelled.push(id),
                Output::HttpResponse(response) => self.responses.push(response),
                Output::Save(bytes) => {
                    self.saves.push(bytes);
                    if let Some(answer) = self.save_answer.clone() {
                        self.app.input(Input::Saved(answer), self.now).expect("answers are always taken");
                        answered = true;
                    }
                }
                Output::SaveUserConfiguration(bytes) => {
                    self.user_configurations.push(bytes);
                    if let Some(answer) = self.save_answer.clone() {
                        self.app.input(Input::Saved(answer), self.now).expect("answers are always taken");
                        answered = true;
                    }
                }
                Output::SetProxy(proxy) => {
                    self.proxies.push(proxy);
                    if let Some(answer) = self.save_answer.clone() {
                        self.app.input(Input::Saved(answer), self.now).expect("answers are always taken");
                        answered = true;
                    }
                }
                Output::Handled(handled) => self.handled.push(handled),
                Output::Connect => self.wishes.push(true),
                Output::Disconnect => self.wishes.push(false),
                Output::Flush { acknowledged, timeout_ms } => {
                    self.waits.push((acknowledged, timeout_ms));
                    self.app.input(Input::Flushed(self.send_answer), self.now).expect("answers are always taken");
                    answered = true;
                }
                Output::Sleep(sleep) => self.sleep = Some(sleep),
                Output::Failed { error, .. } => self.failed = Some(error),
                Output::RestartRequested => self.restart = true,
            }
        }
        answered
    }

    /// Lets `ms` milliseconds pass, stopping at each timer on the way.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        self.settle();
        while let Some(due) = self.app.poll_timeout().filter(|due| *due <= end) {
            self.now = later(self.now, due.max(self.now.mono_ms));
            self.settle();
        }
        self.now = later(self.now, end);
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.app.input(input, self.now).expect("room in the queue");
    }

    pub(crate) fn request(&mut self, id: u64, method: &str, path: &str, body: &[u8]) {
        self.input(Input::Http(Box::new(HttpRequest {
            id,
            method: method.into(),
            path: path.into(),
            query: vec![("q".into(), "1".into())],
            headers: vec![("host".into(), b"example".to_vec())],
            body: body.to_vec(),
        })));
    }
}

pub(crate) fn later(now: Now, mono_ms: u64) -> Now {
    Now { mono_ms, unix_ms: now.unix_ms + i64::try_from(mono_ms - now.mono_ms).expect("short") }
}

pub(crate) fn start() -> Now {
    Now { mono_ms: 5_000, unix_ms: 1_800_000_000_000 }
}

pub(crate) fn device(source: &str) -> End {
    device_with(source, Limits::device(), WakeReason::PowerOn)
}

pub(crate) fn device_with(source: &str, limits: Limits, wake: WakeReason) -> End {
    device_as(source, limits, wake, device_info())
}

pub(crate) fn device_info() -> DeviceInfo {
    DeviceInfo {
        device_id: "0123456789abcdef".into(),
        software_version: "test 1".into(),
        connected: true,
        user_configuration: None,
        nv: None,
        board: Box::new(Bench::default()),
    }
}

pub(crate) fn device_as(source: &str, limits: Limits, wake: WakeReason, info: DeviceInfo) -> End {
    let code = code("device_code", source, Place::Device);
    End::new(App::new(&code, Side::Device(info), limits, wake, start()).expect("an app"), start())
}

pub(crate) fn agent(source: &str) -> End {
    agent_with(source, Limits::agent(), None)
}

pub(crate) fn agent_with(source: &str, limits: Limits, saved: Option<Vec<u8>>) -> End {
    let info = AgentInfo {
        agent_url: "http://server/agent/abc".into(),
        software_version: "test 1".into(),
        saved,
        connected: false,
    };
    let code = code("agent_code", source, Place::Agent);
    End::new(App::new(&code, Side::Agent(info), limits, WakeReason::PowerOn, start()).expect("an app"), start())
}

/// What a device script logs.
pub(crate) fn device_logs(source: &str) -> Vec<String> {
    let mut end = device(source);
    end.settle();
    end.logs
}

/// What an agent script logs.
pub(crate) fn agent_logs(source: &str) -> Vec<String> {
    let mut end = agent(source);
    end.settle();
    end.logs
}

/// A device app and its agent, with a perfect wire between them.
pub(crate) struct Pair {
    pub(crate) device: End,
    pub(crate) agent: End,
}

impl Pair {
    pub(crate) fn new(device_source: &str, agent_source: &str) -> Self {
        Self::of(device(device_source), agent(agent_source))
    }

    pub(crate) fn of(device: End, agent: End) -> Self {
        let mut pair = Self { device, agent };
        pair.agent.settle();
        pair.agent.input(Input::Connected);
        pair.exchange();
        pair
    }

    /// Lets `ms` milliseconds pass on both ends, message by message.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.device.now.mono_ms + ms;
        loop {
            self.exchange();
            let due = [self.device.app.poll_timeout(), self.agent.app.poll_timeout()].into_iter().flatten().min();
            let next = due.filter(|due| *due <= end).unwrap_or(end).max(self.device.now.mono_ms);
            self.device.now = later(self.device.now, next);
            self.agent.now = later(self.agent.now, next);
            if due.is_none_or(|due| due > end) {
                return;
            }
        }
    }

    /// Settles both ends and carries messages until none is left.
    pub(crate) fn exchange(&mut self) {
        loop {
            self.device.settle();
            self.agent.settle();
            let mut moved = false;
            while let Some((name, value)) = self.device.sent.pop_front() {
                self.agent.input(Input::Message { name, value, to_handle: false });
                self.agent.settle();
                moved = true;
            }
            while let Some((name, value)) = self.agent.sent.pop_front() {
                self.device.input(Input::Message { name, value, to_handle: false });
                self.device.settle();
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    pub(crate) fn http(&mut self, id: u64, path: &str, body: &[u8]) -> HttpResponse {
        self.http_as(id, "POST", path, body)
    }

    pub(crate) fn http_as(&mut self, id: u64, method: &str, path: &str, body: &[u8]) -> HttpResponse {
        self.agent.request(id, method, path, body);
        self.exchange();
        let place = self.agent.responses.iter().position(|response| response.id == id).expect("an answer");
        self.agent.responses.remove(place)
    }
}

/// Compiled, through its image, as a device and a server get it.
pub(crate) fn code(name: &str, source: &str, place: Place) -> Code {
    let sources = [Source { name, text: source.as_bytes() }];
    let program: Program =
        compile(&sources, &CompileOptions::default()).unwrap_or_else(|error| panic!("{}", error.with_caret()));
    Code::from_image(&program.to_image(), place).expect("an image just made")
}
