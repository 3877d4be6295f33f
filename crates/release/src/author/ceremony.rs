//! The ceremony: custodians with smartcards who together open the HSM, and without enough of whom nothing is signed.
//!
//! The HSM's login secrets (of its user and of its security officer) are random, and nobody knows them: each is split over
//! the custodians, and each share is sealed to a key on its custodian's card. The user's secret is replaced after each use.
//! What lies in the ceremony's folder is not secret; who the custodians are is believed from the signed root alone.
//!
//! # Layout
//! - [`card`]: one custodian's smartcard.
//! - [`login`]: a secret in sealed shares.
//! - [`hsm`]: the HSM with the release key.
//! - [`state`]: the folder.
//! - [`record`]: what was done, signed by who was there.
//! - [`acts`]: founding, signing, changing; [`changes`]: what is new in a root.

pub mod acts;
pub mod card;
pub mod changes;
pub mod hsm;
pub mod login;
pub mod record;
pub mod state;
