//! Signed notes (C2SP signed-note) with Ed25519: how a transparency log signs what it holds.

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    hashes::sha256,
    private_file::{self, Existing, PrivateFileError},
    purpose::KeyPurpose,
    secret::Secret,
    signer::{KeyError, SignError, file_name},
};

/// Beside the private key: what verifies its notes, and so its name.
pub const VERIFIER_FILE: &str = "release-log.verifier";

/// The number of Ed25519 among the algorithms of signed notes.
const ED25519_NOTE: u8 = 1;
/// Longer than any DNS name with a path behind it, in bytes.
const NAME_MAX: usize = 300;
/// What each line of a signature begins with.
const SIGNATURE: &str = "\u{2014} ";

/// Whose signature a note must have, as `name+id+key` writes it.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

/// A text that is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a verifier key of a signed note: name+id+key, the id 8 hex digits, the key Ed25519 in base64")]
pub struct NotANoteKey;

/// A note that the key did not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the note is not signed by the expected key, or was changed")]
pub struct BadNote;

/// The private key of a log.
pub struct NoteSigner {
    key: NoteKey,
    pair: Ed25519KeyPair,
}

impl NoteKey {
    fn new(name: &str, public: [u8; 32]) -> Result<NoteKey, NotANoteKey> {
        let plain = |character: char| !character.is_whitespace() && !character.is_control() && character != '+';
        if !(1..=NAME_MAX).contains(&name.len()) || !name.chars().all(plain) {
            return Err(NotANoteKey);
        }
        let hash = sha256(&[name.as_bytes(), b"\n", &[ED25519_NOTE], &public].concat());
        let id = *hash.first_chunk().ok_or(NotANoteKey)?;
        Ok(NoteKey { name: name.to_owned(), id, public })
    }

