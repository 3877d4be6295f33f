//! The child's end of the socketpair: one question and one answer at a time, each with a bounded wait.
//!
//! The exchange blocks its thread, since rustls asks for the TLS key's signature synchronously. No thread that answers is
//! waited for here: the parent is another process, and whoever holds the line gives it back when its own wait is over. While
//! the parent installs an image it answers nothing else; a signature is refused at once then.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use keys::cbor;
use keys::cose::CosePurpose;
use keys::pki::CertDer;
use keys::public::PublicKey;
use protocol::reason::OsTrouble;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::sync::Notify;
use vault::VaultKeys;
use zeroize::Zeroizing;

use super::message::{Answer, Question, Reply, Request, SignFor, encode};
use crate::booted::Booted;
use crate::device_keys::ParentKeys;
use crate::limits::Limits;
use crate::network::StaticNetwork;

/// How often a wait looks whether its time is over.
const TICK: Duration = Duration::from_millis(250);
/// How long a signature waits before it looks again whether the line is free.
const LINE_PAUSE: Duration = Duration::from_millis(2);

/// The child's end of the socketpair, shared by all that ask.
#[derive(Clone, Debug)]
pub struct ParentLink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    /// The line is taken, or about to be, for as long as an installation lasts.
    is_installing: AtomicBool,
    gone: Notify,
}

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    wait: Duration,
    install_wait: Duration,
    answer_most: usize,
    number: u64,
}

/// What a child begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) keys: ParentKeys,
    pub(crate) tls_chain: Vec<CertDer>,
    pub(crate) vault_keys: VaultKeys,
    pub(crate) counter: Option<u64>,
    pub(crate) booted: Booted,
    /// The root metadata that apps are verified from, where the anchors demand that.
    pub(crate) root: Option<Vec<u8>>,
}

/// Why the parent did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// This process has no parent that could.
    #[error("only a device that was started with `vouch device boot` can have a static network")]
    NoParent,
    /// The parent tried and failed, or refused.
    #[error("{0}")]
    Failed(String),
    /// The OS image is not installed.
    #[error("{why}")]
    NotInstalled {
        /// Why, as the server counts it.
        trouble: OsTrouble,
        /// The same for people.
        why: String,
    },
    /// The parent did not answer in time.
    #[error("the parent process did not answer within {0:?}")]
    Silent(Duration),
    /// The parent is busy for longer than a signature waits.
    #[error("the parent process is installing an OS image")]
    Installing,
    /// The parent's answer cannot be understood.
    #[error("the parent process answered something else than was asked for")]
    Strange,
    /// The socketpair broke.
    #[error("the parent process is gone: {0}")]
    Gone(#[from] io::Error),
}

