//! Metadata on its way through the hands of those who sign it.

use std::collections::BTreeMap;

use keys::metadata;
use keys::public::PublicKey;
use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_tuf::{Metadata, Root};

use crate::limits::LIMITS;
use crate::root::{RootContent, RootError, from_time, key_id};

/// What signatures, one of each custodian, and line ends in keys add at most to the bytes that are signed.
const SIGNATURES: usize = 8 * 1024;

/// Metadata with the signatures that it has so far. Its content never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    signed: Value,
    canonical: Vec<u8>,
    signatures: BTreeMap<String, String>,
}

/// How far the signing has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Names of the keys that have signed and count.
    pub signed: Vec<String>,
    /// Names of the keys that could still sign.
    pub missing: Vec<String>,
    /// How many are needed.
    pub threshold: usize,
}

/// Why metadata cannot be made or signed.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// Not metadata.
    #[error("not release metadata: {0}")]
    Form(String),
    /// What TUF's canonical JSON cannot hold.
    #[error("not release metadata: {0}")]
    Canonical(#[from] sigstore_tuf::Error),
    /// A key, a date, or a root that breaks a rule.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A quorum that is none.
    #[error("the {role} needs 1 to {keys} signatures of its {keys} different keys, not {threshold}")]
    Threshold {
        /// Whose.
        role: String,
        /// How many keys there are.
        keys: usize,
        /// What was asked for.
        threshold: usize,
    },
    /// Two custodians with one key.
    #[error("two of the keys of the {0} are one and the same; each custodian needs a card of their own")]
    SameKey(String),
    /// A part that breaks a bound.
    #[error("{0}")]
    Bound(&'static str),
    /// A signature that does not verify.
    #[error("the signature is not this key's over this metadata")]
    BadSignature,
    /// Signatures over something else.
    #[error("the two files were not signed over the same content; each custodian must sign the same file")]
    OtherContent,
    /// No such role.
    #[error("the root names no role {0:?}")]
    NoSuchRole(String),
}

impl Progress {
    /// Whether it is signed well enough.
    pub fn is_complete(&self) -> bool {
        self.signed.len() >= self.threshold
    }
}

impl Draft {
    /// A root, to be signed under the quorum of the root before it and under its own.
    ///
    /// # Errors
    /// [`DraftError::Root`].
    pub fn of_root(content: &RootContent) -> Result<Draft, DraftError> {
        Draft::new(content.to_signed()?)
    }

    pub(super) fn new(signed: Value) -> Result<Draft, DraftError> {
        let canonical = to_canonical_bytes(&signed)?;
        if canonical.len() + SIGNATURES > LIMITS.targets {
            return Err(DraftError::Bound("the metadata would be longer than devices take it; drop older releases"));
        }
        Ok(Draft { signed, canonical, signatures: BTreeMap::new() })
    }

    /// Reads metadata, with the signatures that it has; these count only after [`Draft::progress`] has verified them.
    ///
    /// # Errors
    /// [`DraftError::Form`].
    pub fn from_json(bytes: &[u8]) -> Result<Draft, DraftError> {
        let form = |what: &str| DraftError::Form(what.to_owned());
        if bytes.len() > LIMITS.targets {
            return Err(form("the file is too long"));
        }
        let mut file: Value = serde_json::from_slice(bytes).map_err(|error| DraftError::Form(error.to_string()))?;
        let mut draft = Draft::new(file.get_mut("signed").map(Value::take).ok_or_else(|| form("nothing is signed"))?)?;
        let signatures = file.get("signatures").and_then(Value::as_array).ok_or_else(|| form("no signatures"))?;
        for signature in signatures {
            let part = |name| signature.get(name).and_then(Value::as_str).ok_or_else(|| form("a signature's form"));
            draft.signatures.insert(part("keyid")?.to_owned(), part("sig")?.to_owned());
        }
        Ok(draft)
    }

    /// The file: what is signed, and the signatures.
    pub fn to_json(&self) -> Vec<u8> {
        let signatures: Vec<Value> =
            self.signatures.iter().map(|(keyid, sig)| json!({ "keyid": keyid, "sig": sig })).collect();
        json!({ "signatures": signatures, "signed": self.signed }).to_string().into_bytes()
    }

    /// The bytes to sign, with ECDSA P-256 and SHA-256.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.canonical
    }

    /// The version of the metadata.
    pub fn version(&self) -> Option<u64> {
        self.signed.get("version").and_then(Value::as_u64)
    }

    /// Until when the metadata hold: seconds since 1970.
    pub fn expires(&self) -> Option<i64> {
        from_time(self.signed.get("expires")?).ok()
    }

    /// What is signed, to be shown.
    pub fn content(&self) -> &Value {
        &self.signed
    }

    /// Adds the signature of a key: r and s side by side, as cards and PKCS#11 give them.
    ///
    /// # Errors
    /// [`DraftError::BadSignature`] when it does not verify.
    pub fn sign(&mut self, key: &PublicKey, side_by_side: &[u8; 64]) -> Result<(), DraftError> {
        self.sign_der(key, &metadata::der(side_by_side))
    }

    /// Adds the signature of a key in DER, as `keys::metadata::sign` gives it.
    ///
    /// # Errors
    /// [`DraftError::BadSignature`] when it does not verify.
    pub fn sign_der(&mut self, key: &PublicKey, der: &[u8]) -> Result<(), DraftError> {
        metadata::verify(key, &self.canonical, der).map_err(|_| DraftError::BadSignature)?;
        self.signatures.insert(key_id(key)?, const_hex::encode(der));
        Ok(())
    }

    /// Adds the signatures of a copy that somebody else signed.
    ///
    /// # Errors
    /// [`DraftError::OtherContent`] when it is no copy.
    pub fn merge(&mut self, other: Draft) -> Result<(), DraftError> {
        if other.canonical != self.canonical {
            return Err(DraftError::OtherContent);
        }
        self.signatures.extend(other.signatures);
        Ok(())
    }

    /// Who has signed for this role of this root. The root itself is the caller's to trust.
    ///
    /// # Errors
    /// [`DraftError`] when the root cannot be read or has no such role.
    pub fn progress(&self, root: &[u8], role: &str) -> Result<Progress, DraftError> {
        let root = Metadata::<Root>::from_slice(root).map_err(|error| DraftError::Form(error.to_string()))?;
        let root = root.signed();
        let quorum = root.role(role).ok_or_else(|| DraftError::NoSuchRole(role.to_owned()))?;
        let verifies = |id: &String| {
            let signature = self.signatures.get(id).and_then(|hex| const_hex::decode(hex).ok())?;
            let spki = metadata::spki_of_pem(&root.keys.get(id)?.keyval.public)?;
            metadata::verify(&PublicKey::from_spki_der(&spki).ok()?, &self.canonical, &signature).ok()
        };
        let (signed, missing) = quorum.keyids.iter().cloned().partition(|id| verifies(id).is_some());
        Ok(Progress { signed, missing, threshold: quorum.threshold })
    }
}
