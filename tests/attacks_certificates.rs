//! Certificates: another operator's, a public authority's, another profile's, at both ends.

use std::process::Command;
use std::sync::Arc;

use device::connect::attempt::AttemptResult;
use keys::profile::Profile;
use protocol::facts::PORTS;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, RsaKeySize};
use server::gateway::{GatewayEventKind, Turned};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use vouch_tests::attacker::{FalseGateway, Intruder, Script, client, server_showing, stolen_key};
use vouch_tests::product::Product;
use vouch_tests::site::{NAME, Operator, Site};

/// All results of a round are this one, on the ports of the rule in its order.
fn on_every_port(round: &[(u16, AttemptResult)], expected: impl Fn(&AttemptResult) -> bool) {
    let ports: Vec<u16> = round.iter().map(|(rule_port, _)| *rule_port).collect();
    assert_eq!(ports, PORTS, "{round:?}");
    assert!(round.iter().all(|(_, result)| expected(result)), "{round:?}");
}

/// The alerts of the next TLS failure: received, sent.
async fn alerts(site: &mut Site) -> (Option<String>, Option<String>) {
    site.event(|what| match what {
        GatewayEventKind::TlsFailed { alert_received, alert_sent, .. } => {
            Some((alert_received.clone(), alert_sent.clone()))
        }
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_certificate_of_another_operator_is_refused() {
    let (ours, mut theirs) = (Site::start().await, Site::of(Operator::Theirs).await);
    for profile in Profile::ALL {
        let product = Product::provision(&ours, profile).await;
        product.change_config(|config| {
            config.address = Some(theirs.ip.into());
            config.ports = theirs.ports();
        });
        let mut device = product.run();
        on_every_port(&device.failed_round().await, |result| matches!(result, AttemptResult::TlsCertificate { .. }));
        assert_eq!(alerts(&mut theirs).await, (Some("UnknownCA".to_owned()), None));
        device.stop().await;
    }
    assert_eq!(theirs.counters.logins(), 0);
}

/// A chain as a public authority hands it out for our server's name: leaf, intermediate, root; and the leaf's key.
fn public_chain(profile: Profile) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = || match profile {
        Profile::Classic => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
        Profile::Modern => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
    };
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let root = CertifiedIssuer::self_signed(authority("Public Root X1"), key()).unwrap();
    let intermediate = CertifiedIssuer::signed_by(authority("Public Intermediate R3"), key(), &root).unwrap();
    let leaf_key = key();
    let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&leaf_key, &intermediate).unwrap();
    let chain = vec![leaf.der().clone(), intermediate.der().clone(), root.der().clone()];
    (chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_authoritys_certificate_for_the_right_name_is_refused() {
    let site = Site::start().await;
    for profile in Profile::ALL {
        let product = Product::provision(&site, profile).await;
        let (chain, key) = public_chain(profile);
        let mut gateway = FalseGateway::start(server_showing(chain, &key), Script::default()).await;
        product.dial_only(gateway.at);
        let mut device = product.run();
        on_every_port(&device.failed_round().await, |result| matches!(result, AttemptResult::TlsCertificate { .. }));
        let error = gateway.heard().await.expect_err("TLS must fail");
        assert!(error.contains("UnknownCA"), "{error}");
        device.stop().await;
    }
}

#[test]
fn a_device_carries_no_store_of_public_authorities() {
    let cargo = std::env::var_os("CARGO").expect("cargo names itself to tests");
    let tree = Command::new(cargo)
        .args(["tree", "--offline", "-p", "vouch-device", "-e", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("rustls "), "{tree}");
    for store in ["webpki-roots", "webpki-root-certs", "rustls-native-certs", "rustls-platform-verifier", "native-tls"]
    {
        assert!(!tree.lines().any(|line| line.starts_with(store)), "the device depends on {store}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_the_other_profiles_certificate_is_refused() {
    let site = Site::start().await;
    let pki = site.pki();
    for (speaks, shows) in [(Profile::Classic, Profile::Modern), (Profile::Modern, Profile::Classic)] {
        let product = Product::provision(&site, speaks).await;
        let stolen = pki.gateway(shows);
        let config = server_showing(stolen.chain().to_vec(), &stolen_key(stolen, &site.pki_folder()));
        let mut gateway = FalseGateway::start(config, Script::default()).await;
        product.dial_only(gateway.at);
        let mut device = product.run();
        on_every_port(&device.failed_round().await, |result| {
            matches!(result, AttemptResult::TlsCertificate { .. } | AttemptResult::TlsAlert { .. })
        });
        assert!(gateway.heard().await.is_err(), "TLS must fail");
        device.stop().await;
    }
    assert_eq!(site.counters.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_certificate_of_another_operator_is_refused() {
    let (mut ours, theirs) = (Site::start().await, Site::of(Operator::Theirs).await);
    for profile in Profile::ALL {
        let (foreign, native) = (Product::provision(&theirs, profile).await, Product::provision(&ours, profile).await);
        // It trusts our server, as every device of ours does, so that it is the server that has to refuse.
        foreign.takes_server_of(&native);
        let mut device = foreign.run();
        on_every_port(
            &device.failed_round().await,
            |result| matches!(result, AttemptResult::TlsAlert { alert } if alert == "UnknownCA"),
        );
        assert_eq!(alerts(&mut ours).await, (None, Some("UnknownCA".to_owned())));
        device.stop().await;
    }
    assert_eq!(ours.counters.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_certificate_of_the_other_profile_is_refused() {
    let mut site = Site::start().await;
    let roots = site.pki().server_roots;
    let products =
        [Product::provision(&site, Profile::Classic).await, Product::provision(&site, Profile::Modern).await];
    let configs = products.each_ref().map(|product| client(&product.credential(), &roots, product.profile));
    for (speaks, shows) in [(&configs[0], &configs[1]), (&configs[1], &configs[0])] {
        let mut config = ClientConfig::clone(speaks);
        config.client_auth_cert_resolver = Arc::clone(&shows.client_auth_cert_resolver);
        let refused = match Intruder::connect(Arc::new(config), site.gateway()).await {
            Err(_) => true,
            // In TLS 1.3 the server's verdict comes after the client's last flight.
            Ok(mut intruder) => intruder.recv().await.is_err(),
        };
        assert!(refused);
        let turned = site.event(|what| match what {
            GatewayEventKind::Turned {
                reason: reason @ (Turned::HandshakeFailed | Turned::CertificateRefused),
                ..
            } => Some(*reason),
            _ => None,
        });
        turned.await;
    }
    assert_eq!(site.counters.logins(), 0);
}
