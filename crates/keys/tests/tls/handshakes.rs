//! What both ends of a handshake agree on, and which handshakes never complete.

use std::sync::Arc;

use keys::{
    profile::Profile,
    purpose::KeyPurpose,
    tls::{
        ALPN_ENROL, ALPN_SESSION, HelloRefused, Kind, Listener, Negotiated, RecheckError, SessionMaterial, TlsError,
        client_session, exporter, recheck_client, recheck_server,
    },
};
use rustls::{
    CertificateError, Error, PeerIncompatible,
    crypto::{CryptoProvider, aws_lc_rs as provider},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use crate::{attacker::*, wire::*};

#[test]
fn each_profile_negotiates_exactly_what_it_promises_as_both_ends_see_it() {
    let expected = [
        (Profile::Classic, ["TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "X25519"]),
        (Profile::Modern, ["TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768"]),
    ];
    for (profile, [version, suite, group]) in expected {
        let connected = connect(&OURS.client(profile), &OURS.gateway()).unwrap_or_else(|e| panic!("{profile}: {e:?}"));
        let expected = Negotiated { version, suite, group, resumed: false };
        assert_eq!(Negotiated::of(&connected.client), expected);
        assert_eq!(Negotiated::of(&connected.server), expected);
        assert_eq!(connected.kind, Some(Kind { profile, listener: Listener::Session }));
        assert_eq!(connected.server.alpn_protocol(), Some(ALPN_SESSION));
        let device = recheck_client(chain(&connected.server), profile, at(START_S)).unwrap();
        assert_eq!(device.public.spki_hash(), OURS.device(profile).spki_hash());
        assert_eq!(device.facts.subject, "CN=0707070707070707");
        let gateway = recheck_server(chain(&connected.client), profile, at(START_S)).unwrap();
        assert_eq!(gateway.public.spki_hash(), OURS.gateway().server_spki(profile));
    }
}

#[test]
fn the_exporter_is_equal_at_both_ends_and_different_for_each_connection() {
    for profile in Profile::ALL {
        let (client, gateway) = (OURS.client(profile), OURS.gateway());
        let mut values = Vec::new();
        for _ in 0..3 {
            let connected = connect(&client, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
            let value = exporter(&connected.client).unwrap();
            assert_eq!(value, exporter(&connected.server).unwrap());
            assert!(!values.contains(&value), "{profile}: the exporter came twice");
            values.push(value);
        }
    }
}

#[test]
fn the_exporter_is_the_one_of_rfc_9266_with_an_empty_context_not_an_absent_one() {
    let connected = connect(&OURS.client(Profile::Classic), &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    let export =
        |context| connected.server.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", context).unwrap();
    assert_eq!(exporter(&connected.server).unwrap(), export(Some(&[])));
    // In TLS 1.2 the two differ (RFC 5705 section 4).
    assert_ne!(exporter(&connected.server).unwrap(), export(None));
}

#[test]
fn a_foreign_gateway_with_the_right_name_is_refused_and_its_certificate_is_noted() {
    for profile in Profile::ALL {
        let seen = Arc::default();
        let client = OURS.client_seeing(profile, START_S, Arc::clone(&seen));
        let error = refused_by_client(connect(&client, &FOREIGN.gateway()));
        assert!(matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer)), "{profile}: {error:?}");
        let facts = seen.take().unwrap();
        assert_eq!(facts.spki_hash, FOREIGN.gateway().server_spki(profile));
        assert_eq!(facts.issuer, format!("CN=foreign server root {profile}"));
        assert_eq!(seen.take(), None);
    }
}

#[test]
fn a_gateway_with_another_name_is_refused() {
    for profile in Profile::ALL {
        let gateway = OURS.gateway();
        let elsewhere = "elsewhere.example".try_into().unwrap();
        let result = connect_to(&OURS.client(profile), Answering::Gateway(&gateway), elsewhere);
        let error = refused_by_client(result);
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn a_device_certificate_shown_as_a_gateway_is_refused() {
    let device = OURS.device(Profile::Modern);
    let result = connect_to(&OURS.client(Profile::Modern), Answering::Config(showing(device, device)), name());
    assert!(matches!(refused_by_client(result), Error::InvalidCertificate(_)));
}

#[test]
fn the_gateway_certificate_of_the_other_profile_is_refused() {
    let gateway = &OURS.pki.serving;
    for (client, shown) in [(Profile::Modern, Profile::Classic), (Profile::Classic, Profile::Modern)] {
        // No signature scheme is shared, so a server that follows the rules cannot even answer.
        let honest = showing(gateway.gateway(shown), gateway.gateway(shown));
        assert!(connect_to(&OURS.client(client), Answering::Config(honest), name()).is_err(), "{client}");
        // One that shows it all the same meets a store that does not hold that profile's root.
        let forced = showing(gateway.gateway(shown), gateway.gateway(client));
        let error = refused_by_client(connect_to(&OURS.client(client), Answering::Config(forced), name()));
        assert!(matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer)), "{client}: {error:?}");
    }
}

#[test]
fn no_client_certificate_opens_no_session() {
    for version in [&TLS12, &TLS13] {
        let client = with_alpn(hostile(version, provider::default_provider()), &[ALPN_SESSION]);
        let error = refused_by_server(connect(&client, &OURS.gateway()));
        assert!(matches!(error, Error::NoCertificatesPresented), "{error:?}");
    }
}

#[test]
fn the_client_certificate_of_another_operator_is_refused() {
    for profile in Profile::ALL {
        let roots = OURS.roots();
        let credential = FOREIGN.device(profile);
        let (time, seen) = (clock(START_S), Arc::default());
        let material = SessionMaterial { profile, roots, credential, time, seen };
        let error = refused_by_server(connect(&client_session(material).unwrap(), &OURS.gateway()));
        assert!(matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer)), "{profile}: {error:?}");
    }
}

#[test]
fn the_client_certificate_of_the_other_profile_is_refused() {
    // In TLS 1.3 with the RSA certificate: the gateway asks for ECDSA only, so the client has none to show.
    let error = refused_by_server(connect(&Arc::new(presenting(OURS.device(Profile::Classic))), &OURS.gateway()));
    assert!(matches!(error, Error::NoCertificatesPresented), "{error:?}");
    // A client that shows it all the same.
    let mut forced = presenting(OURS.device(Profile::Classic));
    forced.client_auth_cert_resolver = Arc::new(Forced(Arc::new(CertifiedKey::new(
        OURS.device(Profile::Classic).chain().to_vec(),
        provider::sign::any_supported_type(&stolen(OURS.device(Profile::Modern))).unwrap(),
    ))));
    let error = refused_by_server(connect(&Arc::new(forced), &OURS.gateway()));
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error:?}");
}

