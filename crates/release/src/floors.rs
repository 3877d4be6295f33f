//! What a device never goes below: it keeps these numbers where a wiped cache or an older copy does not reach them.

use keys::cbor::{self, CborError};
use keys::hashes::sha256;
use minicbor::{Decode, Encode};
use sigstore_tuf::TrustedMetadataSet;

use crate::manifest::Manifest;
use crate::root::{OnlineKeys, RootContent, key_id};
use crate::version::OsVersion;

/// The lowest that is still taken. They move only up: [`Floors::raise`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Floors {
    /// The version of the last confirmed OS image.
    #[n(0)]
    pub version: OsVersion,
    /// Its security epoch.
    #[n(1)]
    pub security_epoch: u32,
    /// The metadata that was verified last.
    #[n(2)]
    pub metadata: MetadataFloors,
}

/// The versions of the metadata that was verified last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct MetadataFloors {
    /// Of the root.
    #[n(0)]
    pub root: u64,
    /// Of the timestamp.
    #[n(1)]
    pub timestamp: u64,
    /// Of the snapshot.
    #[n(2)]
    pub snapshot: u64,
    /// Of the targets.
    #[n(3)]
    pub targets: u64,
    /// Of the names of the online keys. When a newer root replaces them, timestamp and snapshot may begin again: a stolen
    /// online key that counted to the last number would otherwise end all updates (TUF, section 5.3.11).
    #[cbor(n(4), with = "minicbor::bytes")]
    online_keys: [u8; 32],
}

/// Something is older than what the device has confirmed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BelowFloor {
    /// An older release.
    #[error(
        "OS version {offered} is older than {floor}, which this device has confirmed; older images are never taken"
    )]
    Version {
        /// What was offered.
        offered: OsVersion,
        /// What is needed.
        floor: OsVersion,
    },
    /// A release from before a security fix that counts.
    #[error(
        "security epoch {offered} is lower than {floor}, which this device has confirmed; such images are never taken"
    )]
    SecurityEpoch {
        /// What was offered.
        offered: u32,
        /// What is needed.
        floor: u32,
    },
    /// Metadata from before what the device has verified.
    #[error("the {role} metadata has version {offered}, but this device has verified version {floor} already")]
    Metadata {
        /// Which.
        role: &'static str,
        /// What was offered.
        offered: u64,
        /// What is needed.
        floor: u64,
    },
}

impl Floors {
    /// The floors of a device that has confirmed nothing.
    pub const NONE: Floors =
        Floors { version: OsVersion::new(0, 0, 0), security_epoch: 0, metadata: MetadataFloors::NONE };

    /// Reads floors.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Floors, CborError> {
        cbor::decode(bytes)
    }

    /// Their one encoding.
    pub fn to_cbor(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Whether an image may be started or installed.
    ///
    /// # Errors
    /// [`BelowFloor`].
    pub fn admit(&self, manifest: &Manifest) -> Result<(), BelowFloor> {
        let (offered, floor) = (manifest.version, self.version);
        if offered < floor {
            return Err(BelowFloor::Version { offered, floor });
        }
        let (offered, floor) = (manifest.security_epoch, self.security_epoch);
        if offered < floor {
            return Err(BelowFloor::SecurityEpoch { offered, floor });
        }
        Ok(())
    }

    /// The floors after this image was confirmed.
    #[must_use]
    pub fn raise(&self, confirmed: &Manifest) -> Floors {
        Floors {
            version: self.version.max(confirmed.version),
            security_epoch: self.security_epoch.max(confirmed.security_epoch),
            metadata: self.metadata,
        }
    }

    /// Above both: of two records of one device, neither takes back what the other knows.
    #[must_use]
    pub fn highest(&self, other: &Floors) -> Floors {
        Floors {
            version: self.version.max(other.version),
            security_epoch: self.security_epoch.max(other.security_epoch),
            metadata: self.metadata.highest(&other.metadata),
        }
    }
}

impl MetadataFloors {
    /// The floors of a device that has verified nothing.
    pub const NONE: MetadataFloors =
        MetadataFloors { root: 0, timestamp: 0, snapshot: 0, targets: 0, online_keys: [0; 32] };

