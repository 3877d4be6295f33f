//! TPM 2.0: keys that are born in it and leave it only wrapped, storage sealed to what was booted, a counter that only goes up.
//!
//! Nothing of a device stays in the TPM but its counter: keys are wrapped by the TPM's storage primary and kept in files, which
//! are of no use without that very TPM. Each operation opens a connection of its own, derives the primary again, and starts a
//! session salted with it, so that nobody on the bus reads a secret; with the connection all handles go. A TPM that was away is
//! thus simply used again, and nothing adds up over time.

#[cfg(feature = "tpm2")]
mod connection;
#[cfg(feature = "tpm2")]
mod counter;
#[cfg(feature = "tpm2")]
mod sealed;
#[cfg(feature = "tpm2")]
mod soft;
mod spec;
#[cfg(feature = "tpm2")]
mod template;

#[cfg(feature = "tpm2")]
pub use connection::TpmError;
#[cfg(feature = "tpm2")]
pub(crate) use connection::{Tpm, Wrapped};
#[cfg(feature = "tpm2")]
pub(crate) use sealed::Sealed;
#[cfg(feature = "tpm2")]
pub use soft::{SoftTpm, SoftTpmError};
pub use spec::{MEASURED_PCR, TpmSpec, TpmSpecError};
#[cfg(feature = "tpm2")]
pub(crate) use template::TpmKeyKind;
