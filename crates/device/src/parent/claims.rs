//! What a child may have signed about its device: nothing else than what its parent knows.

use keys::keystore::AttestationLevel;
use keys::public::SpkiHash;
use protocol::codec::CodecError;
use protocol::eat::Eat;
use protocol::limits::LIMITS;
use protocol::self_test::SelfTest;

use super::message::SignFor;
use crate::booted::Booted;

/// What the parent knows of the device: from its keys, from the anchors, and from the image that it loaded.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) identity: SpkiHash,
    pub(super) model: &'a str,
    pub(super) attestation: AttestationLevel,
    pub(super) booted: &'a Booted,
    /// How often the vault was changed; nothing on a device that keeps nothing.
    pub(super) vault_generation: Option<u64>,
}

/// Why a child gets no signature.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClaimRefused {
    /// Not what is signed for this purpose.
    #[error("what is to be signed has not the form that belongs to its purpose: {0}")]
    Form(#[from] CodecError),
    /// It says something else than what is so.
    #[error("a device that says another {0} of itself than its parent knows gets no signature")]
    Untrue(&'static str),
}

impl Known<'_> {
    /// Whether this may be signed for this purpose.
    ///
    /// # Errors
    /// [`ClaimRefused`].
    pub(super) fn allow(&self, purpose: SignFor, payload: &[u8]) -> Result<(), ClaimRefused> {
        let claims = match purpose {
            SignFor::Challenge => self.of_proof(&Eat::from_cbor(payload, &LIMITS)?),
            SignFor::SelfTest => self.of_boot(&SelfTest::from_cbor(payload, &LIMITS)?),
            // It says nothing about a boot.
            SignFor::Renewal => Vec::new(),
        };
        match claims.into_iter().find(|(_, is_true)| !is_true) {
            Some((claim, _)) => Err(ClaimRefused::Untrue(claim)),
            None => Ok(()),
        }
    }

    /// Nonce, exporter and profile are the connection's, which the server holds against it.
    fn of_proof(&self, eat: &Eat) -> Vec<(&'static str, bool)> {
        let Booted { manifest_sha256, version, layers, danger_unlocked_memory, .. } = self.booted;
        // The child may have written its vault since it composed this.
        let is_generation = match (eat.vault_generation, self.vault_generation) {
            (Some(claimed), Some(known)) => claimed.get() <= known,
            (None, known) => known.is_none(),
            (Some(_), None) => false,
        };
        vec![
            ("identity", eat.identity == self.identity),
            ("model", eat.model == self.model),
            ("place of its keys", eat.attestation == self.attestation),
            ("OS version", eat.os_version == version.to_string()),
            ("boot measurement", eat.boot == Some(**manifest_sha256)),
            ("demand of signatures", eat.layers == Some(*layers)),
            ("state of its memory", eat.memory_locked == Some(!danger_unlocked_memory)),
            ("generation of its vault", is_generation),
        ]
    }

    fn of_boot(&self, result: &SelfTest) -> Vec<(&'static str, bool)> {
        let Booted { manifest_sha256, version, .. } = self.booted;
        vec![
            ("OS version", result.os_version == version.to_string()),
            ("boot measurement", result.boot == Some(**manifest_sha256)),
        ]
    }
}
