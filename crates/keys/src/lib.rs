//! What holds or checks a key: purposes, public keys, signatures, certificates, TLS configurations.
//!
//! Start at [`purpose::KeyPurpose`]: no key exists without one. This is the only crate that names a
//! cryptographic library; the TLS drivers of the device and the server take their configuration from here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`purpose`] | the closed set of key purposes, and what is known about each |
//! | [`secret`] | bytes that are wiped when dropped and never printed |
//! | [`app_hashes`] | hashes that applications ask for by name |
//! | [`hashes`] | SHA-256, HMAC-SHA256, random bytes |
//! | [`private_file`] | files only their owner may read, written whole or not at all |
//! | [`public`] | public keys, their hashes, the device id |
//! | [`storage`] | keys for what a device stores |
//! | `shares` | secrets split over several people (feature `shares`) |
//! | [`hpke`] | a secret sealed to one public key |
//! | [`content_key`] | content keys wrapped for one device |
//! | [`signer`] | private keys behind one seam |
//! | [`pkcs11`] | tokens: HSMs, smartcards (feature `pkcs11`) |
//! | [`tpm2`] | keys in a TPM 2.0 (feature `tpm2`) |
//! | [`keystore`] | the secret keys of one device, wherever they live |
//! | [`cbor`] | values whose one encoding is signed or compared |
//! | [`chunks`] | long content encrypted in chunks; content keys |
//! | [`cose`] | COSE_Sign1 with ES256 and a purpose |
//! | [`metadata`] | signatures over release metadata |
//! | [`note`] | signed notes, as transparency logs sign them |
//! | [`release_key`] | the RSA-4096 key that signs OS manifests |
//! | [`profile`] | `classic` and `modern` |
//! | [`pki`] | the operator's roots, certificates, requests, the roots bundle |
//! | [`tls`] | TLS configurations, channel binding, what was negotiated |
//! | [`password`] | password hashes and bearer tokens |
//! | [`time`] | the two clocks of a state machine, and the clocks certificates are checked against |
//! | [`limits`] | every bound of this crate |

pub mod app_hashes;
pub mod cbor;
pub mod chunks;
pub mod content_key;
pub mod cose;
pub mod hashes;
pub mod hpke;
pub mod keystore;
pub mod limits;
pub mod metadata;
pub mod note;
pub mod password;
pub mod pkcs11;
pub mod pki;
pub mod private_file;
pub mod profile;
pub mod public;
pub mod purpose;
pub mod release_key;
pub mod secret;
#[cfg(feature = "shares")]
pub mod shares;
pub mod signer;
pub mod storage;
pub mod time;
pub mod tls;
pub mod tpm2;
