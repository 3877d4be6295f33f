//! A slow agent, a slow reader, a silent peer: each delays itself and nobody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::rig::device::TestDevice;
use crate::rig::link::{Link, RawLink, answer};
use crate::rig::{Rig, operator};
use keys::pki::{Credential, ServingPki};
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::secret::Secret;
use keys::signer::{KeyHolder, SignError, Signer};
use protocol::limits::LIMITS;
use protocol::message::{ToDevice, ToServer};
use protocol::reason::CloseReason;
use protocol::session::DeviceEvent;
use vouch_server::bus::{AgentInbox, AgentTicket, AppMessage, DeviceMessage, Full, ToAgent};
use vouch_server::gateway::{GatewayEventKind, GatewayLimits};
use vouch_server::limits::{LIMITS as SERVER_LIMITS, Limits};

const AGENT_INBOX: usize = 4;

async fn agent(rig: &Rig, device: &TestDevice) -> (AgentTicket, AgentInbox) {
    let agent = rig.store.device_login(device.spki()).await.unwrap().unwrap().agent;
    rig.bus.register_agent(device.spki(), agent)
}

async fn message(inbox: &mut AgentInbox) -> Box<DeviceMessage> {
    loop {
        match tokio::time::timeout(crate::rig::PATIENCE, inbox.recv()).await.expect("a message must come") {
            Some(ToAgent::Message(message)) => return message,
            Some(_) => {}
            None => panic!("the agent was replaced"),
        }
    }
}

/// A session whose device says only what the test says.
async fn raw_session(rig: &Rig, device: &TestDevice) -> RawLink {
    let mut link = RawLink::connect(device, rig.addr()).await.unwrap();
    let nonce = link.challenge(device).await;
    let proof = answer(device, &device.identity, nonce, link.exporter);
    assert_eq!(link.prove(proof).await, None);
    link
}