impl ParentLink {
    /// Takes the link that the parent gave this process as its standard input. From now on this process is killed when its
    /// parent ends, however that ends: a successor would start another child on the same vault.
    ///
    /// # Errors
    /// [`ParentError::NoParent`] when standard input is something else, [`ParentError::Gone`] when the parent has ended.
    pub fn from_standard_input(limits: &Limits) -> Result<ParentLink, ParentError> {
        let input = io::stdin();
        let is_packets = sockopt::socket_type(&input).is_ok_and(|kind| kind == SocketType::SEQPACKET);
        let is_local = sockopt::socket_domain(&input).is_ok_and(|family| family == AddressFamily::UNIX);
        if !is_packets || !is_local {
            return Err(ParentError::NoParent);
        }
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
        // Whoever made the socketpair; another parent than that took this process over before the signal was set.
        if getppid() != Some(sockopt::socket_peercred(&input).map_err(io::Error::from)?.pid) {
            return Err(ParentError::Gone(io::ErrorKind::NotConnected.into()));
        }
        let socket = rustix::io::fcntl_dupfd_cloexec(&input, 3).map_err(io::Error::from)?;
        let nothing = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing).map_err(io::Error::from)?;
        ParentLink::new(socket.into(), limits)
    }

    pub(super) fn new(socket: UnixDatagram, limits: &Limits) -> Result<ParentLink, ParentError> {
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(limits.parent_wait))?;
        // Once and for all: a process that is locked down cannot change it any more.
        socket.set_read_timeout(Some(limits.parent_wait.min(TICK)))?;
        let line = Line {
            socket,
            wait: limits.parent_wait,
            install_wait: limits.install_wait,
            answer_most: limits.parent_answer,
            number: 0,
        };
        Ok(ParentLink(Arc::new(Shared {
            line: Mutex::new(line),
            is_installing: AtomicBool::new(false),
            gone: Notify::new(),
        })))
    }

    /// Ends when a question found that there is no parent any more.
    pub(crate) async fn gone(&self) {
        self.0.gone.notified().await;
    }

    /// Asks who this device is, and what opens its vault.
    pub(crate) fn begin(&self) -> Result<Beginning, ParentError> {
        let line = self.0.line.lock().unwrap_or_else(PoisonError::into_inner);
        let Answer::Start(start) = self.ask(line, Request::Start)? else { return Err(ParentError::Strange) };
        if start.root.is_some() != start.booted.root_version.is_some() {
            return Err(ParentError::Strange);
        }
        let identity = PublicKey::from_spki_der(&start.identity_spki).map_err(|_| ParentError::Strange)?;
        Ok(Beginning {
            keys: ParentKeys { link: self.clone(), identity, level: start.attestation },
            tls_chain: start.tls_chain.iter().map(|certificate| CertDer::from(certificate.to_vec())).collect(),
            vault_keys: VaultKeys::from_exposed(&start.vault_keys.0).map_err(|_| ParentError::Strange)?,
            counter: start.counter,
            booted: start.booted,
            root: start.root.map(Into::into),
        })
    }

    /// Has the identity key sign this payload for this purpose: r and s of ES256.
    pub(crate) fn sign(&self, purpose: CosePurpose, payload: &[u8]) -> Result<[u8; 64], ParentError> {
        let purpose = SignFor::of(purpose).ok_or_else(|| ParentError::Failed("no child enrols a device".to_owned()))?;
        let signature = self.signature(Request::Sign { purpose, payload: payload.to_vec().into() })?;
        signature.try_into().map_err(|_| ParentError::Strange)
    }

    /// Has the TLS key sign a handshake.
    pub(crate) fn sign_tls(&self, message: &[u8]) -> Result<Vec<u8>, ParentError> {
        self.signature(Request::SignTls(message.to_vec().into()))
    }

    /// Steps the hardware counter to this value.
    pub(crate) fn step_counter(&self, to: u64) -> Result<(), ParentError> {
        self.done(Request::StepCounter { to })
    }

    /// Says that this image has opened an authenticated session.
    pub(crate) async fn confirm(&self) -> Result<(), ParentError> {
        self.done_aside(Request::Confirm).await
    }

    /// Has the parent judge and install the image in the staging folder. The parent then ends this process.
    pub(crate) async fn install(&self, manifest: Vec<u8>, content_key: Vec<u8>) -> Result<(), ParentError> {
        let request = Request::Install { manifest: manifest.into(), content_key: content_key.into() };
        self.done_aside(request).await
    }

    /// Has the parent verify the root metadata in the staging folder; the newest is believed from then on.
    pub(crate) async fn learn_roots(&self) -> Result<Vec<u8>, ParentError> {
        let link = self.clone();
        let asking = tokio::task::spawn_blocking(move || link.newest_root());
        asking.await.map_err(|_| ParentError::Gone(io::ErrorKind::Interrupted.into()))?
    }

    fn newest_root(&self) -> Result<Vec<u8>, ParentError> {
        let line = self.0.line.lock().unwrap_or_else(PoisonError::into_inner);
        match self.ask(line, Request::LearnRoots)? {
            Answer::Root(root) => Ok(root.into()),
            _ => Err(ParentError::Strange),
        }
    }

    /// Has the parent put this network in force.
    pub(crate) async fn apply(&self, network: &StaticNetwork) -> Result<(), ParentError> {
        self.done_aside(Request::Apply(network.clone())).await
    }

    /// Has the parent take out the network that it put in force, if there is one.
    pub(crate) async fn remove(&self) -> Result<(), ParentError> {
        self.done_aside(Request::Remove).await
    }

    /// Asks without holding up what else this thread has to do.
    async fn done_aside(&self, request: Request) -> Result<(), ParentError> {
        let link = self.clone();
        let asking = tokio::task::spawn_blocking(move || link.done(request));
        asking.await.map_err(|_| ParentError::Gone(io::ErrorKind::Interrupted.into()))?
    }

    fn done(&self, request: Request) -> Result<(), ParentError> {
        let is_install = matches!(request, Request::Install { .. });
        if is_install {
            self.0.is_installing.store(true, Ordering::SeqCst);
        }
        // Somebody who panicked left a number behind at most, and every question has its own.
        let answer = self.ask(self.0.line.lock().unwrap_or_else(PoisonError::into_inner), request);
        if is_install {
            self.0.is_installing.store(false, Ordering::SeqCst);
        }
        match answer? {
            Answer::Done => Ok(()),
            _ => Err(ParentError::Strange),
        }
    }

    /// Asked for by rustls on the thread on which all else runs: what holds the line for long is not waited for.
    fn signature(&self, request: Request) -> Result<Vec<u8>, ParentError> {
        let line = loop {
            match self.0.line.try_lock() {
                Ok(line) => break line,
                Err(TryLockError::Poisoned(line)) => break line.into_inner(),
                Err(TryLockError::WouldBlock) if self.0.is_installing.load(Ordering::SeqCst) => {
                    return Err(ParentError::Installing);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LINE_PAUSE),
            }
        };
        match self.ask(line, request)? {
            Answer::Signature(signature) => Ok(signature.into()),
            _ => Err(ParentError::Strange),
        }
    }

    fn ask(&self, mut line: MutexGuard<'_, Line>, request: Request) -> Result<Answer, ParentError> {
        match line.ask(request) {
            Ok(Answer::Failed(why)) => Err(ParentError::Failed(why)),
            Ok(Answer::NotInstalled { trouble, why }) => Err(ParentError::NotInstalled { trouble, why }),
            Err(error @ ParentError::Gone(_)) => {
                self.0.gone.notify_one();
                Err(error)
            }
            other => other,
        }
    }
}

