//! A device and a server in one thread: a fake clock, and a pipe that cuts the bytes wherever it likes.

use std::collections::VecDeque;
use std::rc::Rc;

use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use vouch_protocol::Now;
use vouch_protocol::eat::AttestationLevel;
use vouch_protocol::limits::{LIMITS, Limits};
use vouch_protocol::session::{
    Authenticated, Device, DeviceEvent, DeviceSession, DeviceSessionConfig, Greeting, KnownDevice, ServerEvent,
    ServerSession, ServerSessionConfig, Standing,
};

pub(crate) const NONCE: [u8; 32] = [0x4e; 32];
pub(crate) const EXPORTER: [u8; 32] = [0xe0; 32];
pub(crate) const TLS_KEY: SpkiHash = SpkiHash([0x71; 32]);
pub(crate) const START: Now = Now { mono_ms: 1_000_000, unix_ms: 1_750_000_000_000 };

pub(crate) fn identity_key() -> Rc<Signer> {
    Rc::new(Signer::generate(KeyPurpose::DeviceIdentity).unwrap())
}

/// What both ends know before the first byte; a test changes what its attacker would.
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    /// The key that the device names as its own.
    pub(crate) identity: Rc<Signer>,
    /// The key that signs the proof.
    pub(crate) signs: Rc<Signer>,
    /// What the server's records say.
    pub(crate) known: Option<KnownDevice>,
    pub(crate) nonce: [u8; 32],
    pub(crate) device_exporter: [u8; 32],
    pub(crate) server_exporter: [u8; 32],
    pub(crate) device_profile: Profile,
    pub(crate) server_profile: Profile,
    pub(crate) peer_tls_key: SpkiHash,
    pub(crate) greeting: Greeting,
    /// The longest piece that the pipe carries at once.
    pub(crate) piece: usize,
}

impl Setup {
    pub(crate) fn honest() -> Self {
        let identity = identity_key();
        Self {
            limits: LIMITS,
            signs: Rc::clone(&identity),
            known: Some(known(&identity)),
            identity,
            nonce: NONCE,
            device_exporter: EXPORTER,
            server_exporter: EXPORTER,
            device_profile: Profile::Modern,
            server_profile: Profile::Modern,
            peer_tls_key: TLS_KEY,
            greeting: Greeting { keepalive_s: 60, app: None, agent_url: None },
            piece: usize::MAX,
        }
    }

    pub(crate) fn device(&self) -> DeviceSession {
        let config = DeviceSessionConfig {
            identity: self.identity.public().clone(),
            exporter: self.device_exporter,
            profile: self.device_profile,
            model: "imp-lamp".into(),
            os_version: "1.2.3".into(),
            attestation: AttestationLevel::Software,
            boot: None,
            vault_generation: None,
            layers: None,
            memory_locked: None,
            limits: self.limits,
        };
        DeviceSession::new(config, START)
    }

    pub(crate) fn server(&self) -> ServerSession {
        let config = ServerSessionConfig {
            nonce: self.nonce,
            exporter: self.server_exporter,
            peer_tls_key: self.peer_tls_key,
            profile: self.server_profile,
            limits: Box::leak(Box::new(self.limits)),
        };
        ServerSession::new(config, START)
    }

    /// Both ends, connected; nothing has moved yet.
    pub(crate) fn connect(self) -> Pair {
        Pair {
            device: self.device(),
            server: self.server(),
            now: START,
            device_events: VecDeque::new(),
            server_events: VecDeque::new(),
            sent_up: Vec::new(),
            sent_down: Vec::new(),
            proof_of_device: None,
            wakes: 0,
            setup: self,
        }
    }

    /// Both ends with the session open.
    pub(crate) fn open(self) -> Pair {
        let mut pair = self.connect();
        pair.drive();
        assert!(pair.device.is_open() && pair.server.is_open(), "{:?} {:?}", pair.device_events, pair.server_events);
        pair.device_events.clear();
        pair.server_events.clear();
        pair
    }
}

pub(crate) fn known(identity: &Signer) -> KnownDevice {
    KnownDevice { identity: identity.public().clone(), tls_key: TLS_KEY, standing: Standing::Enrolled }
}

