//! A locked down device tries everything that it must not be able to do, and signs what became of it.

mod attempts;

use std::io;
use std::path::PathBuf;

use keys::cose::{self, CosePurpose};
use protocol::limits::LIMITS;
use protocol::self_test::{SelfTest, SelfTestCheck, SelfTestOutcome};
use rustix::io::Errno;

use crate::device_keys::{DeviceKeyError, DeviceKeys};

/// What a self-test must know beforehand: once the process is locked down it cannot look it up.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The device's folder; its keys must be out of reach.
    pub dir: PathBuf,
    /// A TCP port that the device has no reason to dial.
    pub foreign_port: u16,
    /// The process that started this one.
    pub parent: u32,
    /// The version of the runtime.
    pub os_version: String,
    /// What a verified boot measured, where there was one.
    pub boot: Option<[u8; 32]>,
}

/// Tries everything. To be called in a process that is locked down; in another one it does what it tries.
pub fn run(surroundings: &Surroundings, unix_ms: i64) -> SelfTest {
    let checks = attempts::all(surroundings).into_iter().map(check).collect();
    SelfTest { unix_ms, os_version: surroundings.os_version.clone(), boot: surroundings.boot, checks }
}

/// The result as a COSE_Sign1 by the device's identity key.
///
/// # Errors
/// The key does not sign.
pub fn signed(result: &SelfTest, keys: &DeviceKeys) -> Result<Vec<u8>, DeviceKeyError> {
    let payload = result.to_cbor();
    let signature = keys.sign(CosePurpose::SelfTest, &payload)?;
    Ok(cose::assemble(&payload, signature))
}

fn check(one: attempts::Try) -> SelfTestCheck {
    let (outcome, said) = match (one.go)() {
        Ok(()) => (SelfTestOutcome::NotRefused, "it succeeded".to_owned()),
        Err(error) => (outcome_of(&error), error.to_string()),
    };
    // The number of an error says nothing to people, and there is not room for everything.
    let said = said.split(" (os error").next().unwrap_or_default();
    let mut detail = format!("{}: {said}", one.what);
    detail.truncate(detail.floor_char_boundary(LIMITS.self_test_detail));
    SelfTestCheck { id: one.id.to_owned(), outcome, detail }
}

/// A refusal is one of two errors. Any other error is none: the kernel did not refuse the call, it disliked the arguments.
fn outcome_of(error: &io::Error) -> SelfTestOutcome {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => SelfTestOutcome::Refused,
        Some(Errno::NOSYS | Errno::NOENT | Errno::AFNOSUPPORT) => SelfTestOutcome::NotAvailable,
        _ => SelfTestOutcome::NotRefused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::keystore::{Keystore, KeystoreSpec};
    use keys::profile::Profile;

    #[test]
    fn only_the_kernels_refusals_count_as_refused() {
        for (errno, outcome) in [
            (Errno::PERM, SelfTestOutcome::Refused),
            (Errno::ACCESS, SelfTestOutcome::Refused),
            (Errno::NOSYS, SelfTestOutcome::NotAvailable),
            (Errno::NOENT, SelfTestOutcome::NotAvailable),
            (Errno::INVAL, SelfTestOutcome::NotRefused),
            (Errno::FAULT, SelfTestOutcome::NotRefused),
            (Errno::CONNREFUSED, SelfTestOutcome::NotRefused),
        ] {
            assert_eq!(outcome_of(&errno.into()), outcome, "{errno}");
        }
        assert_eq!(outcome_of(&io::Error::other("none of the kernel's")), SelfTestOutcome::NotRefused);
    }

    fn tried(go: fn() -> io::Result<()>) -> SelfTestCheck {
        check(attempts::Try { id: "listen", what: "listen on a TCP port", go: Box::new(go) })
    }

    fn keys() -> (tempfile::TempDir, DeviceKeys) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keystore::create(&KeystoreSpec::DangerSoftware, &dir.path().join("keys"), Profile::Modern).unwrap();
        (dir, DeviceKeys::Own(Box::new(keys)))
    }

    #[test]
    fn what_is_signed_is_the_result_as_the_server_reads_it() {
        let (_dir, keys) = keys();
        let refused = tried(|| Err(Errno::PERM.into()));
        assert_eq!(refused.detail, "listen on a TCP port: Operation not permitted");
        let done = tried(|| Ok(()));
        assert_eq!((done.outcome, &*done.detail), (SelfTestOutcome::NotRefused, "listen on a TCP port: it succeeded"));
        let result = SelfTest { unix_ms: 1, os_version: "vouch".to_owned(), boot: None, checks: vec![refused] };
        let signed = signed(&result, &keys).unwrap();
        assert_eq!(SelfTest::verify(keys.identity(), &signed, &LIMITS).unwrap(), result);
        assert!(cose::verify(CosePurpose::Challenge, keys.identity(), &signed).is_err());
    }

    #[test]
    fn the_longest_result_fits_what_the_server_takes() {
        let surroundings = Surroundings {
            dir: PathBuf::new(),
            foreign_port: 1,
            parent: 1,
            os_version: "v".repeat(LIMITS.label),
            boot: Some([1; 32]),
        };
        let longest =
            |one: attempts::Try| check(attempts::Try { go: Box::new(|| Err(io::Error::other("x".repeat(99)))), ..one });
        let checks = attempts::all(&surroundings).into_iter().map(longest).collect();
        let result =
            SelfTest { unix_ms: i64::MAX, os_version: surroundings.os_version, boot: surroundings.boot, checks };
        let (_dir, keys) = keys();
        let signed = signed(&result, &keys).unwrap();
        assert_eq!(SelfTest::verify(keys.identity(), &signed, &LIMITS).unwrap(), result);
        assert!(signed.len() <= LIMITS.self_test && signed.len() <= vault::Record::SelfTest.most());
    }
}
