//! The claims that a device signs to answer the challenge: an Entity Attestation Token (RFC 9711).
//!
//! Claim keys are the registered ones where there is one, else private ones (below -65536, RFC 8392 section 9.1),
//! fixed in `docs/wire.cddl`. A claim whose source does not exist on a device is absent; zero is never sent for
//! "nothing" and is refused when it comes.

use std::num::NonZeroU64;

use keys::cbor;
pub use keys::keystore::AttestationLevel;
use keys::profile::Profile;
use keys::public::SpkiHash;
use minicbor::bytes::ByteArray;
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use minicbor::{Decode, Encode};

use crate::codec::{CodecError, at_most};
use crate::facts::{EXPORTER_LEN, NONCE_LEN, UEID_TYPE};
use crate::limits::Limits;

/// `eat_nonce` (RFC 9711, section 4.1).
pub const CLAIM_NONCE: i32 = 10;
/// `ueid` (RFC 9711, section 4.2.1).
pub const CLAIM_UEID: i32 = 256;
/// The TLS exporter value of the connection (RFC 9266).
pub const CLAIM_EXPORTER: i32 = -70001;
/// The model name.
pub const CLAIM_MODEL: i32 = -70002;
/// The version of the runtime.
pub const CLAIM_OS_VERSION: i32 = -70003;
/// Where the identity key lives.
pub const CLAIM_ATTESTATION: i32 = -70004;
/// The TLS profile that the device believes it speaks.
pub const CLAIM_PROFILE: i32 = -70005;
/// What a verified boot measured.
pub const CLAIM_BOOT: i32 = -70006;
/// The generation of the vault.
pub const CLAIM_VAULT: i32 = -70007;
/// Which layers of signatures the device demands of an OS image.
pub const CLAIM_LAYERS: i32 = -70008;
/// Whether the decrypted OS image is locked in memory.
pub const CLAIM_MEMORY_LOCKED: i32 = -70009;

/// Which layers of signatures a device demands of an OS image before it boots or installs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum DemandedLayers {
    /// The release key's signature alone: whoever has that one key can make an image.
    #[n(1)]
    DangerL1Only,
    /// The release key's signature, and a quorum of custodians.
    #[n(2)]
    L1AndL2,
}

/// The claims of one answer to one challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eat {
    /// The nonce of the challenge that this answers.
    pub nonce: [u8; NONCE_LEN],
    /// The device: the hash of its identity key. On the wire it follows [`UEID_TYPE`].
    pub identity: SpkiHash,
    /// The TLS exporter value of the connection that this is for.
    pub exporter: [u8; EXPORTER_LEN],
    /// The model name.
    pub model: String,
    /// The version of the runtime.
    pub os_version: String,
    /// Where the identity key lives.
    pub attestation: AttestationLevel,
    /// The TLS profile of the connection.
    pub profile: Profile,
    /// What a verified boot measured; absent where no boot is verified.
    pub boot: Option<[u8; 32]>,
    /// The generation of the vault; absent where there is no vault.
    pub vault_generation: Option<NonZeroU64>,
    /// Which layers the device demands; absent where no boot is verified.
    pub layers: Option<DemandedLayers>,
    /// Whether the decrypted OS image is locked in memory, so that it is never written to a disk; absent where no boot is verified.
    pub memory_locked: Option<bool>,
}

impl Eat {
    /// The payload to sign.
    pub fn to_cbor(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a payload, whose signature is for somebody else to check.
    ///
    /// # Errors
    /// [`CodecError`] when it is not exactly one set of claims within the bounds.
    pub fn from_cbor(payload: &[u8], limits: &Limits) -> Result<Self, CodecError> {
        let eat: Self = cbor::decode(payload)?;
        eat.check(limits)?;
        Ok(eat)
    }

    pub(crate) fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        at_most("the model name", self.model.len(), limits.label)?;
        at_most("the runtime's version", self.os_version.len(), limits.label)?;
        match self.boot {
            Some(measured) if measured == [0; 32] => Err(CodecError::Meaningless("the boot measurement")),
            None if self.layers.is_some() || self.memory_locked.is_some() => {
                Err(CodecError::Meaningless("a claim about a boot that was not measured"))
            }
            _ => Ok(()),
        }
    }
}

