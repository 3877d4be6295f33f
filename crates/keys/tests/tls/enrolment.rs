//! Enrolment connections: the server's chain is checked after the handshake, as strictly as in a session.

use std::sync::Arc;

use keys::{
    profile::Profile,
    tls::{Kind, Listener, RecheckError, check_deferred_server, danger_client_enrolment, recheck_client},
};
use rustls::{CertificateError, Error};

use crate::{attacker::*, wire::*};

#[test]
fn a_session_without_peer_certificate_never_opens() {
    let enrol = danger_client_enrolment(Profile::Modern, clock(START_S), Arc::default()).unwrap();
    let connected = connect(&enrol, &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    let recheck = recheck_client(chain(&connected.server), Profile::Modern, at(START_S));
    assert_eq!(recheck, Err(RecheckError::NoCertificate));
    assert_eq!(recheck_client(Some(&[]), Profile::Modern, at(START_S)), Err(RecheckError::NoCertificate));
}

#[test]
fn enrolment_checks_the_server_after_the_handshake_as_strictly_as_a_session_does() {
    for profile in Profile::ALL {
        let enrol = danger_client_enrolment(profile, clock(START_S), Arc::default()).unwrap();
        let ours = connect(&enrol, &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(ours.kind, Some(Kind { profile, listener: Listener::Enrolment }));
        let check =
            |roots, profile, name, chain, unix_s| check_deferred_server(roots, profile, name, chain, at(unix_s));
        let (name, elsewhere) = (name(), "elsewhere.example".try_into().unwrap());
        let certificates = chain(&ours.client);
        assert!(check(OURS.roots(), profile, &name, certificates, START_S).is_ok());
        assert!(check(OURS.roots(), profile, &name, certificates, START_S + LIFETIME_S).is_ok());
        assert!(check(OURS.roots(), profile, &name, certificates, START_S + LIFETIME_S + 1).is_err());
        assert!(check(OURS.roots(), profile, &elsewhere, certificates, START_S).is_err());
        assert!(check(FOREIGN.roots(), profile, &name, certificates, START_S).is_err());
        let other = if profile == Profile::Classic { Profile::Modern } else { Profile::Classic };
        assert!(check(OURS.roots(), other, &name, certificates, START_S).is_err());
        assert!(check(OURS.roots(), profile, &name, None, START_S).is_err());
        assert!(check(OURS.roots(), profile, &name, Some(&[]), START_S).is_err());
        // A false enrolment server gets through the handshake, and no further.
        let false_server = connect(&enrol, &FOREIGN.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
        assert!(check(OURS.roots(), profile, &name, chain(&false_server.client), START_S).is_err());
    }
}

#[test]
fn enrolment_refuses_a_server_that_shows_our_certificate_without_its_key() {
    for profile in Profile::ALL {
        let enrol = danger_client_enrolment(profile, clock(START_S), Arc::default()).unwrap();
        let thief = showing(OURS.pki.serving.gateway(profile), FOREIGN.pki.serving.gateway(profile));
        let error = refused_by_client(connect_to(&enrol, Answering::Config(thief), name()));
        assert!(matches!(error, Error::InvalidCertificate(CertificateError::BadSignature)), "{profile}: {error:?}");
    }
}
