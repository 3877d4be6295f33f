//! Central's API.