    /// The floors once this root is believed, of which no other metadata was seen yet.
    ///
    /// # Errors
    /// [`BelowFloor`] when a newer root was seen before.
    pub fn under(&self, root: &RootContent) -> Result<MetadataFloors, BelowFloor> {
        if root.version < self.root {
            return Err(BelowFloor::Metadata { role: "root", offered: root.version, floor: self.root });
        }
        let id = |key| key_id(key).unwrap_or_default();
        let OnlineKeys { timestamp, snapshot, .. } = &root.online;
        let online_keys = online_keys(&[id(timestamp), id(snapshot)]);
        Ok(self.highest(&MetadataFloors { root: root.version, online_keys, ..MetadataFloors::NONE }))
    }

    /// The versions of a set that is complete.
    pub(crate) fn of(set: &TrustedMetadataSet) -> Result<MetadataFloors, sigstore_tuf::Error> {
        let missing = || sigstore_tuf::Error::NotRefreshed;
        let root = set.root();
        let mut names = Vec::new();
        for role in ["timestamp", "snapshot"] {
            let keys = root.role(role).ok_or_else(missing)?;
            let mut ids: Vec<&str> = keys.keyids.iter().map(String::as_str).collect();
            ids.sort_unstable();
            names.push(ids.join(" "));
        }
        Ok(MetadataFloors {
            root: root.version,
            timestamp: set.timestamp().ok_or_else(missing)?.version,
            snapshot: set.snapshot().ok_or_else(missing)?.version,
            targets: set.targets_role("targets").ok_or_else(missing)?.version,
            online_keys: online_keys(&names),
        })
    }

    /// Above both. Where a newer root names other online keys, timestamp and snapshot are those of the newer one, under which they may have
    /// begun again.
    fn highest(&self, other: &MetadataFloors) -> MetadataFloors {
        let (newer, older) = if self.root >= other.root { (self, other) } else { (other, self) };
        let is_same = newer.root == older.root || newer.online_keys == older.online_keys;
        let at_least = |newer: u64, older: u64| if is_same { newer.max(older) } else { newer };
        MetadataFloors {
            timestamp: at_least(newer.timestamp, older.timestamp),
            snapshot: at_least(newer.snapshot, older.snapshot),
            targets: newer.targets.max(older.targets),
            ..*newer
        }
    }

    /// The floors after this set, if none of it is below these.
    pub(crate) fn admit(&self, offered: &MetadataFloors) -> Result<MetadataFloors, BelowFloor> {
        let at_least = |role, offered, floor| {
            if offered < floor { Err(BelowFloor::Metadata { role, offered, floor }) } else { Ok(()) }
        };
        at_least("root", offered.root, self.root)?;
        at_least("targets", offered.targets, self.targets)?;
        let same_keys = offered.online_keys == self.online_keys;
        if same_keys || offered.root == self.root {
            at_least("timestamp", offered.timestamp, self.timestamp)?;
            at_least("snapshot", offered.snapshot, self.snapshot)?;
        }
        Ok(*offered)
    }
}

/// Of the names of the timestamp's keys, and of the snapshot's.
fn online_keys(names: &[String]) -> [u8; 32] {
    sha256(names.join("\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(root: u64, timestamp: u64, targets: u64, keys: u8) -> MetadataFloors {
        MetadataFloors { root, timestamp, snapshot: timestamp, targets, online_keys: [keys; 32] }
    }

    #[test]
    fn of_two_records_neither_takes_back_what_the_other_knows() {
        let floors = |version, security_epoch, metadata| Floors { version, security_epoch, metadata };
        let one = floors(OsVersion::new(1, 2, 0), 3, metadata(1, 9, 4, 1));
        let other = floors(OsVersion::new(1, 3, 0), 2, metadata(1, 7, 5, 1));
        let both = floors(OsVersion::new(1, 3, 0), 3, metadata(1, 9, 5, 1));
        assert_eq!((one.highest(&other), other.highest(&one)), (both, both));
        // Under a newer root, with other online keys, timestamp and snapshot have begun again.
        let newer = floors(OsVersion::new(1, 2, 0), 0, metadata(2, 1, 3, 2));
        let both = floors(OsVersion::new(1, 2, 0), 3, metadata(2, 1, 4, 2));
        assert_eq!((one.highest(&newer), newer.highest(&one)), (both, both));
        // Under a newer root with the same ones they have not: nothing is lowered by saying that there is one.
        let said = floors(OsVersion::new(1, 2, 0), 3, metadata(2, 0, 0, 1));
        let both = floors(OsVersion::new(1, 2, 0), 3, metadata(2, 9, 4, 1));
        assert_eq!((one.highest(&said), said.highest(&one)), (both, both));
        assert_eq!(one.highest(&Floors::NONE), one);
    }
}
