//! The index of a vault: which write of which record counts, and the epoch. Replacing it is what commits a change.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::limits::LIMITS;
use crate::sealed::WriteSalt;

/// The name under which the index is stored.
pub(crate) const INDEX: &str = "index";

/// What counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// Follows the hardware counter, where there is one.
    pub(crate) epoch: u64,
    entries: BTreeMap<String, Write>,
}

/// One write of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Write {
    #[n(0)]
    pub(crate) version: u64,
    /// No other write has it, so it tells apart two writes of the same version, one of which never came into force.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) salt: WriteSalt,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Form {
    #[n(0)]
    epoch: u64,
    #[n(1)]
    entries: BTreeMap<String, Write>,
}

impl Index {
    /// An index that names no record yet.
    pub(crate) fn of_epoch(epoch: u64) -> Index {
        Index { epoch, entries: BTreeMap::new() }
    }

    /// The write of this record that counts.
    pub(crate) fn get(&self, name: &str) -> Option<Write> {
        self.entries.get(name).copied()
    }

    /// Lets this write count, or none.
    pub(crate) fn set(&mut self, name: &str, write: Option<Write>) {
        match write {
            Some(write) => drop(self.entries.insert(name.to_owned(), write)),
            None => drop(self.entries.remove(name)),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let form = Form { epoch: self.epoch, entries: self.entries.clone() };
        let mut bytes = Vec::new();
        // Writing to a Vec cannot fail.
        let _ = minicbor::encode(&form, &mut bytes);
        bytes
    }

    /// Reads an index. Records that this runtime does not know stay in it: a newer one may have made them, and it must
    /// find them again after a return to this one.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Index, String> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let Form { epoch, entries } = decoder.decode().map_err(|error| error.to_string())?;
        if decoder.position() != bytes.len() {
            return Err("bytes follow its end".to_owned());
        }
        if entries.len() > LIMITS.records {
            return Err(format!("it names more than {} records", LIMITS.records));
        }
        Ok(Index { epoch, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(count: usize) -> Index {
        let mut index = Index::of_epoch(3);
        for at in 0..count {
            index.set(&format!("record-{at:02}"), Some(Write { version: at as u64, salt: [at as u8; 16] }));
        }
        index
    }

    #[test]
    fn it_comes_back_with_records_it_does_not_know() {
        for count in [0, 1, LIMITS.records] {
            let index = with(count);
            assert!(index.encode().len() <= LIMITS.index, "{count}");
            assert_eq!(Index::decode(&index.encode()), Ok(index));
        }
        assert!(Index::decode(&with(LIMITS.records + 1).encode()).unwrap_err().contains("more than"));
    }

    #[test]
    fn too_short_and_trailing_are_refused() {
        let bytes = with(2).encode();
        for length in 0..bytes.len() {
            assert!(Index::decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Index::decode(&[&bytes[..], &[0]].concat()).unwrap_err().contains("follow"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Index::decode(&bytes);
        }
    }
}