impl Line {
    fn ask(&mut self, request: Request) -> Result<Answer, ParentError> {
        self.number = self.number.wrapping_add(1);
        let wait = if matches!(request, Request::Install { .. }) { self.install_wait } else { self.wait };
        let silent = || ParentError::Silent(wait);
        let until = Instant::now() + wait;
        let sent = self.socket.send(&encode(&Question { number: self.number, request }));
        sent.map_err(|error| if is_timeout(&error) { silent() } else { error.into() })?;
        let mut packet = Zeroizing::new(vec![0; self.answer_most]);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(silent());
            }
            let length = match self.socket.recv(&mut packet) {
                Ok(0) => return Err(ParentError::Gone(io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => length,
                // How long is left is looked at again.
                Err(error) if is_timeout(&error) => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let packet = packet.get(..length).unwrap_or_default();
            let reply: Reply = cbor::decode(packet).map_err(|_| ParentError::Strange)?;
            // The answer to a question that was given up comes late, and is not this one's.
            if reply.number == self.number {
                return Ok(reply.answer);
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::limits::LIMITS;
    use rustix::net::{SocketFlags, socketpair};

    /// A link and its other end.
    pub(crate) fn pair() -> (ParentLink, UnixDatagram) {
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let limits = Limits { parent_wait: Duration::from_millis(50), ..LIMITS };
        (ParentLink::new(near.into(), &limits).unwrap(), far.into())
    }

    /// A link to a parent that does what it is asked and says in the end what that was.
    pub(crate) fn obeying() -> (ParentLink, std::thread::JoinHandle<Vec<String>>) {
        let (link, parent) = pair();
        let obey = move || {
            let mut asked = Vec::new();
            let mut packet = [0; 1024];
            while let Ok(length @ 1..) = parent.recv(&mut packet) {
                let Question { number, request } = cbor::decode(&packet[..length]).unwrap();
                asked.push(format!("{request:?}"));
                parent.send(&encode(&Reply { number, answer: Answer::Done })).unwrap();
            }
            asked
        };
        (link, std::thread::spawn(obey))
    }

    fn answered(answers: &[Reply]) -> Result<(), ParentError> {
        let (link, parent) = pair();
        for answer in answers {
            parent.send(&encode(answer)).unwrap();
        }
        link.done(Request::Remove)
    }

    #[test]
    fn each_answer_of_the_parent_has_its_own_meaning() {
        answered(&[Reply { number: 1, answer: Answer::Done }]).unwrap();
        let failed = answered(&[Reply { number: 1, answer: Answer::Failed("why".to_owned()) }]);
        assert!(matches!(failed, Err(ParentError::Failed(why)) if why == "why"));
        let other = answered(&[Reply { number: 1, answer: Answer::Signature(vec![1].into()) }]);
        assert!(matches!(other, Err(ParentError::Strange)));
        let (link, parent) = pair();
        parent.send(b"{}").unwrap();
        assert!(matches!(link.done(Request::Remove), Err(ParentError::Strange)));
    }

    #[test]
    fn an_answer_passes_up_to_its_longest_and_no_longer() {
        let passes = |length: usize| answered(&[Reply { number: 1, answer: Answer::Failed("x".repeat(length)) }]);
        let overhead = encode(&Reply { number: 1, answer: Answer::Failed("x".repeat(70_000)) }).len() - 70_000;
        let longest = LIMITS.parent_answer - overhead;
        assert!(matches!(passes(longest), Err(ParentError::Failed(why)) if why.len() == longest));
        assert!(matches!(passes(longest + 1), Err(ParentError::Strange)));
    }

    #[test]
    fn a_late_answer_is_not_taken_for_the_next_one() {
        let late = Reply { number: 0, answer: Answer::Failed("late".to_owned()) };
        answered(&[late, Reply { number: 1, answer: Answer::Done }]).unwrap();
    }

    #[test]
    fn a_silent_parent_is_not_waited_for_and_a_dead_one_is_noticed() {
        let (link, parent) = pair();
        assert!(matches!(link.done(Request::Remove), Err(ParentError::Silent(_))));
        drop(parent);
        assert!(matches!(link.done(Request::Remove), Err(ParentError::Gone(_))));
    }

    #[tokio::test]
    async fn that_the_parent_is_gone_is_told_to_whoever_waits_for_it() {
        let (link, parent) = pair();
        drop(parent);
        link.sign_tls(b"x").unwrap_err();
        link.gone().await;
    }

    #[test]
    fn a_signature_does_not_wait_for_an_installation() {
        let (link, parent) = pair();
        let installing = {
            let link = link.clone();
            let request = Request::Install { manifest: Vec::new().into(), content_key: Vec::new().into() };
            std::thread::spawn(move || link.done(request))
        };
        let mut packet = [0; 1024];
        let length = parent.recv(&mut packet).unwrap();
        let Question { number, .. } = cbor::decode(&packet[..length]).unwrap();
        assert!(matches!(link.sign_tls(b"x"), Err(ParentError::Installing)));
        parent.send(&encode(&Reply { number, answer: Answer::Done })).unwrap();
        installing.join().unwrap().unwrap();
        assert!(matches!(link.sign_tls(b"x"), Err(ParentError::Silent(_))), "and asks again afterwards");
    }

    #[test]
    fn a_parent_that_answers_other_questions_only_is_silent_too() {
        let (link, parent) = pair();
        let stop = std::thread::spawn(move || {
            while parent.send(&encode(&Reply { number: 77, answer: Answer::Done })).is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        assert!(matches!(link.done(Request::Remove), Err(ParentError::Silent(_))));
        drop(link);
        stop.join().unwrap();
    }

    #[test]
    fn an_enrolment_is_not_even_asked_for() {
        let (link, _parent) = pair();
        assert!(matches!(link.sign(CosePurpose::Enrolment, b"x"), Err(ParentError::Failed(_))));
    }

    #[test]
    fn a_standard_input_that_is_no_parent_is_refused() {
        assert!(matches!(ParentLink::from_standard_input(&LIMITS), Err(ParentError::NoParent)));
    }
}
