//! Enrolment: who gets a token's worth, who gets nothing, each attack by name.

use std::sync::OnceLock;

use keys::cose::{self, CosePurpose};
use keys::pki::{Authority, AuthorityKind, Csr, RootsBundle};
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use vouch_protocol::codec::encode_frame;
use vouch_protocol::eat::AttestationLevel;
use vouch_protocol::enrol::{
    DeviceEnrolment, DeviceEnrolmentConfig, DeviceEnrolmentEvent, EnrolToDevice, EnrolToServer, Enrolled,
    EnrolmentToken, ServerEnrolment, ServerEnrolmentConfig, ServerEnrolmentEvent, TokenError, TokenId, VerifiedRequest,
};
use vouch_protocol::error::{ProtocolError, SendError};
use vouch_protocol::limits::LIMITS;
use vouch_protocol::reason::EnrolRefusal;

use crate::pair::{EXPORTER, START};

const SECRET: [u8; 32] = [0xa5; 32];

/// The keys that are born on a device.
struct Keys {
    identity: Signer,
    key_agreement: Signer,
    tls: Signer,
}

impl Keys {
    fn born(profile: Profile) -> Self {
        let tls = match profile {
            Profile::Classic => KeyPurpose::DeviceTlsClassic,
            Profile::Modern => KeyPurpose::DeviceTlsModern,
        };
        Self {
            identity: Signer::generate(KeyPurpose::DeviceIdentity).unwrap(),
            key_agreement: Signer::generate(KeyPurpose::DeviceKeyAgreement).unwrap(),
            tls: Signer::generate(tls).unwrap(),
        }
    }
}

/// The roots of the operator whose tokens these are; RSA keys take long to make, so all tests share them.
fn roots() -> RootsBundle {
    static ROOTS: OnceLock<RootsBundle> = OnceLock::new();
    ROOTS.get_or_init(foreign_roots).clone()
}

/// The roots of yet another operator.
fn foreign_roots() -> RootsBundle {
    let root = |profile| Authority::create(AuthorityKind::Server, profile, "Example", START).unwrap();
    let [classic, modern] = [Profile::Classic, Profile::Modern].map(root);
    RootsBundle::new(classic.certificate().clone(), modern.certificate().clone()).unwrap()
}

fn token(roots: &RootsBundle) -> EnrolmentToken {
    EnrolmentToken::new(TokenId::new([7; 9]), SECRET, roots.hash())
}

fn config(keys: &Keys, roots: &RootsBundle, profile: Profile) -> DeviceEnrolmentConfig {
    DeviceEnrolmentConfig {
        token: token(roots),
        exporter: EXPORTER,
        profile,
        identity: keys.identity.public().clone(),
        key_agreement: keys.key_agreement.public().clone(),
        csr: Csr::create(&keys.tls).unwrap(),
        model: "imp-lamp".into(),
        attestation: AttestationLevel::Software,
        limits: LIMITS,
    }
}

fn server(roots: &RootsBundle, profile: Profile) -> ServerEnrolment {
    let config = ServerEnrolmentConfig { roots: roots.to_cbor(), exporter: EXPORTER, profile, limits: LIMITS };
    ServerEnrolment::new(config, START)
}

/// Brings a device to the point where its request is ready, with `signs` as its identity key.
fn request(config: DeviceEnrolmentConfig, server: &mut ServerEnrolment, signs: &Signer) -> (DeviceEnrolment, Vec<u8>) {
    let mut device = DeviceEnrolment::new(config, START);
    device.handle_bytes(&server.poll_transmit().unwrap(), START);
    let Some(DeviceEnrolmentEvent::CheckServer(_)) = device.poll_event() else { panic!("no roots") };
    assert_eq!(device.poll_transmit(), None, "nothing is sent before the server has been checked");
    device.proceed(START);
    let Some(DeviceEnrolmentEvent::Sign(to_sign)) = device.poll_event() else { panic!("nothing to sign") };
    assert_eq!(to_sign.purpose(), CosePurpose::Enrolment);
    assert_eq!(device.poll_transmit(), None);
    device.signature(signs.sign(&to_sign.to_be_signed()).unwrap(), START);
    let bytes = device.poll_transmit().unwrap();
    (device, bytes)
}

