//! The bounds of the vault, each on both sides.

use vault::limits::LIMITS;
use vault::{Record, Vault, VaultError};

use crate::memory::{filled, keys, put, read};

#[test]
fn each_record_takes_its_longest_content_and_not_one_byte_more() {
    let keys = keys();
    let (mut vault, memory) = filled(&keys);
    for record in Record::DEVICE {
        let longest = vec![7; record.most()];
        vault.write(&[put(record, &longest)]).unwrap();
        let again = Vault::open(memory.clone(), keys.clone(), None).unwrap();
        assert_eq!(read(&again, record).unwrap(), longest, "{record}");
        let before = memory.inside().replaced;
        let refused = vault.write(&[put(Record::Floors, b"1"), put(record, &vec![7; record.most() + 1])]);
        if record == Record::Floors {
            assert!(refused.is_err());
        } else {
            assert!(matches!(refused, Err(VaultError::TooLong { record: found, .. }) if found == record));
        }
        assert_eq!(memory.inside().replaced, before, "nothing is written when one part does not fit");
    }
}

#[test]
fn an_empty_record_is_not_a_missing_one() {
    let keys = keys();
    let (mut vault, _) = filled(&keys);
    assert!(!vault.holds(Record::UserConfiguration));
    vault.write(&[put(Record::UserConfiguration, b"")]).unwrap();
    assert!(vault.holds(Record::UserConfiguration));
    assert_eq!(read(&vault, Record::UserConfiguration).unwrap(), b"");
}

#[test]
fn a_record_twice_in_one_change_is_refused_before_anything_is_written() {
    let (mut vault, memory) = filled(&keys());
    let before = memory.inside().replaced;
    let refused = vault.write(&[put(Record::App, b"1"), put(Record::App, b"2")]);
    assert!(matches!(refused, Err(VaultError::Twice(Record::App))));
    assert_eq!(memory.inside().replaced, before);
}

#[test]
fn the_bounds_are_those_that_are_documented() {
    assert_eq!(LIMITS.chunk, 64 * 1024);
    assert_eq!(LIMITS.app, 4 * 1024 * 1024);
    assert_eq!(LIMITS.user_configuration, 8 * 1024);
}
