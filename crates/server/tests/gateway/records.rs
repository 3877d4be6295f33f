//! Sessions whose records the gateway opens and seals itself, against rustls at the device.

use keys::profile::Profile;
use protocol::limits::LIMITS;
use protocol::reason::CloseReason;
use protocol::session::DeviceEvent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vouch_server::bus::{AgentInbox, AgentTicket, ToAgent};

use crate::login::message_to_device;
use crate::rig::Rig;
use crate::rig::device::TestDevice;
use crate::rig::link::Link;

async fn agent(rig: &Rig, device: &TestDevice) -> (AgentTicket, AgentInbox) {
    let agent = rig.store.device_login(device.spki()).await.unwrap().unwrap().agent;
    rig.bus.register_agent(device.spki(), agent)
}

/// The next message that the agent gets.
async fn heard(inbox: &mut AgentInbox) -> Vec<u8> {
    loop {
        match inbox.recv().await {
            Some(ToAgent::Message(message)) => return message.message.value,
            Some(_) => {}
            None => panic!("the agent is gone"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_updates_its_keys_is_followed() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let (_ticket, mut inbox) = agent(&rig, &device).await;
    let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
    for number in 0..40_u8 {
        // It asks the gateway to do the same.
        link.tls.get_mut().1.refresh_traffic_keys().unwrap();
        link.send_app("up", &[number]).await;
        assert_eq!(heard(&mut inbox).await, [number]);
        rig.bus.to_session(&device.spki(), message_to_device("down", vec![number])).unwrap();
        assert!(matches!(link.event().await, DeviceEvent::App { value, .. } if value == [number]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_in_small_writes_and_many_small_ones_arrive_whole() {
    for profile in Profile::ALL {
        let rig = Rig::start().await;
        let device = rig.device(profile).await;
        let (_ticket, mut inbox) = agent(&rig, &device).await;
        let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
        let largest: Vec<u8> = (0..LIMITS.app_value).map(|at| (at % 251) as u8).collect();
        link.machine.send_app("large", &largest).unwrap();
        let frames = link.machine.poll_transmit().unwrap();
        // Each write is a record of its own.
        for piece in frames.chunks(1_000) {
            link.tls.write_all(piece).await.unwrap();
            link.tls.flush().await.unwrap();
        }
        assert_eq!(heard(&mut inbox).await, largest);
        for number in 0..500_u16 {
            link.send_app("small", &number.to_be_bytes()).await;
        }
        for number in 0..500_u16 {
            assert_eq!(heard(&mut inbox).await, number.to_be_bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_ends_ends_with_a_goodbye() {
    for profile in Profile::ALL {
        let rig = Rig::start().await;
        let device = rig.device(profile).await;
        let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
        rig.bus.close_session(&device.spki(), CloseReason::Revoked);
        assert!(matches!(link.event().await, DeviceEvent::Closed { reason: CloseReason::Revoked, .. }));
        // A connection that was cut would be an error here.
        assert_eq!(link.tls.read(&mut [0; 16]).await.unwrap(), 0, "{profile}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_forged_record_ends_the_session_with_an_alert() {
    for profile in Profile::ALL {
        let rig = Rig::start().await;
        let device = rig.device(profile).await;
        let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
        let mut forged = vec![23, 3, 3, 0, 64];
        forged.resize(5 + 64, 0x5a);
        link.tls.get_mut().0.write_all(&forged).await.unwrap();
        let told = loop {
            match link.tls.read(&mut [0; 1024]).await {
                Ok(length) => assert!(length > 0, "an alert must come before the end"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(told.contains("BadRecordMac"), "{profile}: {told}");
        rig.until(|counters| counters.sessions() == 0).await;
    }
}
