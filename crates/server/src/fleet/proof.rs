//! What devices prove of themselves, what is demanded of it, and what people are alarmed about.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use keys::keystore::AttestationLevel;
use keys::public::{DeviceId, SpkiHash};
use protocol::eat::{DemandedLayers, Eat};

use super::ids::NoId;

/// Where the identity keys of a group's devices must live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Anywhere.
    #[default]
    Any,
    /// In any hardware.
    Hardware,
    /// In a TPM 2.0.
    Tpm,
    /// In a secure element reached over PKCS#11.
    SecureElement,
}

impl Demand {
    /// Every demand.
    pub const ALL: [Self; 4] = [Self::Any, Self::Hardware, Self::Tpm, Self::SecureElement];

    /// Its name in central's API and in commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Hardware => "hardware",
            Self::Tpm => "tpm",
            Self::SecureElement => "secure-element",
        }
    }

    /// Whether a key that lives there will do.
    pub const fn is_met_by(self, level: AttestationLevel) -> bool {
        match self {
            Self::Any => true,
            Self::Hardware => !matches!(level, AttestationLevel::Software),
            Self::Tpm => matches!(level, AttestationLevel::Tpm),
            Self::SecureElement => matches!(level, AttestationLevel::SecureElement),
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Demand {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        Self::ALL.into_iter().find(|demand| demand.as_str() == text).ok_or(NoId)
    }
}

/// The name of a level in central's API and in the database.
pub const fn level_name(level: AttestationLevel) -> &'static str {
    match level {
        AttestationLevel::Software => "software",
        AttestationLevel::Tpm => "tpm",
        AttestationLevel::SecureElement => "secure-element",
    }
}

/// The level that has this name.
pub fn level_named(name: &str) -> Option<AttestationLevel> {
    [AttestationLevel::Software, AttestationLevel::Tpm, AttestationLevel::SecureElement]
        .into_iter()
        .find(|level| level_name(*level) == name)
}

/// The name of the layers that a device demands, in central's API and in the database.
pub const fn layers_name(layers: DemandedLayers) -> &'static str {
    match layers {
        DemandedLayers::DangerL1Only => "danger-l1-only",
        DemandedLayers::L1AndL2 => "l1-and-l2",
    }
}

/// The layers that have this name.
pub fn layers_named(name: &str) -> Option<DemandedLayers> {
    [DemandedLayers::DangerL1Only, DemandedLayers::L1AndL2].into_iter().find(|layers| layers_name(*layers) == name)
}

/// What a device proved last; what is absent it did not report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// When this was first proved as it stands here, Unix milliseconds.
    pub at_ms: i64,
    /// Where its identity key lives, as it says itself.
    pub attestation: AttestationLevel,
    /// What a verified boot measured: the hash of the OS image's manifest.
    pub boot: Option<[u8; 32]>,
    /// Which layers of signatures it demands of an OS image.
    pub layers: Option<DemandedLayers>,
    /// Whether its decrypted OS image is locked in memory.
    pub memory_locked: Option<bool>,
    /// The generation of its vault; a lower one is refused from then on.
    pub generation: Option<NonZeroU64>,
}

impl Proved {
    /// What a proof says.
    pub fn of(claims: &Eat, at_ms: i64) -> Self {
        Self {
            at_ms,
            attestation: claims.attestation,
            boot: claims.boot,
            layers: claims.layers,
            memory_locked: claims.memory_locked,
            generation: claims.vault_generation,
        }
    }

    /// Whether this says the same as `other`, whenever.
    pub fn says_the_same(&self, other: &Self) -> bool {
        Self { at_ms: 0, ..*self } == Self { at_ms: 0, ..*other }
    }

    /// Whether the vault is older than the one that was proved before. One that is not there any more counts as older.
    pub fn fell_behind(&self, before: &Self) -> bool {
        self.generation < before.generation
    }
}

/// What people are alarmed about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// A device came with an older vault than before: its storage was put back, or copied.
    VaultFell,
    /// A device's keys do not live where they must.
    Attestation,
    /// Two connections replace each other again and again: the device exists twice?
    SuspectedClone,
    /// A device could do something that must be refused to it.
    SelfTest,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::VaultFell, Self::Attestation, Self::SuspectedClone, Self::SelfTest];

    /// Its name in central's API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VaultFell => "vault-fell",
            Self::Attestation => "attestation-too-low",
            Self::SuspectedClone => "suspected-clone",
            Self::SelfTest => "self-test-failed",
        }
    }
}

impl FromStr for AlarmKind {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(NoId)
    }
}

/// Something that people must look at; it stays until they say that they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The device.
    pub device: SpkiHash,
    /// The device's id for people.
    pub device_id: DeviceId,
    /// What it is about.
    pub kind: AlarmKind,
    /// When it was raised first, Unix milliseconds.
    pub first_ms: i64,
    /// When it was raised last.
    pub last_ms: i64,
    /// How often; what comes within a minute counts once.
    pub count: u32,
    /// What happened last, as a sentence.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_demand_is_met_by_what_it_names() {
        let met = |demand: Demand| {
            [AttestationLevel::Software, AttestationLevel::Tpm, AttestationLevel::SecureElement]
                .map(|level| demand.is_met_by(level))
        };
        assert_eq!(met(Demand::Any), [true, true, true]);
        assert_eq!(met(Demand::Hardware), [false, true, true]);
        assert_eq!(met(Demand::Tpm), [false, true, false]);
        assert_eq!(met(Demand::SecureElement), [false, false, true]);
        for demand in Demand::ALL {
            assert_eq!(demand.to_string().parse(), Ok(demand));
        }
        for kind in AlarmKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_vault_falls_behind_by_a_lower_generation_or_by_none() {
        let proved = |generation: u64| Proved {
            at_ms: 0,
            attestation: AttestationLevel::Software,
            boot: None,
            layers: None,
            memory_locked: None,
            generation: NonZeroU64::new(generation),
        };
        for (now, before, fell) in
            [(5, 5, false), (6, 5, false), (4, 5, true), (0, 5, true), (0, 0, false), (1, 0, false)]
        {
            assert_eq!(proved(now).fell_behind(&proved(before)), fell, "{now} after {before}");
        }
    }
}
