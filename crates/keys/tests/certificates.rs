//! Roots, requests, certificates and the bundle: what is issued, what is read, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{sync::LazyLock, time::Duration};

use keys::{
    limits::LIMITS,
    pki::{
        Authority, AuthorityKind, CertDer, CertificateError, CertificateFacts, Credential, Csr, CsrError, OperatorPki,
        PkiError, RootsBundle, RootsError, ServerName, ServingPki, lifetime,
    },
    private_file::{self, Existing},
    profile::Profile,
    public::DeviceId,
    purpose::KeyPurpose,
    signer::{Signer, file_name},
    time::Now,
};
use proptest::prelude::*;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

const NOW: Now = Now { mono_ms: 0, unix_ms: 1_767_225_600_000 };
const HOUR: Duration = Duration::from_secs(3600);

static OPERATOR: LazyLock<OperatorPki> = LazyLock::new(|| OperatorPki::create("ours", &names(), NOW).unwrap());

fn names() -> [ServerName<'static>; 3] {
    ["gateway.example", "192.0.2.7", "2001:db8::7"].map(|name| name.try_into().unwrap())
}

fn csr(profile: Profile) -> Vec<u8> {
    Csr::create(&Signer::generate(KeyPurpose::device_tls(profile)).unwrap()).unwrap()
}

fn device_certificate(profile: Profile) -> CertDer {
    let csr = Csr::parse_and_verify(&csr(profile)).unwrap();
    let root = OPERATOR.serving.device_authority(profile);
    root.issue_device(&csr, DeviceId([0xab; 8]), NOW, lifetime(KeyPurpose::device_tls(profile))).unwrap()
}

#[test]
fn roots_may_sign_end_entities_only() {
    for root in OPERATOR.server_roots.iter().chain(&OPERATOR.serving.device_authorities) {
        let (_, certificate) = parse_x509_certificate(root.certificate()).unwrap();
        let constraints = certificate.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(usage.key_cert_sign() && !usage.digital_signature());
    }
}

#[test]
fn a_device_certificate_names_the_device_and_serves_clients_only() {
    for profile in Profile::ALL {
        let der = device_certificate(profile);
        let (_, certificate) = parse_x509_certificate(&der).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=abababababababab");
        assert_eq!(certificate.issuer().to_string(), format!("CN=ours device root {profile}"));
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert!(!certificate.is_ca() && certificate.basic_constraints().unwrap().is_some());
        assert!(!certificate.key_usage().unwrap().unwrap().value.key_cert_sign());
        let facts = CertificateFacts::read(&der).unwrap();
        assert_eq!(facts.not_before_unix_s, NOW.unix_s() - 24 * 3600);
        let days = facts.not_after_unix_s - NOW.unix_s();
        assert_eq!(days, lifetime(KeyPurpose::device_tls(profile)).as_secs() as i64);
    }
}

#[test]
fn a_gateway_certificate_carries_every_name_and_serves_servers_only() {
    for profile in Profile::ALL {
        let chain = OPERATOR.serving.gateway(profile).chain();
        let (_, certificate) = parse_x509_certificate(&chain[0]).unwrap();
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth && !usage.any);
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        let expected = [
            GeneralName::DNSName("gateway.example"),
            GeneralName::IPAddress(&[192, 0, 2, 7]),
            GeneralName::IPAddress(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
        ];
        assert_eq!(names.value.general_names, expected);
    }
}

#[test]
fn serial_numbers_are_random_and_positive() {
    let serials: Vec<_> = [(); 4]
        .map(|()| device_certificate(Profile::Modern))
        .iter()
        .map(|der| parse_x509_certificate(der).unwrap().1.raw_serial().to_vec())
        .collect();
    for (at, serial) in serials.iter().enumerate() {
        assert_eq!(serial.len(), 16);
        assert!(serial[0] & 0x80 == 0);
        assert!(!serials[..at].contains(serial));
    }
}

