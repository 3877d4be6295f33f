//! The check of a device's proof, and the token that only this check makes.

use keys::cose::{self, CosePurpose};
use keys::profile::Profile;
use keys::public::{DeviceId, PublicKey, SpkiHash};

use crate::eat::Eat;
use crate::facts::{EXPORTER_LEN, NONCE_LEN};
use crate::limits::Limits;
use crate::reason::Refusal;

/// Proof that `T` was authenticated. There is no way to make one but the check of this module, and none to copy
/// one, so that whoever holds it can open that one session.
#[derive(Debug)]
pub struct Authenticated<T>(T);

impl<T> Authenticated<T> {
    /// What was authenticated.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// What was authenticated; the proof is gone.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// A device that proved itself on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its short id.
    pub id: DeviceId,
    /// The hash of its identity key; whatever is kept about a device is kept under this.
    pub identity: SpkiHash,
    /// What it claims about itself, signed.
    pub claims: Eat,
    /// Everything that an outsider needs to check the proof again.
    pub record: ChallengeRecord,
}

/// One challenge and its answer: enough to verify the signature and to compare nonce and exporter later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeRecord {
    /// The nonce of the challenge.
    pub nonce: [u8; NONCE_LEN],
    /// The TLS exporter value, as this end of the connection has it.
    pub exporter: [u8; EXPORTER_LEN],
    /// The answer: an EAT as COSE_Sign1.
    pub eat_cose: Vec<u8>,
    /// The COSE external_aad under which it is signed.
    pub external_aad: &'static [u8],
    /// The identity key: SubjectPublicKeyInfo, DER.
    pub identity_spki: Vec<u8>,
}

/// A device that was refused, with what it brought forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedDevice {
    /// Why.
    pub reason: Refusal,
    /// The identity that it named; absent when it was refused before it named one.
    pub identity: Option<SpkiHash>,
    /// Its answer to the challenge; absent when it was refused before.
    pub record: Option<ChallengeRecord>,
}

/// Whether an enrolled device may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Enrolled,
    /// It was revoked.
    Revoked,
}

/// What the server's records say about an identity.
#[derive(Clone, Debug)]
pub struct KnownDevice {
    /// The identity key, parsed once.
    pub identity: PublicKey,
    /// The hash of the TLS key certified for it.
    pub tls_key: SpkiHash,
    /// Whether it may connect.
    pub standing: Standing,
}

/// What the server knows of a connection itself, whatever the device says.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) nonce: [u8; NONCE_LEN],
    pub(super) exporter: [u8; EXPORTER_LEN],
    pub(super) peer_tls_key: SpkiHash,
    pub(super) profile: Profile,
}

impl Connection {
    /// The checks before the challenge: unknown, revoked, certificate of another device.
    pub(super) fn admit(&self, claimed: SpkiHash, known: Option<KnownDevice>) -> Result<KnownDevice, Refusal> {
        let known = known.ok_or(Refusal::UnknownDevice)?;
        if known.identity.spki_hash() != claimed {
            return Err(Refusal::UnknownDevice);
        }
        if known.standing == Standing::Revoked {
            return Err(Refusal::Revoked);
        }
        if known.tls_key != self.peer_tls_key {
            return Err(Refusal::WrongCertificate);
        }
        Ok(known)
    }

    /// The checks of the proof: signature, claims, nonce, exporter, profile, ueid.
    pub(super) fn check(
        &self,
        known: &KnownDevice,
        eat_cose: Vec<u8>,
        limits: &Limits,
    ) -> Result<Authenticated<Device>, Box<RefusedDevice>> {
        let record = ChallengeRecord {
            nonce: self.nonce,
            exporter: self.exporter,
            eat_cose,
            external_aad: CosePurpose::Challenge.external_aad(),
            identity_spki: known.identity.spki_der().to_vec(),
        };
        match self.judge(known, &record.eat_cose, limits) {
            Ok(claims) => {
                let identity = known.identity.spki_hash();
                Ok(Authenticated(Device { id: DeviceId::from(identity), identity, claims, record }))
            }
            Err(reason) => {
                let identity = Some(known.identity.spki_hash());
                Err(Box::new(RefusedDevice { reason, identity, record: Some(record) }))
            }
        }
    }

    fn judge(&self, known: &KnownDevice, eat_cose: &[u8], limits: &Limits) -> Result<Eat, Refusal> {
        let payload =
            cose::verify(CosePurpose::Challenge, &known.identity, eat_cose).map_err(|_| Refusal::BadSignature)?;
        let claims = Eat::from_cbor(&payload, limits).map_err(|_| Refusal::BadClaims)?;
        if claims.nonce != self.nonce {
            return Err(Refusal::NonceMismatch);
        }
        if claims.exporter != self.exporter {
            return Err(Refusal::ExporterMismatch);
        }
        if claims.profile != self.profile {
            return Err(Refusal::WrongProfile);
        }
        if claims.identity != known.identity.spki_hash() {
            return Err(Refusal::WrongIdentity);
        }
        Ok(claims)
    }
}
