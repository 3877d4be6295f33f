//! The vault: what a device stores, encrypted and authenticated under keys of its own, safe against power cuts, aware of rollback.
//!
//! Start at [`Vault`]. It does no I/O of its own: it is handed a [`Storage`], which replaces whole files durably, and the
//! [`VaultKeys`], which are derived from the device's storage root.
//!
//! # On the storage
//! Each record lives in one of two files, in turn: `NAME.0` and `NAME.1`. A file named `index` says which version of which
//! record counts; replacing it is the moment at which a change happens, for one record or for several. Its version is the
//! vault's *generation*, which never falls: the server watches it, since on a device without a hardware counter the whole
//! storage can be set back. The *epoch* in it follows such a counter, where there is one.
//!
//! # Layout
//! - [`Vault`]: create, open, read, write.
//! - [`Record`]: the closed set of what is stored; [`VaultKeys`]: a key for each purpose.
//! - `sealed`: the format of every file; `index`: the content of the index.
//! - [`Storage`]: what the vault is handed.
//! - [`limits`]: every bound.

mod index;
pub mod limits;
mod record;
mod sealed;
mod storage;
mod vault;

pub use record::{NotVaultKeys, Record, VaultKeys};
pub use sealed::SealError;
pub use storage::Storage;
pub use vault::{Change, Vault, VaultError};
