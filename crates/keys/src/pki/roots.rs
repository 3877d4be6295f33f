//! The roots of one side, classic and modern, in use and next: what the other side pins.

use std::sync::Arc;

use minicbor::{Decoder, Encoder};
use rustls::RootCertStore;

use super::{CertDer, certificate};
use crate::{hashes::sha256, limits::LIMITS, profile::Profile};

/// The version of the encoding.
const VERSION: u8 = 1;

/// One root certificate for each profile, and one more for each that is to follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootsBundle {
    current: Pair,
    next: Option<Pair>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair {
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
    #[error(
        "not a roots bundle (CBOR array of version 1, classic root, modern root, then perhaps those that follow them, in the \
         shortest encoding)"
    )]
    Form,
    /// One of them is no root certificate with the algorithm of its profile.
    #[error("a {0} root of the bundle is not a certificate of that profile")]
    NotARoot(Profile),
}

impl RootsBundle {
    /// Joins two roots; each must have its profile's key algorithm.
    pub fn new(classic: CertDer, modern: CertDer) -> Result<RootsBundle, RootsError> {
        Ok(RootsBundle { current: Pair::checked(classic, modern)?, next: None })
    }

    /// With the roots that are to follow: both are trusted, so that a server can go from one to the other at any moment.
    pub fn with_next(self, classic: CertDer, modern: CertDer) -> Result<RootsBundle, RootsError> {
        Ok(RootsBundle { next: Some(Pair::checked(classic, modern)?), ..self })
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
        let roots: Vec<_> = self.pairs().flat_map(|pair| [&pair.classic, &pair.modern]).collect();
        // Encoding into memory has no way to fail.
        let _ = cbor
            .array(1 + roots.len() as u64)
            .and_then(|cbor| cbor.u8(VERSION))
            .and_then(|cbor| roots.iter().try_fold(cbor, |cbor, root| cbor.bytes(root)));
        cbor.into_writer()
    }

    /// SHA-256 of the canonical encoding: the pin in an enrolment token.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.to_cbor())
    }

    /// The root of a profile that is in use.
    pub fn root(&self, profile: Profile) -> &CertDer {
        self.current.of(profile)
    }

    /// The roots of a profile: the one in use, then the one that is to follow, where there is one.
    pub fn roots(&self, profile: Profile) -> impl Iterator<Item = &CertDer> {
        self.pairs().map(move |pair| pair.of(profile))
    }

    /// Whether this is one of the roots of a profile.
    pub fn holds(&self, profile: Profile, root: &CertDer) -> bool {
        self.roots(profile).any(|known| known == root)
    }

    /// A store that trusts the roots of this profile and nothing else.
    pub(crate) fn store(&self, profile: Profile) -> Result<Arc<RootCertStore>, RootsError> {
        let mut store = RootCertStore::empty();
        for root in self.roots(profile) {
            store.add(root.clone()).map_err(|_| RootsError::NotARoot(profile))?;
        }
        Ok(Arc::new(store))
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair> {
        std::iter::once(&self.current).chain(&self.next)
    }
}

impl Pair {
    fn checked(classic: CertDer, modern: CertDer) -> Result<Pair, RootsError> {
        let pair = Pair { classic, modern };
        for profile in Profile::ALL {
            let not_a_root = RootsError::NotARoot(profile);
            let public = certificate::public_key(pair.of(profile)).map_err(|_| not_a_root)?;
            if public.algorithm() != profile.key_algorithm() {
                return Err(not_a_root);
            }
            RootCertStore::empty().add(pair.of(profile).clone()).map_err(|_| not_a_root)?;
        }
        Ok(pair)
    }

    fn of(&self, profile: Profile) -> &CertDer {
        match profile {
            Profile::Classic => &self.classic,
            Profile::Modern => &self.modern,
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Result<RootsBundle, RootsError>, minicbor::decode::Error> {
    let mut cbor = Decoder::new(bytes);
    let count = cbor.array()?;
    if !matches!(count, Some(3 | 5)) || cbor.u8()? != VERSION {
        return Ok(Err(RootsError::Form));
    }
    let mut root = || Ok::<_, minicbor::decode::Error>(CertDer::from(cbor.bytes()?.to_vec()));
    let current = RootsBundle::new(root()?, root()?);
    if count == Some(3) {
        return Ok(current);
    }
    let (classic, modern) = (root()?, root()?);
    Ok(current.and_then(|bundle| bundle.with_next(classic, modern)))
}
