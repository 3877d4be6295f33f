//! One key has one name: the library counts names, so a card under two of them would count twice.

use std::collections::BTreeMap;

use keys::metadata::spki_of_pem;
use keys::public::PublicKey;
use sigstore_tuf::{Key, Metadata, Root, Targets, TrustedMetadataSet};

use super::TufError;

/// The SubjectPublicKeyInfo of an Ed25519 key up to the key (RFC 8410).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Checks a root that nobody has verified yet.
pub(super) fn in_root(root: &[u8]) -> Result<(), TufError> {
    let root = Metadata::<Root>::from_slice(root)?;
    check(&format!("root version {}", root.signed().version), &root.signed().keys)
}

/// Checks the delegations of the verified targets.
pub(super) fn in_delegations(set: &TrustedMetadataSet) -> Result<(), TufError> {
    set.targets_role("targets").map_or(Ok(()), in_targets)
}

/// The same for targets by themselves.
pub(crate) fn in_targets(targets: &Targets) -> Result<(), TufError> {
    let Some(delegations) = &targets.delegations else { return Ok(()) };
    check(&format!("the delegations of targets version {}", targets.version), &delegations.keys)
}

fn check(place: &str, named: &BTreeMap<String, Key>) -> Result<(), TufError> {
    let mut seen: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
    for (name, key) in named {
        let bytes = comparable(key).ok_or_else(|| TufError::KeyForm { place: place.to_owned(), key: name.clone() })?;
        if let Some(first) = seen.insert(bytes, name) {
            let (place, first, second) = (place.to_owned(), first.to_owned(), name.clone());
            return Err(TufError::SameKey { place, first, second });
        }
    }
    Ok(())
}

/// Bytes that are equal for equal keys, however they are written.
fn comparable(key: &Key) -> Option<Vec<u8>> {
    let text = key.keyval.public.trim();
    let spki = match spki_of_pem(text) {
        Some(spki) => spki,
        None if key.scheme == "ed25519" => [&ED25519_PREFIX[..], &const_hex::decode(text).ok()?].concat(),
        // Of a scheme that the library does not verify: it never counts.
        None => return Some(key.keyval.public.clone().into_bytes()),
    };
    // A point may be written in two ways; only one is taken.
    let fits = key.scheme != "ecdsa-sha2-nistp256" || PublicKey::from_spki_der(&spki).is_ok();
    fits.then_some(spki)
}
