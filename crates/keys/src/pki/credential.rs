//! A TLS key together with the certificate chain that was issued for it.

use std::{path::Path, sync::Arc};

use minicbor::{Decoder, Encoder};

use super::{CertDer, CertificateError, PkiError, certificate};
use crate::{
    limits::LIMITS,
    private_file::{self, Existing},
    public::SpkiHash,
    purpose::KeyPurpose,
    signer::{KeyHolder, Signer},
};

/// A TLS key and its chain, end entity first. The two always belong together.
#[derive(Debug)]
pub struct Credential {
    key: Signer,
    chain: Vec<CertDer>,
}

impl Credential {
    /// Joins a key and a chain, and checks that the first certificate is for this key.
    pub fn new(key: Signer, chain: Vec<CertDer>) -> Result<Credential, PkiError> {
        key.tls_key()?;
        let leaf = chain.first().filter(|_| chain.len() <= LIMITS.chain).ok_or(CertificateError::NotX509)?;
        if certificate::public_key(leaf)? != *key.public() {
            return Err(PkiError::NotAPair(key.purpose()));
        }
        Ok(Credential { key, chain })
    }

    /// A chain whose key is elsewhere: the first certificate says which key it is.
    pub fn held(purpose: KeyPurpose, chain: Vec<CertDer>, holder: Arc<dyn KeyHolder>) -> Result<Credential, PkiError> {
        let public = certificate::public_key(chain.first().ok_or(CertificateError::NotX509)?)?;
        Credential::new(Signer::held(purpose, public, holder)?, chain)
    }

    /// Joins a key and the chain that `folder` holds for it.
    pub fn load_chain(folder: &Path, key: Signer) -> Result<Credential, PkiError> {
        let chain = read_chain(folder, key.purpose())?;
        Credential::new(key, chain)
    }

    /// Reads key and chain of this purpose from `folder`.
    pub fn load(folder: &Path, purpose: KeyPurpose) -> Result<Credential, PkiError> {
        Credential::load_chain(folder, Signer::load(folder, purpose)?)
    }

    /// Writes key and chain into `folder`, named after the purpose.
    pub fn save(&self, folder: &Path, existing: Existing) -> Result<(), PkiError> {
        self.key.save(folder, existing)?;
        self.save_chain(folder, existing)
    }

    /// Writes the chain alone into `folder`.
    pub fn save_chain(&self, folder: &Path, existing: Existing) -> Result<(), PkiError> {
        write_chain(folder, self.key.purpose(), &self.chain, existing)
    }

    /// The key.
    pub fn key(&self) -> &Signer {
        &self.key
    }

    /// The chain, end entity first.
    pub fn chain(&self) -> &[CertDer] {
        &self.chain
    }

    /// SHA-256 of the TLS public key.
    pub fn spki_hash(&self) -> SpkiHash {
        self.key.public().spki_hash()
    }
}

/// The file of a chain: a CBOR array of certificates in DER.
fn file_name(purpose: KeyPurpose) -> String {
    format!("{purpose}.chain")
}

pub(super) fn write_chain(
    folder: &Path,
    purpose: KeyPurpose,
    chain: &[CertDer],
    existing: Existing,
) -> Result<(), PkiError> {
    let mut cbor = Encoder::new(Vec::new());
    let encoded =
        cbor.array(chain.len() as u64).and_then(|cbor| chain.iter().try_fold(cbor, |cbor, der| cbor.bytes(der)));
    encoded.map_err(|_| PkiError::Encode)?;
    Ok(private_file::write(&folder.join(file_name(purpose)), &cbor.into_writer(), existing)?)
}

fn read_chain(folder: &Path, purpose: KeyPurpose) -> Result<Vec<CertDer>, PkiError> {
    let file = private_file::read(&folder.join(file_name(purpose)))?;
    let not_a_chain = |_| CertificateError::NotX509;
    let mut cbor = Decoder::new(file.expose());
    let count = cbor.array().map_err(not_a_chain)?.unwrap_or_default();
    if count > LIMITS.chain as u64 {
        return Err(CertificateError::TooLong.into());
    }
    let mut chain = Vec::new();
    for _ in 0..count {
        chain.push(CertDer::from(cbor.bytes().map_err(not_a_chain)?.to_vec()));
    }
    if cbor.position() != file.expose().len() {
        return Err(CertificateError::NotX509.into());
    }
    Ok(chain)
}

pub(super) fn read_certificate(folder: &Path, purpose: KeyPurpose) -> Result<CertDer, PkiError> {
    let chain = read_chain(folder, purpose)?;
    let [certificate] = <[CertDer; 1]>::try_from(chain).map_err(|_| CertificateError::NotX509)?;
    Ok(certificate)
}
