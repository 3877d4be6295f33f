//! Deployments: one version of a device app and an agent app for a device group.

use std::fmt;
use std::str::FromStr;

use keys::hashes::sha256;

use super::devicegroup::GroupType;
use super::ids::{AccountId, DeploymentId, GroupId, NoId, ProductId};
use super::text::{self, Invalid};

/// The longest list of tags, all characters together.
pub const TAGS_CHARS: usize = 500;

/// SHA-256 over both sources; the same code has the same value in every group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeploymentSha(pub [u8; 32]);

impl DeploymentSha {
    /// Over the device code's length (8 bytes, big-endian), the device code and the agent code, so that moving a line from one source to
    /// the other changes it.
    pub fn of(device_code: &str, agent_code: &str) -> Self {
        let mut bytes = Vec::with_capacity(8 + device_code.len() + agent_code.len());
        bytes.extend_from_slice(&(device_code.len() as u64).to_be_bytes());
        bytes.extend_from_slice(device_code.as_bytes());
        bytes.extend_from_slice(agent_code.as_bytes());
        Self(sha256(&bytes))
    }
}

impl FromStr for DeploymentSha {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        const_hex::decode_to_array(text).map(Self).map_err(|_| NoId)
    }
}

impl fmt::Display for DeploymentSha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

/// A compiled app by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppRef {
    /// SHA-256 of the image.
    pub sha256: [u8; 32],
    /// Length of the image, bytes.
    pub len: u32,
}

/// A deployment, without its code and images, which are asked for when needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The group it is for.
    pub group: GroupId,
    /// The type of that group.
    pub group_kind: GroupType,
    /// The product of that group.
    pub product: ProductId,
    /// Who owns it.
    pub owner: AccountId,
    /// Who made it.
    pub creator: AccountId,
    /// Over the code.
    pub sha: DeploymentSha,
    /// What a person may say about it.
    pub notes: DeploymentNotes,
    /// Who flagged it, while it is flagged.
    pub flagger: Option<AccountId>,
    /// Where it came from; settable at creation only.
    pub origin: Option<String>,
    /// The compiled device app.
    pub device_app: AppRef,
    /// The compiled agent app.
    pub agent_app: AppRef,
    /// When it was made, Unix milliseconds; later than every older one of its group.
    pub created_ms: i64,
    /// When it last changed, Unix milliseconds.
    pub updated_ms: i64,
}

/// The part of a deployment that may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentNotes {
    /// At most 255 characters.
    pub description: String,
    /// Whether it may not be deleted.
    pub flagged: bool,
    /// Words of letters, digits and `_-*.`, at most 500 characters together.
    pub tags: Vec<String>,
}

/// A deployment to be made; both sources are already compiled.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// Its id; chosen before the compilation, which may use it.
    pub id: DeploymentId,
    /// The group it is for.
    pub group: GroupId,
    /// Who makes it.
    pub creator: AccountId,
    /// What a person says about it.
    pub notes: DeploymentNotes,
    /// Where it comes from.
    pub origin: Option<String>,
    /// The device app's source.
    pub device_code: String,
    /// The agent app's source.
    pub agent_code: String,
    /// The compiled device app.
    pub device_image: Vec<u8>,
    /// The compiled agent app.
    pub agent_image: Vec<u8>,
}

impl DeploymentNotes {
    /// Checks what a person may set.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Invalid> {
        text::description(&self.description)?;
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_-*.".contains(letter);
        if self.tags.iter().any(|tag| tag.is_empty() || !tag.chars().all(allowed)) {
            return Err(Invalid("a tag has letters, digits and _ - * . only".to_owned()));
        }
        if self.tags.iter().map(String::len).sum::<usize>() > TAGS_CHARS {
            return Err(Invalid(format!("the tags have at most {TAGS_CHARS} characters together")));
        }
        Ok(())
    }
}

impl NewDeployment {
    /// Checks what a person may set.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Invalid> {
        self.notes.check()?;
        self.origin.as_deref().map_or(Ok(()), |origin| text::line("an origin", origin, text::DESCRIPTION_CHARS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sha_depends_on_both_sources_and_their_border() {
        let sha = DeploymentSha::of("ab", "c");
        assert_eq!(sha, DeploymentSha::of("ab", "c"));
        assert_ne!(sha, DeploymentSha::of("a", "bc"));
        assert_ne!(sha, DeploymentSha::of("c", "ab"));
        assert_eq!(sha.to_string().len(), 64);
    }

    #[test]
    fn tags_are_words_with_a_bound() {
        let tags = |tags: &[&str]| {
            DeploymentNotes { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..Default::default() }.check()
        };
        assert!(tags(&[]).is_ok());
        assert!(tags(&["v1.0", "a_b-c*"]).is_ok());
        assert!(tags(&[""]).is_err());
        assert!(tags(&["a b"]).is_err());
        assert!(tags(&[&"x".repeat(TAGS_CHARS)]).is_ok());
        assert!(tags(&[&"x".repeat(TAGS_CHARS), "y"]).is_err());
    }
}