#[test]
fn a_gateway_certificate_used_as_client_certificate_is_refused() {
    let config = presenting(OURS.pki.serving.gateway(Profile::Modern));
    let error = refused_by_server(connect(&Arc::new(config), &OURS.gateway()));
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error:?}");
}

#[test]
fn another_suite_is_refused_in_both_versions() {
    use provider::cipher_suite::*;
    for suite in [
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let only = CryptoProvider { cipher_suites: vec![suite], ..provider::default_provider() };
        let client = with_alpn(hostile(suite.version(), only), &[ALPN_SESSION]);
        let error = refused_by_server(connect(&client, &OURS.gateway()));
        assert!(
            matches!(error, Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)),
            "{suite:?}: {error:?}"
        );
    }
}

#[test]
fn another_group_is_refused_and_each_permitted_one_is_accepted() {
    use provider::kx_group::*;
    let answer = |version, group| {
        let only = CryptoProvider { kx_groups: vec![group], ..provider::default_provider() };
        let client = with_alpn(hostile(version, only), &[ALPN_ENROL]);
        connect(&client, &OURS.gateway()).map(|connected| Negotiated::of(&connected.server).group)
    };
    assert_eq!(answer(&TLS12, X25519).unwrap(), "X25519");
    assert_eq!(answer(&TLS12, SECP256R1).unwrap(), "secp256r1");
    assert!(answer(&TLS12, SECP384R1).is_err());
    assert_eq!(answer(&TLS13, X25519).unwrap(), "X25519");
    assert_eq!(answer(&TLS13, X25519MLKEM768).unwrap(), "X25519MLKEM768");
    assert!(answer(&TLS13, SECP256R1).is_err());
    assert!(answer(&TLS13, MLKEM1024).is_err());
}