impl<C> Encode<C> for Eat {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        let optional =
            [self.boot.is_some(), self.vault_generation.is_some(), self.layers.is_some(), self.memory_locked.is_some()];
        let optional = optional.into_iter().map(u64::from).sum::<u64>();
        let mut ueid = [UEID_TYPE; 33];
        ueid[1..].copy_from_slice(self.identity.as_bytes());
        e.map(7 + optional)?;
        e.i32(CLAIM_NONCE)?.bytes(&self.nonce)?;
        e.i32(CLAIM_UEID)?.bytes(&ueid)?;
        e.i32(CLAIM_EXPORTER)?.bytes(&self.exporter)?;
        e.i32(CLAIM_MODEL)?.str(&self.model)?;
        e.i32(CLAIM_OS_VERSION)?.str(&self.os_version)?;
        e.i32(CLAIM_ATTESTATION)?.encode_with(self.attestation, ctx)?;
        e.i32(CLAIM_PROFILE)?.u8(profile_number(self.profile))?;
        if let Some(measured) = &self.boot {
            e.i32(CLAIM_BOOT)?.bytes(measured)?;
        }
        if let Some(generation) = self.vault_generation {
            e.i32(CLAIM_VAULT)?.u64(generation.get())?;
        }
        if let Some(layers) = self.layers {
            e.i32(CLAIM_LAYERS)?.encode_with(layers, ctx)?;
        }
        if let Some(locked) = self.memory_locked {
            e.i32(CLAIM_MEMORY_LOCKED)?.bool(locked)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Eat {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let count = d.map()?.ok_or_else(|| decode::Error::message("indefinite length"))?;
        let mut claims = Claims::default();
        for _ in 0..count {
            claims.read(d, ctx)?;
        }
        claims.complete().ok_or_else(|| decode::Error::message("a claim is missing"))
    }
}

pub(crate) fn profile_number(profile: Profile) -> u8 {
    match profile {
        Profile::Classic => 1,
        Profile::Modern => 2,
    }
}

pub(crate) fn profile_of(number: u8) -> Result<Profile, decode::Error> {
    match number {
        1 => Ok(Profile::Classic),
        2 => Ok(Profile::Modern),
        _ => Err(decode::Error::message("no such profile")),
    }
}

/// The claims read so far. Order and repetition need no check here: the re-encoding differs then.
#[derive(Default)]
struct Claims {
    nonce: Option<[u8; NONCE_LEN]>,
    identity: Option<SpkiHash>,
    exporter: Option<[u8; EXPORTER_LEN]>,
    model: Option<String>,
    os_version: Option<String>,
    attestation: Option<AttestationLevel>,
    profile: Option<Profile>,
    boot: Option<[u8; 32]>,
    vault_generation: Option<NonZeroU64>,
    layers: Option<DemandedLayers>,
    memory_locked: Option<bool>,
}

impl Claims {
    fn read<C>(&mut self, d: &mut Decoder<'_>, ctx: &mut C) -> Result<(), decode::Error> {
        match d.i32()? {
            CLAIM_NONCE => self.nonce = Some(d.decode::<ByteArray<NONCE_LEN>>()?.into()),
            CLAIM_UEID => self.identity = Some(identity_of(d.decode::<ByteArray<33>>()?.into())?),
            CLAIM_EXPORTER => self.exporter = Some(d.decode::<ByteArray<EXPORTER_LEN>>()?.into()),
            CLAIM_MODEL => self.model = Some(d.str()?.to_owned()),
            CLAIM_OS_VERSION => self.os_version = Some(d.str()?.to_owned()),
            CLAIM_ATTESTATION => self.attestation = Some(d.decode_with(ctx)?),
            CLAIM_PROFILE => self.profile = Some(profile_of(d.u8()?)?),
            CLAIM_BOOT => self.boot = Some(d.decode::<ByteArray<32>>()?.into()),
            CLAIM_VAULT => {
                let generation = NonZeroU64::new(d.u64()?);
                self.vault_generation = Some(generation.ok_or_else(|| decode::Error::message("generation 0"))?);
            }
            CLAIM_LAYERS => self.layers = Some(d.decode_with(ctx)?),
            CLAIM_MEMORY_LOCKED => self.memory_locked = Some(d.bool()?),
            _ => return Err(decode::Error::message("unknown claim")),
        }
        Ok(())
    }

    fn complete(self) -> Option<Eat> {
        Some(Eat {
            nonce: self.nonce?,
            identity: self.identity?,
            exporter: self.exporter?,
            model: self.model?,
            os_version: self.os_version?,
            attestation: self.attestation?,
            profile: self.profile?,
            boot: self.boot,
            vault_generation: self.vault_generation,
            layers: self.layers,
            memory_locked: self.memory_locked,
        })
    }
}

fn identity_of(ueid: [u8; 33]) -> Result<SpkiHash, decode::Error> {
    let [UEID_TYPE, hash @ ..] = ueid else {
        return Err(decode::Error::message("another type of ueid"));
    };
    Ok(SpkiHash(hash))
}
