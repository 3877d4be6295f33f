//! Private keys: bound to their purpose, in files that only their owner reads, never half written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use keys::{
    cose::{self, CosePurpose},
    limits::LIMITS,
    pki::{Csr, PkiError},
    private_file::{self, Existing, PrivateFileError},
    public::KeyAlgorithm,
    purpose::KeyPurpose,
    signer::{KeyError, SignError, Signer, file_name},
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_survives_its_file_and_the_file_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    for purpose in [KeyPurpose::DeviceIdentity, KeyPurpose::DeviceKeyAgreement, KeyPurpose::DeviceTlsClassic] {
        let key = Signer::generate(purpose).unwrap();
        key.save(folder.path(), Existing::Refuse).unwrap();
        let path = folder.path().join(file_name(purpose));
        assert_eq!(mode(&path), 0o600, "{purpose}");
        assert_eq!(Signer::load(folder.path(), purpose).unwrap().public(), key.public());
    }
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "left-over files: {names:?}");
}

#[test]
fn a_key_file_that_group_or_others_may_use_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let purpose = KeyPurpose::DeviceIdentity;
    Signer::generate(purpose).unwrap().save(folder.path(), Existing::Refuse).unwrap();
    let path = folder.path().join(file_name(purpose));
    for open in [0o640, 0o604, 0o660, 0o610, 0o601, 0o644] {
        set_mode(&path, open);
        let error = Signer::load(folder.path(), purpose).unwrap_err();
        assert!(matches!(error, KeyError::File(PrivateFileError::TooOpen { mode, .. }) if mode == open), "{error}");
        assert!(error.to_string().contains("chmod 600"));
    }
    for private in [0o600, 0o400] {
        set_mode(&path, private);
        assert!(Signer::load(folder.path(), purpose).is_ok(), "{private:o}");
    }
}

#[test]
fn a_link_a_folder_and_a_pipe_are_no_key_files() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    private_file::write(&real, b"content", Existing::Refuse).unwrap();
    let link = folder.path().join("link");
    symlink(&real, &link).unwrap();
    let refused = private_file::read(&link).unwrap_err();
    assert!(matches!(refused, PrivateFileError::NotAFile { .. }) && refused.to_string().contains("links"), "{refused}");
    let inner = folder.path().join("folder");
    fs::create_dir(&inner).unwrap();
    assert!(matches!(private_file::read(&inner), Err(PrivateFileError::NotAFile { .. })));
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    assert!(matches!(private_file::read(&pipe), Err(PrivateFileError::NotAFile { .. })));
    assert_eq!(private_file::read(&real).unwrap().expose(), b"content");
}

#[test]
fn an_existing_key_is_replaced_only_when_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let purpose = KeyPurpose::DeviceTlsModern;
    let [first, second] = [(); 2].map(|()| Signer::generate(purpose).unwrap());
    first.save(folder.path(), Existing::Refuse).unwrap();
    let error = second.save(folder.path(), Existing::Refuse).unwrap_err();
    assert!(matches!(error, KeyError::File(PrivateFileError::Exists { .. })), "{error}");
    assert_eq!(Signer::load(folder.path(), purpose).unwrap().public(), first.public());
    second.save(folder.path(), Existing::Replace).unwrap();
    assert_eq!(Signer::load(folder.path(), purpose).unwrap().public(), second.public());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
}

#[test]
fn a_write_that_was_cut_off_leaves_the_old_key() {
    let folder = tempfile::tempdir().unwrap();
    let purpose = KeyPurpose::DeviceIdentity;
    let key = Signer::generate(purpose).unwrap();
    key.save(folder.path(), Existing::Refuse).unwrap();
    // What a power cut before the rename leaves: half a key under a temporary name.
    let whole = fs::read(folder.path().join(file_name(purpose))).unwrap();
    fs::write(folder.path().join(".device-identity.key.0011223344556677.new"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(Signer::load(folder.path(), purpose).unwrap().public(), key.public());
    assert!(key.save(folder.path(), Existing::Replace).is_ok());
}

#[test]
fn a_truncated_altered_or_lengthened_key_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let purpose = KeyPurpose::DeviceIdentity;
    Signer::generate(purpose).unwrap().save(folder.path(), Existing::Refuse).unwrap();
    let path = folder.path().join(file_name(purpose));
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        private_file::write(&path, &whole[..length], Existing::Replace).unwrap();
        assert!(matches!(Signer::load(folder.path(), purpose), Err(KeyError::DoesNotFit { .. })), "{length}");
    }
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        private_file::write(&path, &altered, Existing::Replace).unwrap();
        assert!(matches!(Signer::load(folder.path(), purpose), Err(KeyError::DoesNotFit { .. })), "byte {at}");
    }
    private_file::write(&path, &[whole.as_slice(), &[0]].concat(), Existing::Replace).unwrap();
    assert!(matches!(Signer::load(folder.path(), purpose), Err(KeyError::DoesNotFit { .. })));
}