/// Fills the way to a device that does not read, until the bus has no room.
async fn stuff(rig: &Rig, device: &TestDevice) {
    let fill = async {
        loop {
            let message = Box::new(AppMessage { name: "x".to_owned(), value: vec![0; LIMITS.app_value] });
            if let Err(Full(_)) = rig.bus.to_session(&device.spki(), message) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::rig::PATIENCE, fill).await.expect("the way is bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_agent_holds_up_its_own_device_only_and_pings_go_on() {
    let limits = Limits { agent_inbox: AGENT_INBOX, ..SERVER_LIMITS };
    let rig = Rig::with(GatewayLimits::default(), limits, LIMITS.keepalive_min_s).await;
    let (slow, quick) = (rig.device(Profile::Modern).await, rig.device(Profile::Modern).await);
    let (_slow_ticket, mut slow_inbox) = agent(&rig, &slow).await;
    let (_quick_ticket, mut quick_inbox) = agent(&rig, &quick).await;
    let mut link = raw_session(&rig, &slow).await;
    let many = 200u8;
    for number in 0..many {
        link.send(&ToServer::App { name: "n".to_owned(), value: vec![number] }).await;
    }
    let (mut other, _) = Link::login(&quick, rig.addr()).await.unwrap();
    for _ in 0..20 {
        other.send_app("quick", b"").await;
        assert_eq!(message(&mut quick_inbox).await.message.name, "quick");
    }
    // The gateway reads nothing of the slow one, so no pong of it could be heard; it is asked all the same, and not given up.
    assert!(matches!(link.recv().await, Some(ToDevice::Ping)));
    for number in 0..many {
        assert_eq!(message(&mut slow_inbox).await.message.value, [number]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_read_is_cut_and_delays_nobody() {
    let write_deadline = Duration::from_secs(1);
    let mut rig = Rig::with(GatewayLimits { write_deadline, ..GatewayLimits::default() }, SERVER_LIMITS, 60).await;
    let (stuck, quick) = (rig.device(Profile::Modern).await, rig.device(Profile::Modern).await);
    let _link = raw_session(&rig, &stuck).await;
    let (mut other, _) = Link::login(&quick, rig.addr()).await.unwrap();
    stuff(&rig, &stuck).await;
    rig.bus.to_session(&quick.spki(), Box::new(AppMessage { name: "quick".to_owned(), value: vec![] })).unwrap();
    assert!(matches!(other.event().await, DeviceEvent::App { name, .. } if name == "quick"));
    let ended = rig.event(|event| match &event.what {
        GatewayEventKind::Ended { device_id, reason } => Some((device_id.clone(), reason.clone())),
        _ => None,
    });
    let id = stuck.identity.public().device_id().to_string();
    assert_eq!(ended.await, (id, "the device does not read".to_owned()));
    assert!(!rig.bus.is_connected(&stuck.spki()) && rig.bus.is_connected(&quick.spki()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_a_session_even_of_a_device_that_does_not_read() {
    let mut rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let _link = raw_session(&rig, &device).await;
    stuff(&rig, &device).await;
    rig.store.revoke_device(device.identity.public().device_id()).await.unwrap();
    rig.bus.close_session(&device.spki(), CloseReason::Revoked);
    let ended = rig.event(|event| match &event.what {
        GatewayEventKind::Ended { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(ended.await, CloseReason::Revoked.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_a_session_whose_agent_is_full() {
    let limits = Limits { agent_inbox: AGENT_INBOX, ..SERVER_LIMITS };
    let mut rig = Rig::with(GatewayLimits::default(), limits, 60).await;
    let device = rig.device(Profile::Modern).await;
    let (_ticket, _inbox) = agent(&rig, &device).await;
    let mut link = raw_session(&rig, &device).await;
    for number in 0..200u8 {
        link.send(&ToServer::App { name: "n".to_owned(), value: vec![number] }).await;
    }
    rig.bus.close_session(&device.spki(), CloseReason::Revoked);
    assert!(matches!(link.recv().await, Some(ToDevice::Close { reason: CloseReason::Revoked, .. })));
    let ended = rig.event(|event| match &event.what {
        GatewayEventKind::Ended { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(ended.await, CloseReason::Revoked.to_string());
}

/// A key in a token that has stopped answering: each signature waits until it is let go, and then fails.
#[derive(Debug)]
struct StuckKey {
    asked: tokio::sync::mpsc::UnboundedSender<()>,
    let_go: Mutex<mpsc::Receiver<()>>,
    waited_in_vain: Arc<AtomicBool>,
}

impl KeyHolder for StuckKey {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
        let _ = self.asked.send(());
        let let_go = self.let_go.lock().unwrap().recv_timeout(crate::rig::PATIENCE);
        self.waited_in_vain.store(let_go.is_err(), Ordering::Relaxed);
        Err(SignError::Store("the token is away".to_owned()))
    }

    fn agree(&self, _: &[u8]) -> Result<Secret, SignError> {
        Err(SignError::Failed)
    }
}

/// One thread drives everything here: if the key held it up, nothing else could go on.
#[tokio::test]
async fn a_slow_key_outside_of_the_process_holds_up_nobody_else() {
    let ours = operator("Slow").serving;
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let (let_go, released) = mpsc::channel();
    let waited_in_vain = Arc::new(AtomicBool::new(false));
    let stuck = StuckKey { asked, let_go: Mutex::new(released), waited_in_vain: waited_in_vain.clone() };
    let [classic, modern] = ours.gateway;
    let public = modern.key().public().clone();
    let key = Signer::held(KeyPurpose::GatewayTlsModern, public, Arc::new(stuck)).unwrap();
    let modern = Credential::new(key, modern.chain().to_vec()).unwrap();
    let rig = Rig::of(Arc::new(ServingPki { gateway: [classic, modern], ..ours })).await;
    let mut waits = TestDevice::born(Profile::Modern, rig.pki.server_roots.clone());
    let (token, addr) = (rig.token(1).await, rig.addr());
    let waiting = tokio::spawn(async move { waits.enrol(addr, &token).await.is_err() });
    was_asked.recv().await.unwrap();
    let device = rig.device(Profile::Classic).await;
    Link::login(&device, rig.addr()).await.unwrap();
    let_go.send(()).unwrap();
    assert!(waiting.await.unwrap(), "a handshake without a signature went through");
    assert!(!waited_in_vain.load(Ordering::Relaxed), "the key held everybody up");
}