#[test]
fn a_root_signs_neither_the_other_kind_nor_the_other_profile() {
    let [classic_root, modern_root] = &OPERATOR.serving.device_authorities;
    let modern = Csr::parse_and_verify(&csr(Profile::Modern)).unwrap();
    let classic = Csr::parse_and_verify(&csr(Profile::Classic)).unwrap();
    let id = DeviceId([1; 8]);
    assert!(matches!(classic_root.issue_device(&modern, id, NOW, HOUR), Err(PkiError::WrongProfile(Profile::Classic))));
    assert!(matches!(modern_root.issue_device(&classic, id, NOW, HOUR), Err(PkiError::WrongProfile(Profile::Modern))));
    let [_, server_root] = &OPERATOR.server_roots;
    assert!(matches!(server_root.issue_device(&modern, id, NOW, HOUR), Err(PkiError::WrongKind)));
    let refused = modern_root.issue_server(&names(), modern.public(), NOW, HOUR);
    assert!(matches!(refused, Err(PkiError::WrongKind)));
}

#[test]
fn no_certificate_outlives_its_root_or_the_calendar() {
    let [_, root] = &OPERATOR.serving.device_authorities;
    let request = Csr::parse_and_verify(&csr(Profile::Modern)).unwrap();
    let end = CertificateFacts::read(root.certificate()).unwrap().not_after_unix_s;
    let rest = Duration::from_secs((end - NOW.unix_s()) as u64);
    let issue = |now, lifetime| root.issue_device(&request, DeviceId([1; 8]), now, lifetime);
    assert!(issue(NOW, rest).is_ok());
    for (now, lifetime) in [
        (NOW, rest + Duration::from_secs(1)),
        (NOW, Duration::MAX),
        (NOW, Duration::ZERO),
        (Now { mono_ms: 0, unix_ms: -1 }, HOUR),
        (Now { mono_ms: 0, unix_ms: 24 * 3600 * 1000 - 1 }, HOUR),
        (Now { mono_ms: 0, unix_ms: i64::MAX }, HOUR),
    ] {
        assert!(matches!(issue(now, lifetime), Err(PkiError::Dates)), "{now:?} {lifetime:?}");
    }
}

#[test]
fn gateway_names_have_a_bound_on_both_sides() {
    let [_, root] = &OPERATOR.server_roots;
    let key = Signer::generate(KeyPurpose::GatewayTlsModern).unwrap();
    let many = |count: usize| -> Vec<ServerName<'static>> {
        (0..count).map(|n| format!("g{n}.example").try_into().unwrap()).collect()
    };
    assert!(root.issue_server(&many(LIMITS.server_names), key.public(), NOW, HOUR).is_ok());
    for count in [0, LIMITS.server_names + 1] {
        assert!(matches!(root.issue_server(&many(count), key.public(), NOW, HOUR), Err(PkiError::Names)));
    }
}

#[test]
fn a_request_gives_its_key_and_an_altered_one_nothing() {
    for profile in Profile::ALL {
        let key = Signer::generate(KeyPurpose::device_tls(profile)).unwrap();
        let der = Csr::create(&key).unwrap();
        assert_eq!(Csr::parse_and_verify(&der).unwrap().public(), key.public());
        for at in (0..der.len()).step_by(if profile == Profile::Classic { 7 } else { 1 }) {
            let mut altered = der.clone();
            altered[at] ^= 1;
            // The NULL parameters of the outer algorithm identifier are not covered by the signature.
            if let Ok(csr) = Csr::parse_and_verify(&altered) {
                assert_eq!(csr.public(), key.public(), "byte {at}");
            }
        }
        for length in 0..der.len() {
            assert!(Csr::parse_and_verify(&der[..length]).is_err());
        }
        assert_eq!(Csr::parse_and_verify(&[der.as_slice(), &[0]].concat()), Err(CsrError::NotPkcs10));
    }
}

