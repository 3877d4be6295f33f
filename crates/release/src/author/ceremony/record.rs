//! The record of a ceremony: each meeting an entry, chained to the one before and signed by everybody who was there.

use keys::hashes::sha256;
use keys::public::PublicKey;
use serde::{Deserialize, Serialize};
use sigstore_tuf::canonical_json::to_canonical_bytes;

use super::card::Card;
use super::hsm::HsmFacts;
use super::login::LoginError;

/// Separates signatures over entries from every other signature of a card.
const PREFIX: &[u8] = b"vouch/ceremony/record/1\n";

/// One image that was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedManifest {
    /// For which models.
    pub models: Vec<String>,
    /// SHA-256 of its manifest, in hex.
    pub sha256: String,
}

/// One custodian's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovedBy {
    /// Who.
    pub custodian: String,
    /// Whether they compared the image with a build of their own.
    pub compared: bool,
    /// When: milliseconds since 1970, by the clock of their machine. Absent in entries from before it was noted, whose signatures hold
    /// without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix_ms: Option<u64>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// The HSM's key was made, the cards enrolled, the secrets split.
    Founded {
        /// The custodians.
        custodians: Vec<String>,
        /// How many must approve a release.
        release_needed: usize,
        /// How many must sign a root.
        root_needed: usize,
        /// SHA-256 of the release key, in hex.
        release_key: String,
    },
    /// Manifests were signed.
    Signed {
        /// The OS version.
        version: String,
        /// The images.
        manifests: Vec<SignedManifest>,
        /// Who approved before.
        approvals: Vec<ApprovedBy>,
    },
    /// A new root was signed.
    Changed {
        /// Its version.
        root_version: u64,
        /// What is new, one sentence each.
        changes: Vec<String>,
    },
}

/// One meeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Counts from 1.
    pub number: usize,
    /// SHA-256 of the file of the entry before, in hex; absent in the first.
    pub previous: Option<String>,
    /// When: milliseconds since 1970, by the clock of the machine.
    pub unix_ms: i64,
    /// Where, and what else those present want to have written down.
    pub note: Option<String>,
    /// Whose cards were used.
    pub present: Vec<String>,
    /// The HSM.
    pub hsm: HsmFacts,
    /// What was done.
    pub act: Act,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    entry: Entry,
    signatures: Vec<EntrySignature>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntrySignature {
    custodian: String,
    /// r and s in hex.
    signature: String,
}

/// Why a record is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {number} of the record: {why}")]
pub struct RecordError {
    /// Which entry.
    pub number: usize,
    /// What is wrong with it.
    pub why: String,
}

impl Entry {
    fn to_be_signed(&self) -> Result<Vec<u8>, RecordError> {
        let wrong = |why: String| RecordError { number: self.number, why };
        let value = serde_json::to_value(self).map_err(|error| wrong(error.to_string()))?;
        let canonical = to_canonical_bytes(&value).map_err(|error| wrong(error.to_string()))?;
        Ok([PREFIX, &canonical].concat())
    }

    /// The file of the entry, signed by these cards.
    ///
    /// # Errors
    /// [`LoginError::Card`] when a card refuses.
    pub fn sign(self, cards: &[Card]) -> Result<Vec<u8>, LoginError> {
        let message = self.to_be_signed().map_err(|_| LoginError::Damaged)?;
        let sign = |card: &Card| {
            let custodian = card.custodian().name.clone();
            let signature =
                card.sign(&message).map_err(|source| LoginError::Card { custodian: custodian.clone(), source })?;
            Ok(EntrySignature { custodian, signature: const_hex::encode(signature) })
        };
        let signatures = cards.iter().map(sign).collect::<Result<_, LoginError>>()?;
        serde_json::to_vec_pretty(&EntryFile { entry: self, signatures }).map_err(|_| LoginError::Damaged)
    }
}

/// The hash by which the next entry names this file.
pub fn hash(file: &[u8]) -> String {
    const_hex::encode(sha256(file))
}

/// The newest root that these files name, whoever signed them: only whether something is left to be written down rests on it.
pub(super) fn recorded_root(files: &[Vec<u8>]) -> u64 {
    let version = |file: &Vec<u8>| match serde_json::from_slice::<EntryFile>(file).ok()?.entry.act {
        Act::Founded { .. } => Some(1),
        Act::Changed { root_version, .. } => Some(root_version),
        Act::Signed { .. } => None,
    };
    files.iter().filter_map(version).max().unwrap_or_default()
}

/// Reads a record: each entry follows the one before, and everybody who was there has signed it. `key_of` gives the signing
/// keys that a custodian of this name has had.
///
/// # Errors
/// [`RecordError`] for the first entry that is not what was written.
pub fn read<'k>(files: &[Vec<u8>], key_of: impl Fn(&str) -> Vec<&'k PublicKey>) -> Result<Vec<Entry>, RecordError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut before: Option<String> = None;
    for (index, bytes) in files.iter().enumerate() {
        let number = index + 1;
        let wrong = |why: String| RecordError { number, why };
        let EntryFile { entry, signatures } =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if entry.number != number || entry.previous != before {
            return Err(wrong("it does not follow the entry before".to_owned()));
        }
        let message = entry.to_be_signed()?;
        if entry.present.is_empty() {
            return Err(wrong("nobody was there".to_owned()));
        }
        for name in &entry.present {
            let found = signatures.iter().find(|signature| signature.custodian == *name);
            let signature = found.and_then(|found| const_hex::decode(&found.signature).ok());
            let signature = signature.ok_or_else(|| wrong(format!("{name} was there and has not signed it")))?;
            if !key_of(name).iter().any(|key| key.verify(&message, &signature).is_ok()) {
                return Err(wrong(format!("the signature of {name} is not by a card of theirs over this entry")));
            }
        }
        before = Some(hash(bytes));
        entries.push(entry);
    }
    Ok(entries)
}