    /// Reads a verifier key.
    ///
    /// # Errors
    /// [`NotANoteKey`].
    pub fn parse(text: &str) -> Result<NoteKey, NotANoteKey> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotANoteKey);
        };
        let bytes = STANDARD.decode(key).map_err(|_| NotANoteKey)?;
        let [ED25519_NOTE, public @ ..] = bytes.as_slice() else { return Err(NotANoteKey) };
        let key = NoteKey::new(name, public.try_into().map_err(|_| NotANoteKey)?)?;
        if const_hex::encode(key.id) == id { Ok(key) } else { Err(NotANoteKey) }
    }

    /// The text of a note that this key signed, up to the newline before the empty line.
    ///
    /// # Errors
    /// [`BadNote`].
    pub fn verify<'n>(&self, note: &'n str) -> Result<&'n str, BadNote> {
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(BadNote)?;
        let text = note.get(..text.len() + 1).ok_or(BadNote)?;
        let ours = |line: &str| {
            let (name, signature) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
            let bytes = STANDARD.decode(signature).ok()?;
            let (id, signature) = bytes.split_first_chunk::<4>()?;
            (name == self.name && *id == self.id).then(|| signature.to_vec())
        };
        let signature = signatures.lines().find_map(ours).ok_or(BadNote)?;
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        key.verify(text.as_bytes(), &signature).map_err(|_| BadNote)?;
        Ok(text)
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ED25519_NOTE], &self.public[..]].concat());
        write!(f, "{}+{}+{key}", self.name, const_hex::encode(self.id))
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl NoteSigner {
    /// A new key under a name. Gives its PKCS#8 as well, to be kept.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate(name: &str) -> Result<(NoteSigner, Secret), KeyError> {
        let failed = KeyError::Generate { purpose: KeyPurpose::ReleaseLog };
        let Ok(pkcs8) = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8()) else { return Err(failed) };
        let secret = Secret::new(pkcs8.as_ref().to_vec());
        Ok((NoteSigner::from_pkcs8(name, &secret)?, secret))
    }

    /// The key that was kept.
    ///
    /// # Errors
    /// [`KeyError::DoesNotFit`].
    pub fn from_pkcs8(name: &str, pkcs8: &Secret) -> Result<NoteSigner, KeyError> {
        let does_not_fit = || KeyError::DoesNotFit { purpose: KeyPurpose::ReleaseLog };
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.expose()).map_err(|_| does_not_fit())?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| does_not_fit())?;
        Ok(NoteSigner { key: NoteKey::new(name, public).map_err(|_| does_not_fit())?, pair })
    }

    /// Makes a new key under a name and writes it into `folder`; a key counts once [`VERIFIER_FILE`] is there, and is never
    /// overwritten then.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn create(folder: &Path, name: &str) -> Result<NoteSigner, KeyError> {
        let (signer, pkcs8) = NoteSigner::generate(name)?;
        let verifier = folder.join(VERIFIER_FILE);
        if verifier.exists() {
            return Err(PrivateFileError::Exists { path: verifier }.into());
        }
        private_file::write(&folder.join(file_name(KeyPurpose::ReleaseLog)), pkcs8.expose(), Existing::Replace)?;
        private_file::write(&verifier, signer.key.to_string().as_bytes(), Existing::Refuse)?;
        Ok(signer)
    }

    /// Reads the key that [`NoteSigner::create`] wrote.
    ///
    /// # Errors
    /// [`KeyError`], also when the two files do not belong together.
    pub fn load(folder: &Path) -> Result<NoteSigner, KeyError> {
        let pkcs8 = private_file::read(&folder.join(file_name(KeyPurpose::ReleaseLog)))?;
        let verifier = private_file::read(&folder.join(VERIFIER_FILE))?;
        let known = std::str::from_utf8(verifier.expose()).ok().and_then(|text| NoteKey::parse(text).ok());
        let does_not_fit = KeyError::DoesNotFit { purpose: KeyPurpose::ReleaseLog };
        let Some(known) = known else { return Err(does_not_fit) };
        let signer = NoteSigner::from_pkcs8(known.name(), &pkcs8)?;
        if signer.key == known { Ok(signer) } else { Err(does_not_fit) }
    }

    /// What verifies its notes.
    pub fn key(&self) -> &NoteKey {
        &self.key
    }

    /// Signs a text, which ends with a newline.
    ///
    /// # Errors
    /// [`SignError::Failed`] for another text.
    pub fn sign(&self, text: &str) -> Result<String, SignError> {
        if !text.ends_with('\n') || text.contains("\n\n") {
            return Err(SignError::Failed);
        }
        let signature = self.pair.sign(text.as_bytes());
        let line = STANDARD.encode([&self.key.id[..], signature.as_ref()].concat());
        Ok(format!("{text}\n{SIGNATURE}{} {line}\n", self.key.name))
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_go_implementation_is_read_as_there() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = NoteKey::parse(key).unwrap();
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let line = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let note = format!("{text}\n{line}");
        assert_eq!(key.verify(&note), Ok(text));
        assert_eq!(key.verify(&note.replace("answer", "Answer")), Err(BadNote));
        assert_eq!(key.verify(text), Err(BadNote));
    }

    #[test]
    fn a_note_is_its_signers_alone() {
        let (signer, kept) = NoteSigner::generate("log.example").unwrap();
        let note = signer.sign("text\n").unwrap();
        let again = NoteSigner::from_pkcs8("log.example", &kept).unwrap();
        assert_eq!(NoteKey::parse(&again.key().to_string()).as_ref(), Ok(signer.key()));
        assert_eq!(again.key().verify(&note), Ok("text\n"));
        let (other, _) = NoteSigner::generate("log.example").unwrap();
        assert_eq!(other.key().verify(&note), Err(BadNote));
        assert!(signer.sign("no newline").is_err() && signer.sign("two\n\nparts\n").is_err());
        let dir = tempfile::tempdir().unwrap();
        let made = NoteSigner::create(dir.path(), "log.example").unwrap();
        assert_eq!(NoteSigner::load(dir.path()).unwrap().key(), made.key());
        assert!(NoteSigner::create(dir.path(), "log.example").is_err(), "a key is never overwritten");
        private_file::write(&dir.path().join(VERIFIER_FILE), other.key().to_string().as_bytes(), Existing::Replace)
            .unwrap();
        assert!(matches!(NoteSigner::load(dir.path()), Err(KeyError::DoesNotFit { .. })));
        for bad in ["", "a+b", "log+00000000+AQ==", "lo g+00000000+AA=="] {
            assert_eq!(NoteKey::parse(bad), Err(NotANoteKey), "{bad:?}");
        }
    }
}