#[test]
fn a_request_for_somebody_elses_key_is_refused() {
    // The attacker puts the victim's public key into a request and signs it with a key of their own.
    let [victim, attacker] = [(); 2].map(|()| rcgen::KeyPair::generate().unwrap());
    struct Mixed(rcgen::KeyPair, rcgen::KeyPair);
    impl rcgen::PublicKeyData for Mixed {
        fn der_bytes(&self) -> &[u8] {
            self.0.der_bytes()
        }
        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            rcgen::PublicKeyData::algorithm(&self.0)
        }
    }
    impl rcgen::SigningKey for Mixed {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            self.1.sign(message)
        }
    }
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let honest = params.serialize_request(&attacker).unwrap();
    assert!(Csr::parse_and_verify(honest.der()).is_ok());
    let request = params.serialize_request(&Mixed(victim, attacker)).unwrap();
    assert_eq!(Csr::parse_and_verify(request.der()), Err(CsrError::BadSignature));
}

#[test]
fn a_request_that_asks_for_a_name_or_more_rights_is_refused() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut named = rcgen::CertificateParams::default();
    assert_eq!(Csr::parse_and_verify(named.serialize_request(&key).unwrap().der()), Err(CsrError::AsksForMore));
    named.distinguished_name = rcgen::DistinguishedName::new();
    let mut authority = named.clone();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert_eq!(Csr::parse_and_verify(authority.serialize_request(&key).unwrap().der()), Err(CsrError::AsksForMore));
    let mut names = named.clone();
    names.subject_alt_names = vec![rcgen::SanType::DnsName("gateway.example".try_into().unwrap())];
    assert_eq!(Csr::parse_and_verify(names.serialize_request(&key).unwrap().der()), Err(CsrError::AsksForMore));
    let long = vec![0x30; LIMITS.csr + 1];
    assert_eq!(Csr::parse_and_verify(&long), Err(CsrError::TooLong));
    assert_eq!(Csr::parse_and_verify(&long[1..]), Err(CsrError::NotPkcs10));
}

#[test]
fn requests_with_other_algorithms_are_refused() {
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&key).unwrap();
        assert!(matches!(Csr::parse_and_verify(request.der()), Err(CsrError::PublicKey(_))));
    }
}

#[test]
fn the_roots_bundle_round_trips_and_its_hash_is_that_of_its_bytes() {
    let bundle = &OPERATOR.serving.server_roots;
    let bytes = bundle.to_cbor();
    assert!(bytes.len() < LIMITS.roots_bundle);
    assert_eq!(&RootsBundle::from_cbor(&bytes).unwrap(), bundle);
    assert_eq!(bundle.hash(), keys::hashes::sha256(&bytes));
    assert_ne!(bundle.hash(), OPERATOR.serving.device_roots().unwrap().hash());
}

#[test]
fn any_other_encoding_of_a_bundle_is_refused() {
    let bundle = &OPERATOR.serving.server_roots;
    let good = bundle.to_cbor();
    for length in 0..good.len() {
        assert_eq!(RootsBundle::from_cbor(&good[..length]), Err(RootsError::Form), "{length}");
    }
    assert_eq!(RootsBundle::from_cbor(&[good.as_slice(), &[0]].concat()), Err(RootsError::Form));
    assert_eq!((good[0], good[1]), (0x85, 1));
    let rest = &good[2..];
    for (what, head) in [
        ("version 2", &[0x85, 2][..]),
        ("version 1 in two bytes", &[0x85, 0x18, 1]),
        ("array length in two bytes", &[0x98, 5, 1]),
        ("array without end", &[0x9f, 1]),
        ("three items", &[0x83, 1]),
        ("four items", &[0x84, 1]),
        ("six items", &[0x86, 1]),
        ("a map", &[0xa5, 1]),
    ] {
        assert_eq!(RootsBundle::from_cbor(&[head, rest].concat()), Err(RootsError::Form), "{what}");
    }
    let long = vec![0x83; LIMITS.roots_bundle + 1];
    assert_eq!(RootsBundle::from_cbor(&long), Err(RootsError::TooLong));
    assert_eq!(RootsBundle::from_cbor(&long[1..]), Err(RootsError::Form));
}

#[test]
fn a_bundle_of_swapped_or_foreign_roots_is_refused() {
    let bundle = &OPERATOR.serving.server_roots;
    let [classic, modern] = Profile::ALL.map(|profile| bundle.root(profile).clone());
    let swapped = RootsBundle::new(modern.clone(), classic.clone());
    assert_eq!(swapped, Err(RootsError::NotARoot(Profile::Classic)));
    assert_eq!(RootsBundle::new(classic.clone(), classic.clone()), Err(RootsError::NotARoot(Profile::Modern)));
    let garbage = CertDer::from(vec![0x30, 0]);
    assert_eq!(RootsBundle::new(classic, garbage), Err(RootsError::NotARoot(Profile::Modern)));
}

