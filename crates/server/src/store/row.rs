//! From the database's values to the fleet's types.

use std::str::FromStr;

use super::StoreError;

/// Reads a text column.
pub(super) fn text<T: FromStr>(column: &'static str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_| StoreError::Damaged(column))
}

/// Reads a text column that may be absent.
pub(super) fn optional<T: FromStr>(column: &'static str, value: Option<&str>) -> Result<Option<T>, StoreError> {
    value.map(|value| text(column, value)).transpose()
}

/// Reads a hash.
pub(super) fn hash(column: &'static str, value: &[u8]) -> Result<[u8; 32], StoreError> {
    value.try_into().map_err(|_| StoreError::Damaged(column))
}

/// Reads a count.
pub(super) fn count(column: &'static str, value: i64) -> Result<u32, StoreError> {
    value.try_into().map_err(|_| StoreError::Damaged(column))
}
