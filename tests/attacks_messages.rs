//! Messages out of place and frames out of shape, at both ends.

use device::connect::attempt::AttemptResult;
use keys::profile::Profile;
use keys::tls::{Kind, Listener};
use protocol::facts::PROTOCOL_VERSION;
use protocol::frame::FRAME_HEADER;
use protocol::limits::LIMITS;
use protocol::message::{AppRef, ToDevice, ToServer, Welcome};
use protocol::reason::RestartReason;
use server::gateway::Turned;
use vouch_tests::attacker::{FalseGateway, Intruder, Script, frame};
use vouch_tests::product::Product;
use vouch_tests::site::Site;

/// The frame with one byte after its message, counted in its length.
fn trailing(mut frame: Vec<u8>) -> Vec<u8> {
    frame.push(0);
    let length = u32::try_from(frame.len() - FRAME_HEADER).unwrap();
    frame[..FRAME_HEADER].copy_from_slice(&length.to_be_bytes());
    frame
}

fn too_long() -> Vec<u8> {
    u32::try_from(LIMITS.frame_before_welcome + 1).unwrap().to_be_bytes().to_vec()
}

/// Runs the device against a gateway that has the real one's TLS keys and says this instead of what is due.
async fn device_breaks_off(site: &Site, product: &Product, what: &str, then: Vec<u8>, closes: bool) {
    let config = site.tls().config(Kind { profile: product.profile, listener: Listener::Session });
    let gateway = FalseGateway::start(config, Script { then, closes, ..Script::default() }).await;
    product.dial_only(gateway.at);
    let mut device = product.run();
    let round = device.failed_round().await;
    assert_eq!(round.len(), 3, "{what}: {round:?}");
    assert!(round.iter().all(|(_, result)| matches!(result, AttemptResult::LoginBroken { .. })), "{what}: {round:?}");
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_takes_no_message_before_welcome() {
    let site = Site::start().await;
    let product = Product::provision(&site, Profile::Modern).await;
    let challenge = || ToDevice::Challenge { nonce: [7; 32] };
    let app = || ToDevice::App { name: "x".to_owned(), value: vec![] };
    let available = || ToDevice::AppAvailable(AppRef { sha256: [7; 32], len: 7 });
    let restart = || ToDevice::Restart { reason: RestartReason::Asked };
    for early in [app, available, restart] {
        device_breaks_off(&site, &product, "instead of the challenge", frame(&early()), false).await;
        let then = [frame(&challenge()), frame(&early())].concat();
        device_breaks_off(&site, &product, "after the challenge", then, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_takes_no_welcome_without_a_challenge() {
    let site = Site::start().await;
    let product = Product::provision(&site, Profile::Modern).await;
    let welcome = ToDevice::Welcome(welcome_of(&product));
    device_breaks_off(&site, &product, "welcome", frame(&welcome), false).await;
}

fn welcome_of(product: &Product) -> Welcome {
    Welcome {
        device_id: product.identity().public().device_id(),
        unix_ms: 1_800_000_000_000,
        keepalive_s: LIMITS.keepalive_default_s,
        app: None,
        agent_url: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_refuses_a_frame_too_long_truncated_or_with_trailing_bytes() {
    let site = Site::start().await;
    for profile in Profile::ALL {
        let product = Product::provision(&site, profile).await;
        let challenge = frame(&ToDevice::Challenge { nonce: [7; 32] });
        device_breaks_off(&site, &product, "too long", too_long(), false).await;
        device_breaks_off(&site, &product, "trailing", trailing(challenge.clone()), false).await;
        let half = challenge[..challenge.len() / 2].to_vec();
        device_breaks_off(&site, &product, "truncated", half, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_takes_no_message_before_welcome() {
    let mut site = Site::start().await;
    let roots = site.pki().server_roots;
    let product = Product::provision(&site, Profile::Modern).await;
    let app = ToServer::App { name: "x".to_owned(), value: vec![] };
    let want = ToServer::WantApp { sha256: [7; 32], offset: 0 };
    for early in [&app, &want, &ToServer::Ping, &ToServer::Logs { ring: [0; 8], first: 0, lines: vec![] }] {
        for challenged in [false, true] {
            let mut intruder = Intruder::with_tls_keys_of(&product, &roots, site.gateway()).await;
            if challenged {
                intruder.challenge(product.identity().public().spki_hash()).await;
            }
            intruder.send(early).await;
            assert_eq!(intruder.recv().await.unwrap(), None, "{early:?}");
            turned_as(&mut site, Turned::Broken).await;
        }
    }
    assert_eq!(site.counters.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_refuses_a_frame_too_long_truncated_or_with_trailing_bytes() {
    let mut site = Site::start().await;
    let roots = site.pki().server_roots;
    for profile in Profile::ALL {
        let product = Product::provision(&site, profile).await;
        let identity = product.identity().public().spki_hash();
        let hello = frame(&ToServer::Hello { version: PROTOCOL_VERSION, identity });
        for bytes in [too_long(), trailing(hello.clone())] {
            let mut intruder = Intruder::with_tls_keys_of(&product, &roots, site.gateway()).await;
            intruder.send_bytes(&bytes).await;
            assert_eq!(intruder.recv().await.unwrap(), None);
            turned_as(&mut site, Turned::Broken).await;
        }
        let mut intruder = Intruder::with_tls_keys_of(&product, &roots, site.gateway()).await;
        intruder.send_bytes(&hello[..hello.len() - 1]).await;
        drop(intruder);
        turned_as(&mut site, Turned::Gone).await;
    }
    assert_eq!(site.counters.logins(), 0);
}

async fn turned_as(site: &mut Site, expected: Turned) {
    assert_eq!(site.turned().await.0, expected);
}