fn redeemed(server: &mut ServerEnrolment) -> VerifiedRequest {
    match server.poll_event() {
        Some(ServerEnrolmentEvent::Redeem(request)) => *request,
        other => panic!("{other:?}"),
    }
}

fn refused(server: &mut ServerEnrolment) -> EnrolRefusal {
    match server.poll_event() {
        Some(ServerEnrolmentEvent::Refused(reason)) => {
            let told = server.poll_transmit().unwrap();
            assert_eq!(told, frame(&EnrolToDevice::Refused { reason }));
            assert!(server.is_closed());
            reason
        }
        other => panic!("{other:?}"),
    }
}

fn frame<M: vouch_protocol::codec::Message>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(message, &mut out);
    out
}

#[test]
fn a_device_with_a_token_is_enrolled_in_both_profiles() {
    let roots = roots();
    for profile in Profile::ALL {
        let keys = Keys::born(profile);
        let mut server = server(&roots, profile);
        let (mut device, bytes) = request(config(&keys, &roots, profile), &mut server, &keys.identity);
        for byte in bytes {
            server.handle_bytes(&[byte], START);
        }
        let request = redeemed(&mut server);
        assert_eq!(request.token_id, TokenId::new([7; 9]));
        assert_eq!(request.secret_sha256, token(&roots).secret_sha256());
        assert_eq!(&request.identity, keys.identity.public());
        assert_eq!(&request.key_agreement, keys.key_agreement.public());
        assert_eq!(&request.tls_key, keys.tls.public());
        assert_eq!((request.model.as_str(), request.profile), ("imp-lamp", profile));
        let enrolled = Enrolled {
            unix_ms: START.unix_ms,
            device_id: request.identity.device_id(),
            tls_chain: vec![vec![1; 900], vec![2; 900]],
        };
        server.enrolled(enrolled.clone()).unwrap();
        device.handle_bytes(&server.poll_transmit().unwrap(), START);
        assert!(matches!(device.poll_event(), Some(DeviceEnrolmentEvent::Enrolled(got)) if got == enrolled));
        assert!(device.is_closed() && server.is_closed());
        assert_eq!((device.poll_timeout(), server.poll_timeout()), (None, None));
    }
}

#[test]
fn a_false_enrolment_server_gets_nothing() {
    let keys = Keys::born(Profile::Modern);
    let (own, foreign) = (roots(), foreign_roots());
    let mut server = server(&foreign, Profile::Modern);
    let mut device = DeviceEnrolment::new(config(&keys, &own, Profile::Modern), START);
    device.handle_bytes(&server.poll_transmit().unwrap(), START);
    assert!(matches!(device.poll_event(), Some(DeviceEnrolmentEvent::Broken(ProtocolError::WrongRoots))));
    device.proceed(START);
    device.signature([0; 64], START);
    assert!(device.poll_event().is_none() && device.poll_transmit().is_none());
}

#[test]
fn the_right_hash_over_bytes_that_are_no_roots_is_refused() {
    let keys = Keys::born(Profile::Modern);
    let bytes = vec![0xf6];
    let hash = keys::hashes::sha256(&bytes);
    let token = EnrolmentToken::new(TokenId::new([7; 9]), SECRET, hash);
    let config = DeviceEnrolmentConfig { token, ..config(&keys, &roots(), Profile::Modern) };
    let mut device = DeviceEnrolment::new(config, START);
    device.handle_bytes(&frame(&EnrolToDevice::Roots(bytes)), START);
    assert!(matches!(device.poll_event(), Some(DeviceEnrolmentEvent::Broken(ProtocolError::WrongRoots))));
}

#[test]
fn a_refusal_by_a_server_without_the_tokens_roots_is_not_believed() {
    let keys = Keys::born(Profile::Modern);
    let refused = frame(&EnrolToDevice::Refused { reason: EnrolRefusal::ExporterMismatch });
    let mut device = DeviceEnrolment::new(config(&keys, &roots(), Profile::Modern), START);
    device.handle_bytes(&refused, START);
    let told = device.poll_event();
    assert!(matches!(told, Some(DeviceEnrolmentEvent::Broken(ProtocolError::Unexpected { .. }))), "{told:?}");

    let mut device = DeviceEnrolment::new(config(&keys, &roots(), Profile::Modern), START);
    device.handle_bytes(&server(&roots(), Profile::Modern).poll_transmit().unwrap(), START);
    device.handle_bytes(&refused, START);
    let told = device.poll_event();
    assert!(matches!(told, Some(DeviceEnrolmentEvent::CheckServer(_))), "the check comes first: {told:?}");
    assert!(matches!(device.poll_event(), Some(DeviceEnrolmentEvent::Refused(EnrolRefusal::ExporterMismatch))));
}