#[test]
fn a_bundle_has_one_root_of_each_profile_or_two_and_holds_these_alone() {
    let pair = &OPERATOR.serving.server_roots;
    let [classic, modern] = Profile::ALL.map(|profile| pair.root(profile).clone());
    let single = RootsBundle::new(classic.clone(), modern.clone()).unwrap();
    assert_eq!(single.to_cbor()[..2], [0x83, 1]);
    assert_eq!(RootsBundle::from_cbor(&single.to_cbor()).unwrap(), single);
    for (profile, next) in Profile::ALL.into_iter().zip(&OPERATOR.next_roots) {
        assert_eq!(pair.roots(profile).collect::<Vec<_>>(), [pair.root(profile), next.certificate()]);
        assert!(pair.holds(profile, next.certificate()) && !single.holds(profile, next.certificate()));
    }
    assert_eq!(single.with_next(modern, classic), Err(RootsError::NotARoot(Profile::Classic)));
}

#[test]
fn after_a_rotation_the_next_roots_are_in_use_and_what_devices_have_stays() {
    let folder = tempfile::tempdir().unwrap();
    OPERATOR.save(folder.path()).unwrap();
    let before = ServingPki::load(folder.path()).unwrap();
    let next = tempfile::tempdir().unwrap();
    OperatorPki::rotated(folder.path(), None, NOW).unwrap().save(next.path()).unwrap();
    let after = ServingPki::load(next.path()).unwrap();
    for profile in Profile::ALL {
        let [old, following] = before.server_roots.roots(profile).collect::<Vec<_>>()[..] else { panic!("no pair") };
        assert_eq!(after.server_roots.root(profile), following);
        assert!(!after.server_roots.holds(profile, old));
        assert_eq!(after.server_roots.roots(profile).count(), 2);
        let facts = |der: &CertDer| CertificateFacts::read(der).unwrap();
        let [leaf, old_leaf] = [&after, &before].map(|pki| facts(&pki.gateway(profile).chain()[0]));
        assert_eq!((&leaf.issuer, leaf.subject), (&facts(following).subject, old_leaf.subject));
        assert_ne!(leaf.spki_hash, old_leaf.spki_hash);
        assert_eq!(facts(after.server_roots.roots(profile).nth(1).unwrap()).subject, facts(old).subject);
        assert_eq!(after.device_authority(profile).certificate(), before.device_authority(profile).certificate());
    }
    assert_eq!(after.names().unwrap(), before.names().unwrap());
    // Without the private keys of the next roots nothing is made.
    std::fs::remove_file(folder.path().join("next").join(file_name(KeyPurpose::ServerRootModern))).unwrap();
    assert!(matches!(OperatorPki::rotated(folder.path(), None, NOW), Err(PkiError::Key(_))));
}

#[test]
fn an_operator_survives_its_folder_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    OPERATOR.save(folder.path()).unwrap();
    let loaded = ServingPki::load(folder.path()).unwrap();
    assert_eq!(loaded.names().unwrap(), ["gateway.example", "192.0.2.7", "2001:db8::7"]);
    assert_eq!(loaded.server_roots, OPERATOR.serving.server_roots);
    for profile in Profile::ALL {
        assert_eq!(loaded.gateway(profile).chain(), OPERATOR.serving.gateway(profile).chain());
        let root = Authority::load(folder.path(), AuthorityKind::Device, profile).unwrap();
        assert_eq!(root.certificate(), loaded.device_authority(profile).certificate());
    }
    assert!(matches!(OPERATOR.save(folder.path()), Err(PkiError::Key(_))));
}

