//! Whoever holds the storage changes it: each attack by name, and the error it leads to.

use keys::storage::KEY_BYTES;
use vault::{Record, SealError, Vault, VaultError};

use crate::memory::{Memory, filled, keys, put, read};

fn refusal(vault: &Vault<Memory>, record: Record) -> SealError {
    match vault.read(record) {
        Err(VaultError::Sealed { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

fn index_refusal(opened: Result<Vault<Memory>, VaultError>) -> SealError {
    match opened {
        Err(VaultError::Sealed { file, source }) => {
            assert_eq!(file, "index");
            source
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_file_shows_what_it_holds() {
    let (_, memory) = filled(&keys());
    for (name, bytes) in memory.image() {
        for plain in [&b"configuration 1"[..], b"user:password", b"password"] {
            assert!(!bytes.windows(plain.len()).any(|found| found == plain), "{name}");
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_in_any_file_is_refused() {
    let keys = keys();
    let (_, memory) = filled(&keys);
    let image = memory.image();
    assert_eq!(image.keys().collect::<Vec<_>>(), ["configuration.1", "index", "proxy.1"]);
    for (name, bytes) in &image {
        for bit in 0..bytes.len() * 8 {
            let mut files = image.clone();
            files.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            let refused = match Vault::open(Memory::holding(files), keys.clone(), None) {
                Ok(vault) => vault.read(Record::Configuration).and(vault.read(Record::Proxy)).is_err(),
                Err(_) => true,
            };
            assert!(refused, "{name} bit {bit}");
        }
    }
}

#[test]
fn a_truncated_or_grown_file_is_refused() {
    let keys = keys();
    let (_, memory) = filled(&keys);
    let image = memory.image();
    for (name, bytes) in &image {
        for length in (0..bytes.len()).chain([bytes.len() + 1]) {
            let mut files = image.clone();
            files.get_mut(name).unwrap().resize(length, 0);
            let refused = match Vault::open(Memory::holding(files), keys.clone(), None) {
                Ok(vault) => vault.read(Record::Configuration).and(vault.read(Record::Proxy)).is_err(),
                Err(_) => true,
            };
            assert!(refused, "{name} with {length} bytes");
        }
    }
}

#[test]
fn a_vault_copied_to_another_device_is_refused() {
    let (_, memory) = filled(&keys());
    let refused = index_refusal(Vault::open(memory, keys(), None));
    assert_eq!(refused, SealError::Forged { chunk: 0 });
    assert!(refused.to_string().contains("written by another device"));
}

#[test]
fn a_record_of_another_vault_of_the_same_device_is_refused() {
    let keys = keys();
    let (vault, memory) = filled(&keys);
    let (_, other) = filled(&keys);
    memory.inside().files.insert("proxy.1".to_owned(), other.image()["proxy.1"].clone());
    assert_eq!(refusal(&vault, Record::Proxy), SealError::OtherVault);
    assert_eq!(read(&vault, Record::Configuration).unwrap(), b"configuration 1");
}

#[test]
fn a_renamed_record_is_refused() {
    let keys = keys();
    let (vault, memory) = filled(&keys);
    let configuration = memory.image()["configuration.1"].clone();
    memory.inside().files.insert("proxy.1".to_owned(), configuration.clone());
    assert_eq!(refusal(&vault, Record::Proxy), SealError::Renamed { found: "configuration".to_owned() });
    memory.inside().files.insert("index".to_owned(), configuration);
    let refused = index_refusal(Vault::open(memory, keys, None));
    assert_eq!(refused, SealError::Renamed { found: "configuration".to_owned() });
}

#[test]
fn a_record_renamed_in_its_header_too_is_refused() {
    let (vault, memory) = filled(&keys());
    let mut forged = memory.image()["configuration.1"].clone();
    forged[8..32].fill(0);
    forged[8..13].copy_from_slice(b"proxy");
    // The salt that the index names, so that only the sealing is left to find it.
    let salt = memory.image()["proxy.1"][64..64 + KEY_BYTES].to_vec();
    forged[64..64 + KEY_BYTES].copy_from_slice(&salt);
    memory.inside().files.insert("proxy.1".to_owned(), forged);
    assert_eq!(refusal(&vault, Record::Proxy), SealError::Forged { chunk: 0 });
}

#[test]
fn an_older_version_of_one_record_put_back_is_refused() {
    let keys = keys();
    let (mut vault, memory) = filled(&keys);
    let old = memory.image()["proxy.1"].clone();
    for content in [b"second", b"third!"] {
        vault.write(&[put(Record::Proxy, content)]).unwrap();
    }
    memory.inside().files.insert("proxy.1".to_owned(), old);
    assert_eq!(refusal(&vault, Record::Proxy), SealError::OtherWrite { expected: 3, found: 1 });
}

#[test]
fn a_write_that_never_came_into_force_is_refused() {
    let keys = keys();
    let (mut vault, memory) = filled(&keys);
    // Power goes before the index is replaced; the same version is then written again.
    memory.inside().next = vec![crate::memory::Outcome::Done, crate::memory::Outcome::FailedOld];
    assert!(vault.write(&[put(Record::Proxy, b"never in force")]).is_err());
    let never = memory.image()["proxy.0"].clone();
    vault.write(&[put(Record::Proxy, b"in force")]).unwrap();
    memory.inside().files.insert("proxy.0".to_owned(), never);
    assert_eq!(refusal(&vault, Record::Proxy), SealError::OtherWrite { expected: 2, found: 2 });
}

#[test]
fn an_older_index_put_back_shows_in_the_generation() {
    let keys = keys();
    let (mut vault, memory) = filled(&keys);
    let old = memory.image();
    vault.write(&[put(Record::Proxy, b"second")]).unwrap();
    // Without a hardware counter a whole old copy opens; its generation tells the server.
    let back = Vault::open(Memory::holding(old), keys, None).unwrap();
    assert!(back.generation() < vault.generation());
}

#[test]
fn a_missing_file_is_named() {
    let keys = keys();
    let (vault, memory) = filled(&keys);
    memory.inside().files.remove("proxy.1");
    assert!(matches!(vault.read(Record::Proxy), Err(VaultError::Gone(file)) if file == "proxy.1"));
    memory.inside().files.remove("index");
    assert!(matches!(Vault::open(memory, keys, None), Err(VaultError::Missing)));
}

#[test]
fn a_vault_that_is_there_is_not_replaced() {
    let keys = keys();
    let (_, memory) = filled(&keys);
    assert!(matches!(Vault::create(memory, keys, 0, &[]), Err(VaultError::Exists)));
}