#[test]
fn roots_beyond_their_bound_are_not_even_hashed() {
    let keys = Keys::born(Profile::Modern);
    for (len, too_long) in [(LIMITS.roots_bundle, false), (LIMITS.roots_bundle + 1, true)] {
        let mut device = DeviceEnrolment::new(config(&keys, &roots(), Profile::Modern), START);
        device.handle_bytes(&frame(&EnrolToDevice::Roots(vec![0; len])), START);
        let Some(DeviceEnrolmentEvent::Broken(error)) = device.poll_event() else { panic!("accepted") };
        assert_eq!(matches!(error, ProtocolError::Message(_)), too_long, "{error}");
    }
}

#[test]
fn an_enrolment_frame_beyond_its_bound_is_refused_by_its_length_alone() {
    let keys = Keys::born(Profile::Modern);
    for (length, over) in [(LIMITS.enrol_frame, false), (LIMITS.enrol_frame + 1, true)] {
        let header = u32::try_from(length).unwrap().to_be_bytes();
        let mut device = DeviceEnrolment::new(config(&keys, &roots(), Profile::Modern), START);
        let mut server = server(&roots(), Profile::Modern);
        device.handle_bytes(&header, START);
        server.handle_bytes(&header, START);
        assert_eq!((device.is_closed(), server.is_closed()), (over, over));
    }
}

