//! A secret split over several people: so many of them together have it again, and fewer know nothing of it.
//!
//! The scheme is Shamir's (How to share a secret, 1979) over GF(2^8), without look-up tables, byte by byte. A commitment
//! beside the shares tells a wrong result before it is used: a login secret that is tried wrongly may lock its token.

use std::{convert::Infallible, fmt};

use rand_core::{TryCryptoRng, TryRng};
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::{
    hashes::{Sha256, ct_eq, fill_random},
    limits::LIMITS,
    secret::Secret,
};

/// Separates commitments from every other hash over a secret.
const COMMITMENT_PREFIX: &[u8] = b"vouch/shares/1";

/// How many of how many people are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    needed: u8,
    people: u8,
}

/// One person's part of a secret: its number, from 1 on, and as many bytes as the secret has.
#[derive(Clone)]
pub struct Share(Zeroizing<Vec<u8>>);

/// SHA-256 over a secret of high entropy, by which a joined secret is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment(pub [u8; 32]);

/// Why a secret cannot be split or joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// A quorum of one is none, and more people cannot be needed than there are.
    #[error(
        "{needed} of {people} is no quorum: at least 2 people must be needed, at most as many as there are, and there can be at most {}",
        LIMITS.quorum_people
    )]
    Quorum {
        /// How many should be needed.
        needed: usize,
        /// Of how many.
        people: usize,
    },
    /// The secret is empty or too long.
    #[error("a secret to split has 1 to {} bytes, not {_0}", LIMITS.split_secret)]
    Length(usize),
    /// Too few different shares.
    #[error("{found} different shares were given, {needed} are needed")]
    TooFew {
        /// How many different ones there are.
        found: usize,
        /// How many are needed.
        needed: u8,
    },
    /// The bytes are no share.
    #[error("this is no share of a secret")]
    NoShare,
    /// The shares are not all of this secret.
    #[error("the shares do not make the secret: one of them is of another split, or was changed")]
    Mismatch,
}

impl Quorum {
    /// `needed` of `people`: at least 2, at most all of them.
    ///
    /// # Errors
    /// [`ShareError::Quorum`] outside these bounds.
    pub fn new(needed: usize, people: usize) -> Result<Quorum, ShareError> {
        let refused = ShareError::Quorum { needed, people };
        if needed < 2 || needed > people || people > LIMITS.quorum_people {
            return Err(refused);
        }
        let small = |number: usize| u8::try_from(number).map_err(|_| refused);
        Ok(Quorum { needed: small(needed)?, people: small(people)? })
    }

    /// How many are needed.
    pub fn needed(self) -> usize {
        self.needed.into()
    }

    /// How many there are.
    pub fn people(self) -> usize {
        self.people.into()
    }

    /// Splits a secret: one share for each of the people, in order.
    ///
    /// # Errors
    /// [`ShareError::Length`] when the secret is empty or too long.
    pub fn split(self, secret: &Secret) -> Result<Vec<Share>, ShareError> {
        let length = secret.expose().len();
        if !(1..=LIMITS.split_secret).contains(&length) {
            return Err(ShareError::Length(length));
        }
        let shares = Gf256::split_bytes(self.needed(), self.people(), secret.expose(), OperatingSystem);
        let shares = shares.map_err(|_| ShareError::Length(length))?;
        Ok(shares.into_iter().map(|share| Share(Zeroizing::new(share))).collect())
    }

    /// The secret that these shares make; one given twice counts once, and more than are needed must agree.
    ///
    /// # Errors
    /// [`ShareError`] when there are too few, or when they do not make the secret of the commitment.
    pub fn join(self, shares: &[Share], commitment: &Commitment) -> Result<Secret, ShareError> {
        let mut different: Vec<Vec<u8>> = Vec::with_capacity(shares.len());
        for share in shares {
            if !different.iter().any(|known| known.first() == share.0.first()) {
                different.push(share.0.to_vec());
            }
        }
        let found = different.len();
        let joined = if found < self.needed() {
            Err(ShareError::TooFew { found, needed: self.needed })
        } else {
            Gf256::combine_bytes(&different).map(Secret::new).map_err(|_| ShareError::Mismatch)
        };
        different.iter_mut().for_each(zeroize::Zeroize::zeroize);
        let secret = joined?;
        if ct_eq(&Commitment::of(&secret).0, &commitment.0) { Ok(secret) } else { Err(ShareError::Mismatch) }
    }
}

impl Share {
    /// Reads a share from the bytes of [`Share::expose`].
    ///
    /// # Errors
    /// [`ShareError::NoShare`] when they are too few or too many, or the number is zero.
    pub fn from_secret(bytes: &Secret) -> Result<Share, ShareError> {
        let bytes = bytes.expose();
        if !(2..=LIMITS.split_secret.saturating_add(1)).contains(&bytes.len()) || bytes.first() == Some(&0) {
            return Err(ShareError::NoShare);
        }
        Ok(Share(Zeroizing::new(bytes.to_vec())))
    }