#[test]
fn serving_does_not_need_the_private_keys_of_the_server_roots() {
    let folder = tempfile::tempdir().unwrap();
    OPERATOR.save(folder.path()).unwrap();
    for purpose in [KeyPurpose::ServerRootClassic, KeyPurpose::ServerRootModern] {
        std::fs::remove_file(folder.path().join(file_name(purpose))).unwrap();
    }
    assert!(ServingPki::load(folder.path()).is_ok());
    std::fs::remove_file(folder.path().join(file_name(KeyPurpose::DeviceRootModern))).unwrap();
    assert!(ServingPki::load(folder.path()).is_err());
}

#[test]
fn a_certificate_and_another_key_are_not_a_pair() {
    let purpose = KeyPurpose::GatewayTlsModern;
    let stranger = Signer::generate(purpose).unwrap();
    let chain = OPERATOR.serving.gateway(Profile::Modern).chain().to_vec();
    assert!(matches!(Credential::new(stranger, chain.clone()), Err(PkiError::NotAPair(_))));
    let folder = tempfile::tempdir().unwrap();
    OPERATOR.save(folder.path()).unwrap();
    Signer::generate(purpose).unwrap().save(folder.path(), Existing::Replace).unwrap();
    assert!(matches!(Credential::load(folder.path(), purpose), Err(PkiError::NotAPair(_))));
    Signer::generate(KeyPurpose::DeviceRootModern).unwrap().save(folder.path(), Existing::Replace).unwrap();
    let refused = Authority::load(folder.path(), AuthorityKind::Device, Profile::Modern);
    assert!(matches!(refused, Err(PkiError::NotAPair(_))));
}

#[test]
fn chains_have_a_bound_on_both_sides() {
    let gateway = OPERATOR.serving.gateway(Profile::Modern);
    let folder = tempfile::tempdir().unwrap();
    gateway.save(folder.path(), Existing::Refuse).unwrap();
    let load = || Signer::load(folder.path(), KeyPurpose::GatewayTlsModern).unwrap();
    let chain = |count| vec![gateway.chain()[0].clone(); count];
    assert!(Credential::new(load(), chain(LIMITS.chain)).is_ok());
    assert!(Credential::new(load(), chain(LIMITS.chain + 1)).is_err());
    assert!(Credential::new(load(), chain(0)).is_err());
    let file = folder.path().join("gateway-tls-modern.chain");
    let whole = private_file::read(&file).unwrap();
    for length in 0..whole.expose().len() {
        private_file::write(&file, &whole.expose()[..length], Existing::Replace).unwrap();
        assert!(Credential::load(folder.path(), KeyPurpose::GatewayTlsModern).is_err(), "{length}");
    }
    private_file::write(&file, &[whole.expose(), &[0]].concat(), Existing::Replace).unwrap();
    assert!(Credential::load(folder.path(), KeyPurpose::GatewayTlsModern).is_err());
}

#[test]
fn certificates_have_a_bound_on_both_sides_and_foreign_names_are_made_harmless() {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "evil\u{1b}[2J\nname");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let facts = CertificateFacts::read(certificate.der()).unwrap();
    assert!(!facts.subject.contains(['\u{1b}', '\n']), "{:?}", facts.subject);
    let too_long = vec![0x30; LIMITS.certificate + 1];
    assert_eq!(CertificateFacts::read(&too_long), Err(CertificateError::TooLong));
    assert_eq!(CertificateFacts::read(&too_long[1..]), Err(CertificateError::NotX509));
    let trailing = [&certificate.der()[..], &[0]].concat();
    assert_eq!(CertificateFacts::read(&trailing), Err(CertificateError::NotX509));
}

proptest! {
    #[test]
    fn mutated_bytes_never_panic_a_parser(at in 0usize..2000, value: u8, cut in 0usize..2000) {
        let certificate = OPERATOR.serving.server_roots.root(Profile::Modern);
        let mut bytes = certificate.to_vec();
        let (at, cut) = (at % bytes.len(), cut % bytes.len());
        bytes[at] = value;
        bytes.truncate(cut.max(at));
        let _ = CertificateFacts::read(&bytes);
        let _ = Csr::parse_and_verify(&bytes);
        let _ = RootsBundle::from_cbor(&bytes);
        let _ = RootsBundle::new(CertDer::from(bytes), certificate.clone());
    }
}
