//! A locked down device tries everything that it must not be able to do, and signs what became of it.

mod attempts;

use std::fmt;
use std::io;
use std::path::PathBuf;

use keys::cose::{self, CosePurpose};
use keys::public::PublicKey;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::device_keys::{DeviceKeyError, DeviceKeys};
use crate::sandbox::Protections;

/// What became of a self-test. What is signed is its JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// The device: the SHA-256 of its identity key, in hex.
    pub device: String,
    /// When: milliseconds since 1970 by the device's clock.
    pub unix_ms: i64,
    /// The kernel's release.
    pub kernel: String,
    /// What was locked down before.
    pub protections: Protections,
    /// What was tried.
    pub attempts: Vec<Attempt>,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its stable name.
    pub id: String,
    /// What was tried, in words.
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What the kernel said.
    pub said: String,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The kernel refused it.
    Refused,
    /// It was done, or the kernel went on to look at its arguments.
    NotRefused,
    /// This system has nothing that could be tried.
    NotAvailable,
}

/// Why there is no signed result.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// The result cannot be written as JSON.
    #[error("the result of the self-test cannot be written: {0}")]
    Form(#[from] serde_json::Error),
    /// The identity key does not sign.
    #[error("the result of the self-test cannot be signed: {0}")]
    Sign(#[from] DeviceKeyError),
}

/// What a self-test must know beforehand: once the process is locked down it cannot look it up.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The device's folder; its keys must be out of reach.
    pub dir: PathBuf,
    /// A TCP port that the device has no reason to dial.
    pub foreign_port: u16,
    /// The process that started this one.
    pub parent: u32,
    /// The kernel's release.
    pub kernel: String,
}

/// Tries everything. To be called in a process that is locked down; in another one it does what it tries.
pub fn run(surroundings: Surroundings, protections: Protections, identity: &PublicKey, unix_ms: i64) -> SelfTest {
    let attempts = attempts::all(&surroundings).into_iter().map(Attempt::of).collect();
    let device = identity.spki_hash().to_string();
    SelfTest { device, unix_ms, kernel: surroundings.kernel, protections, attempts }
}

impl SelfTest {
    /// Whether nothing was left undone that should have been refused.
    pub fn has_passed(&self) -> bool {
        self.attempts.iter().all(|attempt| attempt.outcome != Outcome::NotRefused)
    }

    /// The result as a COSE_Sign1 by the device's identity key.
    ///
    /// # Errors
    /// [`SelfTestError`].
    pub fn signed(&self, keys: &DeviceKeys) -> Result<Vec<u8>, SelfTestError> {
        let payload = serde_json::to_vec(self)?;
        let signature = keys.sign(CosePurpose::SelfTest, &payload)?;
        Ok(cose::assemble(&payload, signature))
    }
}

impl Attempt {
    fn of(one: attempts::Try) -> Attempt {
        let (outcome, said) = match (one.go)() {
            Ok(()) => (Outcome::NotRefused, "it succeeded".to_owned()),
            Err(error) => (outcome_of(&error), error.to_string()),
        };
        Attempt { id: one.id.to_owned(), what: one.what.to_owned(), outcome, said }
    }
}

/// A refusal is one of two errors. Any other error is none: the kernel did not refuse the call, it disliked the arguments.
fn outcome_of(error: &io::Error) -> Outcome {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => Outcome::Refused,
        Some(Errno::NOSYS | Errno::NOENT | Errno::AFNOSUPPORT) => Outcome::NotAvailable,
        _ => Outcome::NotRefused,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Refused => "refused",
            Outcome::NotRefused => "NOT REFUSED",
            Outcome::NotAvailable => "not available",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::keystore::{Keystore, KeystoreSpec};
    use keys::profile::Profile;

    fn report(outcomes: &[Outcome]) -> SelfTest {
        let attempt = |outcome: &Outcome| Attempt {
            id: "listen".to_owned(),
            what: String::new(),
            outcome: *outcome,
            said: String::new(),
        };
        SelfTest {
            device: String::new(),
            unix_ms: 1,
            kernel: "6".to_owned(),
            protections: Protections::default(),
            attempts: outcomes.iter().map(attempt).collect(),
        }
    }

    #[test]
    fn one_thing_that_is_not_refused_fails_the_test() {
        assert!(report(&[Outcome::Refused, Outcome::NotAvailable]).has_passed());
        assert!(!report(&[Outcome::Refused, Outcome::NotRefused]).has_passed());
    }

    #[test]
    fn only_the_kernels_refusals_count_as_refused() {
        for (errno, outcome) in [
            (Errno::PERM, Outcome::Refused),
            (Errno::ACCESS, Outcome::Refused),
            (Errno::NOSYS, Outcome::NotAvailable),
            (Errno::NOENT, Outcome::NotAvailable),
            (Errno::INVAL, Outcome::NotRefused),
            (Errno::FAULT, Outcome::NotRefused),
            (Errno::CONNREFUSED, Outcome::NotRefused),
        ] {
            assert_eq!(outcome_of(&errno.into()), outcome, "{errno}");
        }
        assert_eq!(outcome_of(&io::Error::other("none of the kernel's")), Outcome::NotRefused);
    }

    #[test]
    fn what_is_signed_is_the_result_for_this_purpose_alone() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keystore::create(&KeystoreSpec::DangerSoftware, &dir.path().join("keys"), Profile::Modern).unwrap();
        let report = report(&[Outcome::Refused]);
        let keys = DeviceKeys::Own(Box::new(keys));
        let signed = report.signed(&keys).unwrap();
        let payload = cose::verify(CosePurpose::SelfTest, keys.identity(), &signed).unwrap();
        assert_eq!(serde_json::from_slice::<SelfTest>(&payload).unwrap(), report);
        assert!(cose::verify(CosePurpose::Challenge, keys.identity(), &signed).is_err());
    }
}