    /// Whose share it is, from 1 on.
    pub fn number(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    /// The number and the bytes, to be sealed for their owner.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Commitment {
    /// The commitment to a secret that nobody can guess.
    pub fn of(secret: &Secret) -> Commitment {
        let mut sha = Sha256::new();
        sha.update(COMMITMENT_PREFIX);
        sha.update(secret.expose());
        Commitment(sha.finish())
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({}, ..)", self.number())
    }
}

/// The operating system's generator, as the scheme wants it.
struct OperatingSystem;

impl TryRng for OperatingSystem {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        fill_random(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        fill_random(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        fill_random(dst);
        Ok(())
    }
}

impl TryCryptoRng for OperatingSystem {}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new((0..32).collect())
    }

    fn split(needed: usize, people: usize) -> (Quorum, Vec<Share>, Commitment) {
        let quorum = Quorum::new(needed, people).unwrap();
        (quorum, quorum.split(&secret()).unwrap(), Commitment::of(&secret()))
    }

    #[test]
    fn every_three_of_five_have_the_secret_and_no_two_do() {
        let (quorum, shares, commitment) = split(3, 5);
        for a in 0..5 {
            for b in a + 1..5 {
                let two = [shares[a].clone(), shares[b].clone()];
                assert_eq!(quorum.join(&two, &commitment).unwrap_err(), ShareError::TooFew { found: 2, needed: 3 });
                for c in b + 1..5 {
                    let three = [shares[a].clone(), shares[b].clone(), shares[c].clone()];
                    assert!(quorum.join(&three, &commitment).unwrap().ct_eq(secret().expose()));
                }
            }
        }
        assert!(quorum.join(&shares, &commitment).unwrap().ct_eq(secret().expose()), "all five agree");
    }

    #[test]
    fn one_share_given_twice_counts_once() {
        let (quorum, shares, commitment) = split(2, 3);
        let twice = [shares[0].clone(), shares[0].clone()];
        assert_eq!(quorum.join(&twice, &commitment).unwrap_err(), ShareError::TooFew { found: 1, needed: 2 });
    }

    #[test]
    fn a_share_of_another_split_or_a_changed_one_is_noticed_before_the_secret_is_used() {
        let (quorum, shares, commitment) = split(2, 3);
        let (_, others, _) = split(2, 3);
        let mixed = [shares[0].clone(), others[1].clone()];
        assert_eq!(quorum.join(&mixed, &commitment).unwrap_err(), ShareError::Mismatch);
        let mut changed = shares[1].clone();
        changed.0[5] ^= 1;
        assert_eq!(quorum.join(&[shares[0].clone(), changed], &commitment).unwrap_err(), ShareError::Mismatch);
        let mut short = shares[1].clone();
        short.0.truncate(10);
        assert_eq!(quorum.join(&[shares[0].clone(), short], &commitment).unwrap_err(), ShareError::Mismatch);
    }

    /// Lagrange's formula over the field of AES (FIPS 197, section 4.2), written out.
    #[test]
    fn the_scheme_is_shamirs_over_the_field_of_aes() {
        fn times(mut a: u8, mut b: u8) -> u8 {
            let mut product = 0;
            while b != 0 {
                product ^= if b & 1 == 1 { a } else { 0 };
                a = (a << 1) ^ if a & 0x80 == 0x80 { 0x1b } else { 0 };
                b >>= 1;
            }
            product
        }
        let inverse = |a: u8| (1..=255).find(|b| times(a, *b) == 1).unwrap();
        assert_eq!(times(0x57, 0x83), 0xc1, "the example of FIPS 197");
        let (_, shares, _) = split(3, 5);
        let chosen = [&shares[4], &shares[0], &shares[2]];
        for (at, expected) in secret().expose().iter().enumerate() {
            let terms = chosen.iter().map(|share| {
                let others = chosen.iter().filter(|other| other.number() != share.number());
                let weight = others.fold(1, |weight, other| {
                    times(weight, times(other.number(), inverse(other.number() ^ share.number())))
                });
                times(weight, share.0[at + 1])
            });
            assert_eq!(terms.fold(0, |sum, term| sum ^ term), *expected);
        }
    }

    #[test]
    fn a_quorum_has_bounds() {
        for (needed, people) in [(0, 3), (1, 3), (4, 3), (2, LIMITS.quorum_people + 1), (2, 0)] {
            assert_eq!(Quorum::new(needed, people), Err(ShareError::Quorum { needed, people }));
        }
        let most = Quorum::new(LIMITS.quorum_people, LIMITS.quorum_people).unwrap();
        assert_eq!(most.split(&secret()).unwrap().len(), LIMITS.quorum_people);
        Quorum::new(2, 2).unwrap();
    }

    #[test]
    fn a_secret_and_a_share_have_bounds() {
        let quorum = Quorum::new(2, 2).unwrap();
        for length in [0, LIMITS.split_secret + 1] {
            assert_eq!(quorum.split(&Secret::new(vec![1; length])).unwrap_err(), ShareError::Length(length));
        }
        let longest = quorum.split(&Secret::new(vec![1; LIMITS.split_secret])).unwrap();
        let read = |bytes: Vec<u8>| Share::from_secret(&Secret::new(bytes));
        assert_eq!(read(longest[0].expose().to_vec()).unwrap().number(), 1);
        for bad in [vec![], vec![1], vec![0, 1], vec![1; LIMITS.split_secret + 2]] {
            assert_eq!(read(bad).unwrap_err(), ShareError::NoShare);
        }
    }

    #[test]
    fn nothing_of_a_share_is_printed() {
        let (_, shares, _) = split(2, 2);
        assert_eq!(format!("{:?}", shares[1]), "Share(2, ..)");
    }
}