#[test]
fn a_model_name_beyond_its_bound_is_refused() {
    let keys = Keys::born(Profile::Modern);
    for (length, fine) in [(LIMITS.label, true), (LIMITS.label + 1, false)] {
        let config = DeviceEnrolmentConfig { model: "m".repeat(length), ..config(&keys, &roots(), Profile::Modern) };
        let mut server = server(&roots(), Profile::Modern);
        let (_, bytes) = request(config, &mut server, &keys.identity);
        server.handle_bytes(&bytes, START);
        match server.poll_event() {
            Some(ServerEnrolmentEvent::Redeem(_)) => assert!(fine),
            Some(ServerEnrolmentEvent::Refused(reason)) => {
                assert_eq!((reason, fine), (EnrolRefusal::BadRequest, false))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_request_relayed_from_another_connection_is_refused() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let mut server = server(&roots, Profile::Modern);
    let config = DeviceEnrolmentConfig { exporter: [0; 32], ..config(&keys, &roots, Profile::Modern) };
    let (mut device, bytes) = request(config, &mut server, &keys.identity);
    server.handle_bytes(&bytes, START);
    let Some(ServerEnrolmentEvent::Refused(reason)) = server.poll_event() else { panic!("accepted") };
    assert_eq!(reason, EnrolRefusal::ExporterMismatch);
    device.handle_bytes(&server.poll_transmit().unwrap(), START);
    let told = device.poll_event();
    assert!(matches!(told, Some(DeviceEnrolmentEvent::Refused(EnrolRefusal::ExporterMismatch))), "{told:?}");
}

#[test]
fn a_token_holder_cannot_enrol_somebody_elses_identity_key() {
    let roots = roots();
    let victim = Keys::born(Profile::Modern);
    let thief = Keys::born(Profile::Modern);
    let stolen =
        DeviceEnrolmentConfig { identity: victim.identity.public().clone(), ..config(&thief, &roots, Profile::Modern) };
    let mut first = server(&roots, Profile::Modern);
    let (_, bytes) = request(stolen, &mut first, &thief.identity);
    first.handle_bytes(&bytes, START);
    assert_eq!(refused(&mut first), EnrolRefusal::BadSignature);

    // The thief signs with his own key and names the victim's only inside.
    let mut second = server(&roots, Profile::Modern);
    let stolen =
        DeviceEnrolmentConfig { identity: victim.identity.public().clone(), ..config(&thief, &roots, Profile::Modern) };
    let mut device = DeviceEnrolment::new(stolen, START);
    device.handle_bytes(&second.poll_transmit().unwrap(), START);
    device.proceed(START);
    let to_sign = loop {
        match device.poll_event() {
            Some(DeviceEnrolmentEvent::Sign(to_sign)) => break to_sign,
            Some(_) => {}
            None => panic!("nothing to sign"),
        }
    };
    let signature = thief.identity.sign(&to_sign.to_be_signed()).unwrap();
    let cose = cose::assemble(to_sign.payload(), signature);
    let identity_spki = thief.identity.public().spki_der().to_vec();
    second.handle_bytes(&frame(&EnrolToServer::Request { identity_spki, cose }), START);
    assert_eq!(refused(&mut second), EnrolRefusal::BadRequest);
}

#[test]
fn a_token_holder_cannot_have_somebody_elses_tls_key_certified() {
    let roots = roots();
    let (victim, thief) = (Keys::born(Profile::Modern), Keys::born(Profile::Modern));
    let csr = Csr::create(&thief.tls).unwrap();
    let (own, others) = (thief.tls.public().spki_der(), victim.tls.public().spki_der());
    let at = csr.windows(own.len()).position(|part| part == own).unwrap();
    let mut forged = csr;
    forged[at..at + own.len()].copy_from_slice(others);
    let config = DeviceEnrolmentConfig { csr: forged, ..config(&thief, &roots, Profile::Modern) };
    let mut server = server(&roots, Profile::Modern);
    let (_, bytes) = request(config, &mut server, &thief.identity);
    server.handle_bytes(&bytes, START);
    assert_eq!(refused(&mut server), EnrolRefusal::BadCertificateRequest);
}

#[test]
fn identity_key_agreement_and_tls_key_must_be_three() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let shared = [
        DeviceEnrolmentConfig {
            key_agreement: keys.identity.public().clone(),
            ..config(&keys, &roots, Profile::Modern)
        },
        DeviceEnrolmentConfig { key_agreement: keys.tls.public().clone(), ..config(&keys, &roots, Profile::Modern) },
    ];
    for config in shared {
        let mut server = server(&roots, Profile::Modern);
        let (_, bytes) = request(config, &mut server, &keys.identity);
        server.handle_bytes(&bytes, START);
        assert_eq!(refused(&mut server), EnrolRefusal::SharedKey);
    }
}

#[test]
fn the_profile_named_and_the_tls_key_must_be_the_connections() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let mut other = server(&roots, Profile::Classic);
    let (_, bytes) = request(config(&keys, &roots, Profile::Modern), &mut other, &keys.identity);
    other.handle_bytes(&bytes, START);
    assert_eq!(refused(&mut other), EnrolRefusal::WrongProfile);

    let classic = Keys::born(Profile::Classic);
    let csr = Csr::create(&classic.tls).unwrap();
    let config = DeviceEnrolmentConfig { csr, ..config(&keys, &roots, Profile::Modern) };
    let mut server = server(&roots, Profile::Modern);
    let (_, bytes) = request(config, &mut server, &keys.identity);
    server.handle_bytes(&bytes, START);
    assert_eq!(refused(&mut server), EnrolRefusal::BadCertificateRequest);
}

#[test]
fn no_altered_byte_of_a_request_reaches_the_token() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let mut first = server(&roots, Profile::Modern);
    let (_, bytes) = request(config(&keys, &roots, Profile::Modern), &mut first, &keys.identity);
    for at in 4..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 0x01;
        let mut server = server(&roots, Profile::Modern);
        server.handle_bytes(&altered, START);
        assert!(!matches!(server.poll_event(), None | Some(ServerEnrolmentEvent::Redeem(_))), "byte {at}");
    }
}

#[test]
fn a_challenge_answer_is_no_enrolment_request() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let mut server = server(&roots, Profile::Modern);
    let mut device = DeviceEnrolment::new(config(&keys, &roots, Profile::Modern), START);
    device.handle_bytes(&server.poll_transmit().unwrap(), START);
    assert!(device.poll_event().is_some());
    device.proceed(START);
    let Some(DeviceEnrolmentEvent::Sign(to_sign)) = device.poll_event() else { panic!("nothing to sign") };
    let other = cose::to_be_signed(CosePurpose::Challenge, to_sign.payload());
    device.signature(keys.identity.sign(&other).unwrap(), START);
    server.handle_bytes(&device.poll_transmit().unwrap(), START);
    assert_eq!(refused(&mut server), EnrolRefusal::BadSignature);
}