#[test]
fn private_files_have_a_bound_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let longest = vec![7; LIMITS.private_file];
    private_file::write(&path, &longest, Existing::Refuse).unwrap();
    assert_eq!(private_file::read(&path).unwrap().expose(), longest);
    let too_long = vec![7; LIMITS.private_file + 1];
    let refused = private_file::write(&path, &too_long, Existing::Replace);
    assert!(matches!(refused, Err(PrivateFileError::TooLong { .. })));
    fs::write(&path, &too_long).unwrap();
    assert!(matches!(private_file::read(&path), Err(PrivateFileError::TooLong { .. })));
}

#[test]
fn a_key_of_another_algorithm_does_not_fit_the_purpose() {
    let folder = tempfile::tempdir().unwrap();
    Signer::generate(KeyPurpose::DeviceIdentity).unwrap().save(folder.path(), Existing::Refuse).unwrap();
    Signer::generate(KeyPurpose::DeviceTlsClassic).unwrap().save(folder.path(), Existing::Refuse).unwrap();
    let file = |purpose| folder.path().join(file_name(purpose));
    fs::copy(file(KeyPurpose::DeviceIdentity), file(KeyPurpose::GatewayTlsClassic)).unwrap();
    fs::copy(file(KeyPurpose::DeviceTlsClassic), file(KeyPurpose::GatewayTlsModern)).unwrap();
    for purpose in [KeyPurpose::GatewayTlsClassic, KeyPurpose::GatewayTlsModern] {
        assert!(matches!(Signer::load(folder.path(), purpose), Err(KeyError::DoesNotFit { .. })), "{purpose}");
    }
}

#[test]
fn purposes_without_a_key_pair_make_none() {
    let folder = tempfile::tempdir().unwrap();
    for purpose in [
        KeyPurpose::EnrolmentSecret,
        KeyPurpose::AgentIdSecret,
        KeyPurpose::SessionTicket,
        KeyPurpose::AccountPassword,
        KeyPurpose::AccessToken,
        KeyPurpose::RefreshToken,
    ] {
        assert!(matches!(Signer::generate(purpose), Err(KeyError::NotAKeyPair { .. })), "{purpose}");
        assert!(matches!(Signer::load(folder.path(), purpose), Err(KeyError::NotAKeyPair { .. })), "{purpose}");
    }
}

#[test]
fn the_identity_key_signs_sig_structures_and_nothing_else() {
    let key = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
    assert_eq!(key.public().algorithm(), KeyAlgorithm::P256);
    for purpose in CosePurpose::ALL {
        for payload in [&b""[..], b"x", &[7; 23], &[7; 24], &[7; 300]] {
            let to_be_signed = cose::to_be_signed(purpose, payload);
            let signature = key.sign(&to_be_signed).unwrap();
            assert!(key.public().verify(&to_be_signed, &signature).is_ok());
        }
    }
    let whole = cose::to_be_signed(CosePurpose::Challenge, b"payload");
    let longer = [whole.as_slice(), &[0]].concat();
    let other_purpose = String::from_utf8_lossy(&whole).replace("challenge", "chaIlenge").into_bytes();
    // A payload length that is not the shortest encoding.
    let mut loose = cose::to_be_signed(CosePurpose::Challenge, b"");
    loose.pop();
    loose.extend([0x58, 1, b'x']);
    for bytes in [&b""[..], b"anything", &whole[..whole.len() - 1], &longer, &other_purpose, &loose] {
        assert_eq!(key.sign(bytes), Err(SignError::NotToBeSigned), "{}", const_hex::encode(bytes));
    }
}

#[test]
fn no_other_key_signs_a_challenge_and_identity_and_agreement_keys_make_no_request() {
    let to_be_signed = cose::to_be_signed(CosePurpose::Challenge, b"payload");
    for purpose in [KeyPurpose::DeviceKeyAgreement, KeyPurpose::DeviceTlsModern, KeyPurpose::ServerRootModern] {
        let key = Signer::generate(purpose).unwrap();
        assert_eq!(key.sign(&to_be_signed), Err(SignError::WrongPurpose(purpose)));
    }
    for purpose in [KeyPurpose::DeviceKeyAgreement, KeyPurpose::DeviceIdentity, KeyPurpose::ServerRootModern] {
        let refused = Csr::create(&Signer::generate(purpose).unwrap());
        assert!(matches!(refused, Err(PkiError::Sign(SignError::WrongPurpose(found))) if found == purpose));
    }
}

#[test]
fn debug_output_holds_no_private_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
    key.save(folder.path(), Existing::Refuse).unwrap();
    assert_eq!(format!("{key:?}"), format!("Software(SoftwareKey(device-identity, {}))", key.public().spki_hash()));
}