#[test]
fn exactly_one_protocol_of_ours_is_taken_and_every_other_alpn_is_refused() {
    let refused = |alpn: &[&[u8]]| match connect(
        &with_alpn(hostile(&TLS13, provider::default_provider()), alpn),
        &OURS.gateway(),
    ) {
        Err(Refused::Hello(refused)) => refused,
        Err(other) => panic!("{alpn:?}: {other:?}"),
        Ok(_) => panic!("{alpn:?} accepted"),
    };
    assert_eq!(refused(&[]), HelloRefused::NoAlpn);
    assert_eq!(refused(&[ALPN_SESSION, ALPN_ENROL]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[ALPN_ENROL, ALPN_SESSION]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[ALPN_SESSION, ALPN_SESSION]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[b"h2"]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[b"h2", ALPN_SESSION]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[b"vouch/10"]), HelloRefused::WrongAlpn);
    let connected = connect(&with_alpn(hostile(&TLS13, provider::default_provider()), &[ALPN_ENROL]), &OURS.gateway());
    assert_eq!(connected.unwrap_or_else(|e| panic!("{e:?}")).kind.unwrap().listener, Listener::Enrolment);
}

#[test]
fn tls_below_1_2_is_refused() {
    let gateway = OURS.gateway();
    assert!(accept(&classic_hello([3, 3], true), Answering::Gateway(&gateway)).is_ok());
    for below in [[3, 0], [3, 1], [3, 2]] {
        match accept(&classic_hello(below, true), Answering::Gateway(&gateway)) {
            Err(Refused::Server(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))) => {}
            Err(other) => panic!("{below:?}: {other:?}"),
            Ok(_) => panic!("{below:?} accepted"),
        }
    }
}

#[test]
fn tls_1_2_without_the_extended_master_secret_is_refused() {
    let gateway = OURS.gateway();
    match accept(&classic_hello([3, 3], false), Answering::Gateway(&gateway)) {
        Err(Refused::Server(Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired))) => {}
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn certificates_are_accepted_to_their_last_second_and_not_beyond_at_both_ends() {
    let first = START_S - 24 * 3600;
    let last = START_S + LIFETIME_S;
    for profile in Profile::ALL {
        for (unix_s, valid) in [(first - 1, false), (first, true), (last, true), (last + 1, false)] {
            let device_checks = connect(&OURS.client_at(profile, unix_s), &OURS.gateway());
            let gateway_checks = connect(&OURS.client(profile), &OURS.gateway_at(unix_s));
            let recheck = recheck_client(Some(OURS.device(profile).chain()), profile, at(unix_s));
            if valid {
                assert!(device_checks.is_ok() && gateway_checks.is_ok() && recheck.is_ok(), "{profile} {unix_s}");
            } else {
                assert!(matches!(refused_by_client(device_checks), Error::InvalidCertificate(_)));
                assert!(matches!(refused_by_server(gateway_checks), Error::InvalidCertificate(_)));
                assert!(matches!(recheck, Err(RecheckError::Date { .. })));
            }
        }
    }
}

#[test]
fn the_recheck_refuses_a_certificate_of_the_other_profile() {
    for (shown, wanted) in [(Profile::Classic, Profile::Modern), (Profile::Modern, Profile::Classic)] {
        let refused = recheck_client(Some(OURS.device(shown).chain()), wanted, at(START_S));
        assert_eq!(refused, Err(RecheckError::Profile(wanted)));
    }
}

#[test]
fn a_key_of_another_purpose_makes_no_configuration() {
    let (roots, time, seen) = (OURS.roots(), clock(START_S), Arc::default());
    let credential = OURS.device(Profile::Classic);
    let material = SessionMaterial { profile: Profile::Modern, roots, credential, time, seen };
    match client_session(material) {
        Err(TlsError::WrongPurpose { expected: KeyPurpose::DeviceTlsModern, found: KeyPurpose::DeviceTlsClassic }) => {}
        other => panic!("{other:?}"),
    }
}