#[test]
fn one_connection_makes_one_request() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let mut server = server(&roots, Profile::Modern);
    let (_, bytes) = request(config(&keys, &roots, Profile::Modern), &mut server, &keys.identity);
    server.handle_bytes(&bytes, START);
    let request = redeemed(&mut server);
    server.handle_bytes(&bytes, START);
    assert!(matches!(
        server.poll_event(),
        Some(ServerEnrolmentEvent::Broken(ProtocolError::Unexpected { message: "enrol-request", .. }))
    ));
    let device_id = request.identity.device_id();
    let enrolled = Enrolled { unix_ms: 0, device_id, tls_chain: vec![vec![1]] };
    assert_eq!(server.enrolled(enrolled), Err(SendError::NotOpen));
}

#[test]
fn the_driver_can_refuse_for_the_tokens_sake() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    for reason in [EnrolRefusal::UnknownToken, EnrolRefusal::TokenExpired, EnrolRefusal::TokenUsedUp] {
        let mut server = server(&roots, Profile::Modern);
        let (mut device, bytes) = request(config(&keys, &roots, Profile::Modern), &mut server, &keys.identity);
        server.handle_bytes(&bytes, START);
        let _request = redeemed(&mut server);
        server.refuse(reason);
        device.handle_bytes(&server.poll_transmit().unwrap(), START);
        assert!(matches!(device.poll_event(), Some(DeviceEnrolmentEvent::Refused(told)) if told == reason));
    }
}

#[test]
fn a_server_that_enrols_another_device_or_hands_out_no_certificate_is_not_believed() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let own = keys.identity.public().device_id();
    let other = keys.tls.public().device_id();
    let five = LIMITS.chain_certificates + 1;
    for (device_id, certificates, fine) in
        [(other, 1, false), (own, 0, false), (own, five, false), (own, five - 1, true), (own, 1, true)]
    {
        let mut server = server(&roots, Profile::Modern);
        let (mut device, _) = request(config(&keys, &roots, Profile::Modern), &mut server, &keys.identity);
        let enrolled = Enrolled { unix_ms: 0, device_id, tls_chain: vec![vec![1]; certificates] };
        device.handle_bytes(&frame(&EnrolToDevice::Enrolled(enrolled)), START);
        let event = device.poll_event();
        assert_eq!(matches!(event, Some(DeviceEnrolmentEvent::Enrolled(_))), fine, "{event:?}");
        assert!(device.is_closed());
    }
}

#[test]
fn an_answer_before_the_request_is_not_taken() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let device_id = keys.identity.public().device_id();
    let enrolled = EnrolToDevice::Enrolled(Enrolled { unix_ms: 0, device_id, tls_chain: vec![vec![1]] });
    let mut device = DeviceEnrolment::new(config(&keys, &roots, Profile::Modern), START);
    device.handle_bytes(&frame(&enrolled), START);
    assert!(matches!(
        device.poll_event(),
        Some(DeviceEnrolmentEvent::Broken(ProtocolError::Unexpected { message: "enrolled", .. }))
    ));
    let mut device = DeviceEnrolment::new(config(&keys, &roots, Profile::Modern), START);
    let first = frame(&EnrolToDevice::Roots(roots.to_cbor()));
    device.handle_bytes(&[first.clone(), first].concat(), START);
    assert!(matches!(device.poll_event(), Some(DeviceEnrolmentEvent::CheckServer(_))));
    assert!(matches!(
        device.poll_event(),
        Some(DeviceEnrolmentEvent::Broken(ProtocolError::Unexpected { message: "roots", .. }))
    ));
    device.proceed(START);
    assert!(device.poll_event().is_none(), "a closed enrolment does not go on");
}

