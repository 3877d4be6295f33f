//! Devices: what the server knows of one, and what its login needs.

use std::sync::Arc;

use keys::keystore::AttestationLevel;
use keys::profile::Profile;
use keys::public::{DeviceId, PublicKey, SpkiHash};

use super::agent::AgentId;
use super::deployment::{AppRef, DeploymentSha};
use super::devicegroup::GroupType;
use super::ids::{AccountId, DeploymentId, GroupId, ProductId};
use super::proof::{Demand, Proved};
use super::text::{self, Invalid};

/// The longest model name, in characters.
pub const MODEL_CHARS: usize = 64;

/// An enrolled device, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// SHA-256 of its identity key: what the server keys everything by.
    pub spki: SpkiHash,
    /// The first 8 bytes of that, for people.
    pub id: DeviceId,
    /// Who owns it.
    pub owner: AccountId,
    /// Where it is assigned.
    pub assignment: Option<Assignment>,
    /// The name that a person gave it.
    pub name: Option<String>,
    /// The maker's model name, as the device said at enrolment.
    pub model: String,
    /// The TLS profile it uses.
    pub profile: Profile,
    /// Its agent.
    pub agent: AgentId,
    /// When it was revoked, Unix milliseconds; it is refused from then on.
    pub revoked_ms: Option<i64>,
    /// When it was enrolled, Unix milliseconds.
    pub enrolled_ms: i64,
    /// When its last session began or ended, Unix milliseconds.
    pub seen_ms: Option<i64>,
    /// The address of its last session.
    pub address: Option<String>,
    /// The OS version it proved last.
    pub os_version: Option<String>,
    /// The free memory that its app reported last, bytes.
    pub free_memory: Option<u32>,
    /// Where its identity key lives, as it said when it was enrolled.
    pub attestation: Option<AttestationLevel>,
    /// What it proved last.
    pub proved: Option<Proved>,
}

/// Where a device is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The group.
    pub group: GroupId,
    /// The group's type.
    pub kind: GroupType,
    /// The group's product.
    pub product: ProductId,
    /// What the group runs, if anything was deployed to it: its id, and the hash over its code.
    pub deployment: Option<(DeploymentId, DeploymentSha)>,
}

/// Everything the gateway needs to judge a login and to welcome the device, from one query.
#[derive(Clone, Debug)]
pub struct DeviceLogin {
    /// SHA-256 of its identity key.
    pub spki: SpkiHash,
    /// The first 8 bytes of that.
    pub id: DeviceId,
    /// Its identity key, parsed.
    pub identity: Arc<PublicKey>,
    /// SHA-256 of the SPKI of the TLS key that was certified at enrolment.
    pub tls_spki: SpkiHash,
    /// The TLS profile it was enrolled for.
    pub profile: Profile,
    /// Whether it is to be refused.
    pub revoked: bool,
    /// Its agent.
    pub agent: AgentId,
    /// Who owns it.
    pub owner: AccountId,
    /// Where it is assigned.
    pub group: Option<GroupId>,
    /// Whether its logs are production logs.
    pub production: bool,
    /// What its group runs.
    pub deployment: Option<DeploymentId>,
    /// The device app of that deployment.
    pub app: Option<AppRef>,
    /// The OS version it proved last.
    pub os_version: Option<String>,
    /// Where its identity key lives, as it said when it was enrolled; unknown of those that were enrolled before this was asked.
    pub attestation: Option<AttestationLevel>,
    /// Where its group wants its identity key to live.
    pub demand: Demand,
}

/// Everything an agent needs to start, from one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentStart {
    /// The device.
    pub device: SpkiHash,
    /// The device's id for people.
    pub device_id: DeviceId,
    /// The agent.
    pub agent: AgentId,
    /// Whether its logs are production logs.
    pub production: bool,
    /// What its group runs.
    pub deployment: DeploymentId,
    /// The agent app of that deployment.
    pub app: AppRef,
}

/// A device that asks to be enrolled; the request's signatures are already verified.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// The identity key, SPKI DER.
    pub identity: Arc<PublicKey>,
    /// The key-agreement key, SPKI DER.
    pub key_agreement_spki: Vec<u8>,
    /// SHA-256 of the SPKI of the TLS key.
    pub tls_spki: SpkiHash,
    /// The TLS profile it asked for.
    pub profile: Profile,
    /// The maker's model name.
    pub model: String,
    /// Where its identity key lives, as it says itself.
    pub attestation: AttestationLevel,
}

impl DeviceLogin {
    /// Whether a key that lives there is the one that was enrolled, and lives where the device's group wants it.
    pub fn takes(&self, level: AttestationLevel) -> bool {
        self.attestation.is_none_or(|enrolled| enrolled == level) && self.demand.is_met_by(level)
    }
}

impl NewDevice {
    /// Checks what the device says about itself.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Invalid> {
        check_model(&self.model)
    }
}

/// Checks a model name: 1 to 64 printable characters.
///
/// # Errors
/// Says what is allowed.
pub fn check_model(model: &str) -> Result<(), Invalid> {
    if model.trim().is_empty() || model.chars().any(char::is_control) {
        return Err(Invalid(format!("a model has 1 to {MODEL_CHARS} printable characters")));
    }
    text::line("a model", model, MODEL_CHARS)
}

/// Checks a device's name; an empty one clears it.
///
/// # Errors
/// Says what is allowed.
pub fn check_name(name: &str) -> Result<(), Invalid> {
    text::line("a device's name", name, text::NAME_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_bounds() {
        assert!(check_model("m").is_ok());
        assert!(check_model(&"m".repeat(MODEL_CHARS)).is_ok());
        assert!(check_model(&"m".repeat(MODEL_CHARS + 1)).is_err());
        assert!(check_model(" ").is_err());
        assert!(check_model("a\nb").is_err());
    }
}
