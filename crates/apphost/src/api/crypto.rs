//! `crypto` and `http.hash`: hashes of strings and blobs, as blobs.

use keys::app_hashes::AppHash;
use keys::hashes::ct_eq;
use squirrel::{Heap, LibraryBuilder, NativeFn, Owner, Throw, Value};

use super::text::{argument, bytes};

const FUNCTIONS: [(&str, u8, NativeFn); 6] = [
    ("sha1", 1, |heap, values| hash(heap, values, AppHash::Sha1)),
    ("sha256", 1, |heap, values| hash(heap, values, AppHash::Sha256)),
    ("sha512", 1, |heap, values| hash(heap, values, AppHash::Sha512)),
    ("hmacsha1", 2, |heap, values| hmac(heap, values, AppHash::Sha1)),
    ("hmacsha256", 2, |heap, values| hmac(heap, values, AppHash::Sha256)),
    ("hmacsha512", 2, |heap, values| hmac(heap, values, AppHash::Sha512)),
];

pub(super) fn add(builder: &mut LibraryBuilder, owner: impl Into<Owner>) {
    let owner = owner.into();
    for (name, arguments, run) in FUNCTIONS {
        builder.native(owner, name, arguments..=arguments, run);
    }
}

/// `sha256(data)` and its like
fn hash(heap: &mut Heap, values: &[Value], hash: AppHash) -> Result<Value, Throw> {
    let data = bytes(heap, "a hash", argument(values, 0))?;
    heap.work(data.len() / 16);
    heap.blob(&hash.of(&data))
}

/// `hmacsha256(data, key)` and its like
fn hmac(heap: &mut Heap, values: &[Value], hash: AppHash) -> Result<Value, Throw> {
    let (data, key) = (bytes(heap, "an HMAC", argument(values, 0))?, bytes(heap, "an HMAC", argument(values, 1))?);
    heap.work((data.len() + key.len()) / 16);
    heap.blob(&hash.hmac(&key, &data))
}

/// `crypto.equals(a, b)`: in time that depends on the lengths only.
pub(super) fn equals(heap: &mut Heap, values: &[Value]) -> Result<Value, Throw> {
    let (a, b) =
        (bytes(heap, "crypto.equals", argument(values, 0))?, bytes(heap, "crypto.equals", argument(values, 1))?);
    heap.work(a.len() / 16);
    Ok(Value::Bool(ct_eq(&a, &b)))
}