#[test]
fn each_wait_ends_at_its_deadline_and_not_before() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let mut device = DeviceEnrolment::new(config(&keys, &roots, Profile::Modern), START);
    let mut server = server(&roots, Profile::Modern);
    let due = START.mono_ms + LIMITS.enrol_ms;
    assert_eq!((device.poll_timeout(), server.poll_timeout()), (Some(due), Some(due)));
    let before = keys::time::Now { mono_ms: due - 1, ..START };
    let at = keys::time::Now { mono_ms: due, ..START };
    device.handle_timeout(before);
    server.handle_timeout(before);
    assert!(device.poll_event().is_none() && server.poll_event().is_none());
    device.handle_timeout(at);
    server.handle_timeout(at);
    let expected = ProtocolError::TimedOut { waiting: "waiting for the server's roots" };
    assert!(matches!(device.poll_event(), Some(DeviceEnrolmentEvent::Broken(error)) if error == expected));
    let expected = ProtocolError::TimedOut { waiting: "waiting for the request" };
    assert!(matches!(server.poll_event(), Some(ServerEnrolmentEvent::Broken(error)) if error == expected));
}

#[test]
fn the_secret_is_in_no_debug_text() {
    let roots = roots();
    let keys = Keys::born(Profile::Modern);
    let token = token(&roots);
    let mut device = DeviceEnrolment::new(config(&keys, &roots, Profile::Modern), START);
    device.handle_bytes(&frame(&EnrolToDevice::Roots(roots.to_cbor())), START);
    let mut texts = vec![format!("{token:?} {:?} {device:?}", config(&keys, &roots, Profile::Modern))];
    assert!(device.poll_event().is_some());
    device.proceed(START);
    let event = device.poll_event().unwrap();
    texts.push(format!("{event:?} {device:?}"));
    let exposed = token.danger_expose();
    let text = std::str::from_utf8(exposed.expose()).unwrap();
    let secret = text.split('.').nth(1).unwrap();
    for text in texts {
        // 0xa5 is 165; the secret would show as numbers, hex or base64url. A shorter trace turns up in random bytes.
        for trace in ["165, 165, 165, 165", "a5a5a5a5", secret] {
            assert!(!text.contains(trace), "{trace} in {text}");
        }
    }
    let request = EnrolToServer::Request { identity_spki: vec![1], cose: vec![165; 9] };
    assert_eq!(format!("{request:?}"), "enrol-request");
}

#[test]
fn a_token_survives_being_written_down() {
    let roots = roots();
    let token = token(&roots);
    let exposed = token.danger_expose();
    let text = std::str::from_utf8(exposed.expose()).unwrap();
    assert_eq!(text.len(), 12 + 1 + 43 + 1 + 43);
    for text in [text.to_owned(), format!("{text}\n"), format!(" {text}\r\n")] {
        let read = EnrolmentToken::parse(&text).unwrap();
        assert_eq!(read.id(), token.id());
        assert_eq!(read.secret_sha256(), token.secret_sha256());
        assert_eq!(read.roots_sha256(), &roots.hash());
    }
    assert_eq!(token.id().to_string().parse(), Ok(token.id()));
}

#[test]
fn a_token_cut_or_mistyped_is_told_from_a_good_one_without_quoting_it() {
    let exposed = token(&roots()).danger_expose();
    let text = std::str::from_utf8(exposed.expose()).unwrap();
    for cut in 0..text.len() {
        let error = EnrolmentToken::parse(&text[..cut]).unwrap_err();
        let parts = text[..cut].matches('.').count() + 1;
        assert_eq!(error == TokenError::Parts, parts != 3, "{error}");
    }
    let parts: Vec<_> = text.split('.').collect();
    let [id, secret, hash] = parts[..] else { panic!("three parts") };
    for damaged in [
        format!("{id}A.{secret}.{hash}"),
        format!("{id}.{secret}A.{hash}"),
        format!("{id}.{secret}.{hash}A"),
        format!("{id}.{secret}.{hash}="),
        format!("{id}.{}.{hash}", secret.replace('p', "/")),
        format!("{id}.{secret}.{}+", &hash[..42]),
        format!("{id} .{secret}.{hash}"),
    ] {
        let error = EnrolmentToken::parse(&damaged).unwrap_err();
        assert!(matches!(error, TokenError::Damaged(_)));
        assert!(!error.to_string().contains(&secret[..8]));
    }
    assert_eq!(EnrolmentToken::parse(&format!("{text}.x")).unwrap_err(), TokenError::Parts);
}
