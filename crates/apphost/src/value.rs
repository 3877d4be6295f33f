//! Values on their way out of and into a VM: CBOR between the two ends, JSON towards the world.

mod cbor;
mod encode;
mod json;

pub(crate) use cbor::decode as decode_cbor;
pub(crate) use encode::{Bounds, Format, encode};
pub(crate) use json::decode as decode_json;

/// A string that travels as text: UTF-8 without NUL. Any other travels as a blob.
fn safe_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}
