//! Agents: how an agent is named and where its URL is.

use std::fmt;
use std::str::FromStr;

use keys::hashes::hmac_sha256;
use keys::public::SpkiHash;
use keys::secret::Secret;

use super::ids::{AccountId, NoId};
use super::text;

/// The server's secret from which agent ids are derived; whoever has it can compute agents' URLs.
pub struct AgentIdSecret(Secret);

/// An agent's id: 12 base64url characters that cannot be guessed. The same device and owner always get the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId([u8; 12]);

/// Where agents' URLs begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentUrls(String);

impl AgentIdSecret {
    /// Length of the secret, bytes.
    pub const BYTES: usize = 32;

    /// Takes the secret as it was stored.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The first 72 bits of HMAC-SHA256(secret, SPKI hash || owner id): a new owner gets a new agent, and none of the old data.
    pub fn agent_id(&self, device: SpkiHash, owner: AccountId) -> AgentId {
        let mac = hmac_sha256(&self.0, &[device.as_bytes(), owner.to_string().as_bytes()]);
        let mut id = [0; 12];
        for (slot, byte) in id.iter_mut().zip(text::base64url(&mac[..9]).bytes()) {
            *slot = byte;
        }
        AgentId(id)
    }
}

impl fmt::Debug for AgentIdSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentIdSecret(..)")
    }
}

impl AgentId {
    /// The 12 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AgentId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        if !text::is_base64url(text, 12) {
            return Err(NoId);
        }
        text.as_bytes().try_into().map(Self).map_err(|_| NoId)
    }
}

impl AgentUrls {
    /// Below this address of the server, such as `http://127.0.0.1:8080`.
    pub fn new(server: &str) -> Self {
        Self(format!("{}/agent/", server.trim_end_matches('/')))
    }

    /// The URL of one agent.
    pub fn of(&self, agent: AgentId) -> String {
        format!("{}{agent}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(fill: u8) -> AgentIdSecret {
        AgentIdSecret::new(Secret::new(vec![fill; AgentIdSecret::BYTES]))
    }

    #[test]
    fn an_agent_id_is_stable_and_depends_on_secret_device_and_owner() {
        let (device, owner) = (SpkiHash([1; 32]), AccountId::random());
        let id = secret(7).agent_id(device, owner);
        assert_eq!(id, secret(7).agent_id(device, owner));
        assert_ne!(id, secret(8).agent_id(device, owner));
        assert_ne!(id, secret(7).agent_id(SpkiHash([2; 32]), owner));
        assert_ne!(id, secret(7).agent_id(device, AccountId::random()));
        assert_eq!(id.as_str().len(), 12);
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    #[test]
    fn a_url_has_one_slash_between_its_parts() {
        let id = secret(7).agent_id(SpkiHash([1; 32]), AccountId::random());
        assert_eq!(AgentUrls::new("http://h:1/").of(id), format!("http://h:1/agent/{id}"));
        assert_eq!(AgentUrls::new("http://h:1").of(id), format!("http://h:1/agent/{id}"));
    }
}
