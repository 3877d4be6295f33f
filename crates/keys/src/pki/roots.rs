//! The two roots of one side, classic and modern: what the other side pins.

use std::sync::Arc;

use minicbor::{Decoder, Encoder};
use rustls::RootCertStore;

use super::{CertDer, certificate};
use crate::{hashes::sha256, limits::LIMITS, profile::Profile};

/// The version of the encoding.
const VERSION: u8 = 1;

/// One root certificate for each profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootsBundle {
    classic: CertDer,
    modern: CertDer,
}

/// Why bytes are no roots bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// Longer than [`LIMITS`]`.roots_bundle` bytes.
    #[error("the roots bundle is longer than {} bytes", LIMITS.roots_bundle)]
    TooLong,
    /// Not the one canonical encoding of a bundle.
    #[error("not a roots bundle (CBOR array of version 1, classic root, modern root, in the shortest encoding)")]
    Form,
    /// One of the two is no root certificate with the algorithm of its profile.
    #[error("the {0} root of the bundle is not a certificate of that profile")]
    NotARoot(Profile),
}

impl RootsBundle {
    /// Joins two roots; each must have its profile's key algorithm.
    pub fn new(classic: CertDer, modern: CertDer) -> Result<RootsBundle, RootsError> {
        let bundle = RootsBundle { classic, modern };
        for profile in Profile::ALL {
            let not_a_root = RootsError::NotARoot(profile);
            let public = certificate::public_key(bundle.root(profile)).map_err(|_| not_a_root)?;
            if public.algorithm() != profile.key_algorithm() {
                return Err(not_a_root);
            }
            bundle.store(profile)?;
        }
        Ok(bundle)
    }

    /// Reads a bundle; only the canonical encoding is taken, so that equal bundles have equal hashes.
    pub fn from_cbor(bytes: &[u8]) -> Result<RootsBundle, RootsError> {
        if bytes.len() > LIMITS.roots_bundle {
            return Err(RootsError::TooLong);
        }
        let bundle = decode(bytes).map_err(|_| RootsError::Form)??;
        if bundle.to_cbor() != bytes {
            return Err(RootsError::Form);
        }
        Ok(bundle)
    }

    /// The canonical encoding.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut cbor = Encoder::new(Vec::new());
        // Encoding into memory has no way to fail.
        let _ = cbor.array(3).and_then(|cbor| cbor.u8(VERSION)?.bytes(&self.classic)?.bytes(&self.modern));
        cbor.into_writer()
    }

    /// SHA-256 of the canonical encoding: the pin in an enrolment token.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.to_cbor())
    }

    /// The root of a profile.
    pub fn root(&self, profile: Profile) -> &CertDer {
        match profile {
            Profile::Classic => &self.classic,
            Profile::Modern => &self.modern,
        }
    }

    /// A store that trusts the root of this profile and nothing else.
    pub(crate) fn store(&self, profile: Profile) -> Result<Arc<RootCertStore>, RootsError> {
        let mut store = RootCertStore::empty();
        store.add(self.root(profile).clone()).map_err(|_| RootsError::NotARoot(profile))?;
        Ok(Arc::new(store))
    }
}

fn decode(bytes: &[u8]) -> Result<Result<RootsBundle, RootsError>, minicbor::decode::Error> {
    let mut cbor = Decoder::new(bytes);
    if cbor.array()? != Some(3) || cbor.u8()? != VERSION {
        return Ok(Err(RootsError::Form));
    }
    let classic = CertDer::from(cbor.bytes()?.to_vec());
    let modern = CertDer::from(cbor.bytes()?.to_vec());
    Ok(RootsBundle::new(classic, modern))
}
