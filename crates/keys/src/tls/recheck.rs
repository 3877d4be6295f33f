//! The check after every handshake: a resumed session skips the verifier, time does not stand still.

use crate::{
    pki::{CertDer, CertificateError, CertificateFacts, facts_and_key},
    profile::Profile,
    public::PublicKey,
    time::Now,
};

/// The other end of a connection, by its TLS certificate alone. It has proved no identity yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The TLS public key.
    pub public: PublicKey,
    /// What its certificate says.
    pub facts: CertificateFacts,
}

/// Why a connection is not used after its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecheckError {
    /// The peer has no certificate; a session never opens without one.
    #[error("the peer has no certificate")]
    NoCertificate,
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Its dates do not include now.
    #[error(
        "the peer's certificate is not valid now: valid from {not_before} to {not_after}, now {now} (Unix seconds)"
    )]
    Date {
        /// Start of validity.
        not_before: i64,
        /// End of validity.
        not_after: i64,
        /// The time of the check.
        now: i64,
    },
    /// Its key has the algorithm of another profile.
    #[error("the peer's certificate does not belong to the {0} profile")]
    Profile(Profile),
}

/// Checks the device's certificate after each handshake; `chain` is what the connection reports as the peer's.
pub fn recheck_client(chain: Option<&[CertDer]>, profile: Profile, now: Now) -> Result<Peer, RecheckError> {
    recheck(chain, profile, now)
}

/// Checks the gateway's certificate after each handshake; `chain` is what the connection reports as the peer's.
pub fn recheck_server(chain: Option<&[CertDer]>, profile: Profile, now: Now) -> Result<Peer, RecheckError> {
    recheck(chain, profile, now)
}

fn recheck(chain: Option<&[CertDer]>, profile: Profile, now: Now) -> Result<Peer, RecheckError> {
    let (leaf, others) = chain.and_then(<[_]>::split_first).ok_or(RecheckError::NoCertificate)?;
    let (facts, public) = facts_and_key(leaf)?;
    check_date(&facts, now)?;
    for other in others {
        check_date(&CertificateFacts::read(other)?, now)?;
    }
    if public.algorithm() != profile.key_algorithm() {
        return Err(RecheckError::Profile(profile));
    }
    Ok(Peer { public, facts })
}

fn check_date(facts: &CertificateFacts, now: Now) -> Result<(), RecheckError> {
    if facts.valid_at(now) {
        return Ok(());
    }
    Err(RecheckError::Date {
        not_before: facts.not_before_unix_s,
        not_after: facts.not_after_unix_s,
        now: now.unix_s(),
    })
}