/// Both ends and what has happened. Look-ups, signatures and welcomes are answered at once; all other events
/// wait in `device_events` and `server_events`.
pub(crate) struct Pair {
    pub(crate) device: DeviceSession,
    pub(crate) server: ServerSession,
    pub(crate) now: Now,
    pub(crate) device_events: VecDeque<DeviceEvent>,
    pub(crate) server_events: VecDeque<ServerEvent>,
    /// Every byte that went to the server.
    pub(crate) sent_up: Vec<u8>,
    /// Every byte that went to the device.
    pub(crate) sent_down: Vec<u8>,
    pub(crate) proof_of_device: Option<Authenticated<Device>>,
    /// How often a timer fired.
    pub(crate) wakes: usize,
    pub(crate) setup: Setup,
}

impl Pair {
    /// Moves what waits, once in each direction; says whether anything moved.
    pub(crate) fn step(&mut self) -> bool {
        let up = self.device.poll_transmit();
        for piece in pieces(up.as_deref(), self.setup.piece) {
            self.sent_up.extend_from_slice(piece);
            self.server.handle_bytes(piece, self.now);
            self.serve();
        }
        let down = self.server.poll_transmit();
        for piece in pieces(down.as_deref(), self.setup.piece) {
            self.sent_down.extend_from_slice(piece);
            self.device.handle_bytes(piece, self.now);
            self.attend();
        }
        up.is_some() || down.is_some()
    }

    /// Moves everything until both ends are quiet.
    pub(crate) fn drive(&mut self) {
        self.serve();
        self.attend();
        while self.step() {}
    }

    /// Lets `ms` milliseconds pass: each timer fires when it is due, and what follows moves.
    pub(crate) fn drive_for(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        loop {
            self.drive();
            let due = [self.device.poll_timeout(), self.server.poll_timeout()].into_iter().flatten().min();
            match due {
                Some(due) if due <= end => self.wake(due),
                _ => break,
            }
        }
        self.set_time(end);
    }

    /// Lets time pass for the server alone: the device is gone and nobody has noticed.
    pub(crate) fn server_alone_for(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.set_time(due.max(self.now.mono_ms));
            self.server.handle_timeout(self.now);
            self.serve();
        }
        self.set_time(end);
    }

    /// Lets time pass for the device alone.
    pub(crate) fn device_alone_for(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while let Some(due) = self.device.poll_timeout().filter(|due| *due <= end) {
            self.set_time(due.max(self.now.mono_ms));
            self.device.handle_timeout(self.now);
            self.attend();
        }
        self.set_time(end);
    }

    pub(crate) fn device_event(&mut self) -> DeviceEvent {
        self.device_events.pop_front().expect("an event of the device")
    }

    pub(crate) fn server_event(&mut self) -> ServerEvent {
        self.server_events.pop_front().expect("an event of the server")
    }

    fn wake(&mut self, due: u64) {
        self.set_time(due.max(self.now.mono_ms));
        if self.device.poll_timeout().is_some_and(|at| at <= self.now.mono_ms) {
            self.wakes += 1;
            self.device.handle_timeout(self.now);
        }
        if self.server.poll_timeout().is_some_and(|at| at <= self.now.mono_ms) {
            self.wakes += 1;
            self.server.handle_timeout(self.now);
        }
    }

    fn set_time(&mut self, mono_ms: u64) {
        let passed = i64::try_from(mono_ms - self.now.mono_ms).unwrap();
        self.now = Now { mono_ms, unix_ms: self.now.unix_ms + passed };
    }

    fn serve(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::Identify { .. } => self.server.known(self.setup.known.clone(), self.now),
                ServerEvent::Authenticated(device) => {
                    self.server.welcome(&device, self.setup.greeting.clone(), self.now).unwrap();
                    self.proof_of_device = Some(*device);
                }
                other => self.server_events.push_back(other),
            }
        }
    }

    fn attend(&mut self) {
        while let Some(event) = self.device.poll_event() {
            match event {
                DeviceEvent::Sign(request) => {
                    let signature = self.setup.signs.sign(&request.to_be_signed()).unwrap();
                    self.device.signature(signature, self.now);
                }
                other => self.device_events.push_back(other),
            }
        }
    }
}

fn pieces(bytes: Option<&[u8]>, piece: usize) -> impl Iterator<Item = &[u8]> {
    bytes.unwrap_or_default().chunks(piece)
}
