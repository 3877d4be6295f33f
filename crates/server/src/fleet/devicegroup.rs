//! Device groups: devices of a product that run the same deployment.

use std::fmt;
use std::str::FromStr;

use super::env_vars::EnvVars;
use super::ids::{AccountId, DeploymentId, GroupId, NoId, ProductId};
use super::proof::Demand;
use super::text::{self, Invalid};

/// What a group is for. The text form is its resource type in central's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupType {
    /// For developers' own devices.
    Development,
    /// A rehearsal of production.
    PreProduction,
    /// The devices of customers.
    Production,
    /// A rehearsal of the factory fixture.
    PreFactoryFixture,
    /// Devices that bless others in a factory.
    FactoryFixture,
    /// A rehearsal of the device under test.
    PreDut,
    /// Devices under test in a factory.
    Dut,
}

impl GroupType {
    /// Every type.
    pub const ALL: [Self; 7] = [
        Self::Development,
        Self::PreProduction,
        Self::Production,
        Self::PreFactoryFixture,
        Self::FactoryFixture,
        Self::PreDut,
        Self::Dut,
    ];

    /// The resource type in central's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development_devicegroup",
            Self::PreProduction => "pre_production_devicegroup",
            Self::Production => "production_devicegroup",
            Self::PreFactoryFixture => "pre_factoryfixture_devicegroup",
            Self::FactoryFixture => "factoryfixture_devicegroup",
            Self::PreDut => "pre_dut_devicegroup",
            Self::Dut => "dut_devicegroup",
        }
    }

    /// The name in the application's `__EI` enumeration.
    pub const fn short(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::PreProduction => "pre_production",
            Self::Production => "production",
            Self::PreFactoryFixture => "pre_factoryfixture",
            Self::FactoryFixture => "factoryfixture",
            Self::PreDut => "pre_dut",
            Self::Dut => "dut",
        }
    }

    /// Whether its devices' logs are production logs.
    pub const fn is_production(self) -> bool {
        matches!(self, Self::Production | Self::PreProduction)
    }

    /// Whether it must name where blessed devices go; not available yet.
    pub const fn needs_targets(self) -> bool {
        matches!(self, Self::FactoryFixture | Self::PreFactoryFixture)
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GroupType {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(NoId)
    }
}

/// A device group.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceGroup {
    /// Its id.
    pub id: GroupId,
    /// What it is for.
    pub kind: GroupType,
    /// The product it belongs to.
    pub product: ProductId,
    /// Who owns it.
    pub owner: AccountId,
    /// Who made it.
    pub creator: AccountId,
    /// 1 to 80 characters, unique in its product.
    pub name: String,
    /// At most 255 characters.
    pub description: String,
    /// Constants for the code that is deployed to it from now on.
    pub env_vars: EnvVars,
    /// Where the identity keys of its devices must live.
    pub attestation: Demand,
    /// What its devices run; none until the first deployment.
    pub current_deployment: Option<DeploymentId>,
    /// The oldest deployment that a device may keep running until it suits it; set by the first deployment.
    pub min_supported_deployment: Option<DeploymentId>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When it last changed, Unix milliseconds.
    pub updated_ms: i64,
}

impl DeviceGroup {
    /// Checks what a person may set.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Invalid> {
        text::name("a device group", &self.name)?;
        text::description(&self.description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_own_text() {
        for kind in GroupType::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("devicegroup".parse::<GroupType>().is_err());
    }
}
