//! Which sessions resume, and that nothing crosses from enrolment to sessions.

use keys::{
    profile::Profile,
    tls::{ALPN_ENROL, ALPN_SESSION, Kind, Listener, Negotiated, RecheckError, recheck_client, recheck_server},
};
use rustls::{
    Error, HandshakeKind,
    client::Resumption,
    crypto::aws_lc_rs as provider,
    version::{TLS12, TLS13},
};

use crate::{attacker::*, wire::*};

#[test]
fn modern_sessions_resume_and_are_checked_again() {
    let (client, gateway) = (OURS.client(Profile::Modern), OURS.gateway());
    let first = connect(&client, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(first.server.handshake_kind(), Some(HandshakeKind::Full));
    let second = connect(&client, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
    assert!(Negotiated::of(&second.server).resumed && Negotiated::of(&second.client).resumed);
    let profile = Profile::Modern;
    let peer = recheck_client(chain(&second.server), profile, at(START_S)).unwrap();
    assert_eq!(peer.public.spki_hash(), OURS.device(profile).spki_hash());
    assert!(recheck_server(chain(&second.client), profile, at(START_S)).is_ok());
    let late = at(START_S + LIFETIME_S + 1);
    assert!(matches!(recheck_client(chain(&second.server), profile, late), Err(RecheckError::Date { .. })));
    assert!(matches!(recheck_server(chain(&second.client), profile, late), Err(RecheckError::Date { .. })));
}

#[test]
fn classic_sessions_never_resume() {
    let (client, gateway) = (OURS.client(Profile::Classic), OURS.gateway());
    for _ in 0..3 {
        let connected = connect(&client, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(connected.server.handshake_kind(), Some(HandshakeKind::Full));
    }
    // A client that asks for resumption gets neither a ticket nor a session id.
    let mut eager = hostile(&TLS12, provider::default_provider());
    eager.client_auth_cert_resolver = presenting(OURS.device(Profile::Classic)).client_auth_cert_resolver;
    eager.resumption = Resumption::in_memory_sessions(8);
    let eager = with_alpn(eager, &[ALPN_SESSION]);
    for _ in 0..2 {
        let connected = connect(&eager, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(connected.server.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn an_enrolment_connection_leaves_nothing_that_could_be_offered_to_a_session() {
    let gateway = OURS.gateway();
    let attacker = hostile(&TLS13, provider::default_provider());
    let enrol = with_alpn(attacker.clone(), &[ALPN_ENROL]);
    // The clone shares its ticket store, verifier and (absent) certificate: whatever it got it would offer.
    let session = with_alpn(attacker, &[ALPN_SESSION]);
    let connected = connect(&enrol, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(connected.client.tls13_tickets_received(), 0);
    assert!(matches!(refused_by_server(connect(&session, &gateway)), Error::NoCertificatesPresented));
    let again = connect(&enrol, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(again.server.handshake_kind(), Some(HandshakeKind::Full));
}

#[test]
fn a_session_ticket_offered_to_enrolment_is_not_resumed() {
    let gateway = OURS.gateway();
    let device = presenting(OURS.device(Profile::Modern));
    let session = with_alpn(device.clone(), &[ALPN_SESSION]);
    let enrol = with_alpn(device, &[ALPN_ENROL]);
    let kind = |config| connect(config, &gateway).unwrap_or_else(|e| panic!("{e:?}")).server.handshake_kind();
    assert_eq!(kind(&session), Some(HandshakeKind::Full));
    assert_eq!(kind(&enrol), Some(HandshakeKind::Full));
    // The ticket was good all the time: the session listener takes it.
    assert_eq!(kind(&session), Some(HandshakeKind::Full));
    assert_eq!(kind(&session), Some(HandshakeKind::Resumed));
}

#[test]
fn a_ticket_of_another_gateway_process_is_not_resumed() {
    let client = OURS.client(Profile::Modern);
    assert!(connect(&client, &OURS.gateway()).is_ok());
    let restarted = connect(&client, &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(restarted.server.handshake_kind(), Some(HandshakeKind::Full));
}

#[test]
fn early_data_is_neither_offered_nor_accepted() {
    let gateway = OURS.gateway();
    for profile in Profile::ALL {
        assert!(!OURS.client(profile).enable_early_data);
        for listener in [Listener::Session, Listener::Enrolment] {
            assert_eq!(gateway.config(Kind { profile, listener }).max_early_data_size, 0);
        }
    }
}
