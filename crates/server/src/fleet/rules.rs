//! The rules that a change can break because of what else there is.

use release::version::OsVersion;
use thiserror::Error;

/// A change that the fleet refuses as it stands; the text says what must be done first.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Rule {
    /// Another product of the owner has the name.
    #[error("Products must have unique names.")]
    ProductNameTaken,
    /// Another group of the product has the name.
    #[error("Devicegroups must have unique names.")]
    GroupNameTaken,
    /// Another account has the name.
    #[error("Accounts must have unique names.")]
    AccountNameTaken,
    /// The version exists with other code.
    #[error("A version of a library never changes; add other code under another version.")]
    LibraryVersionTaken,
    /// The product still has groups.
    #[error("Cannot delete a product with associated devicegroups.")]
    ProductHasGroups,
    /// Devices are assigned to the group.
    #[error("Cannot delete a devicegroup with assigned devices; unassign them first.")]
    GroupHasDevices,
    /// A deployment of the group is flagged.
    #[error(
        "Cannot delete a devicegroup with flagged deployments; set their flagged attribute to false and try again."
    )]
    GroupHasFlagged,
    /// The deployment is flagged.
    #[error("You cannot delete flagged deployments; set the flagged attribute to false and try again.")]
    DeploymentFlagged,
    /// The deployment is the group's minimum or newer.
    #[error("You cannot delete the devicegroup's minimum supported deployment or a newer one.")]
    DeploymentSupported,
    /// The deployment is of another group.
    #[error("The minimum supported deployment must be one of the devicegroup's own deployments.")]
    MinimumOfOtherGroup,
    /// The minimum may only move forward.
    #[error("The minimum supported deployment cannot be older than the one that is set.")]
    MinimumOlder,
    /// The device and the group have different owners.
    #[error("The device and the devicegroup must have the same owner.")]
    OtherOwner,
    /// The device is assigned.
    #[error("Cannot delete an assigned device; unassign it first.")]
    DeviceAssigned,
    /// The device is not in this group, or in none.
    #[error("The device is not assigned to the devicegroup.")]
    DeviceNotAssigned,
    /// The product has that version already.
    #[error("The product has a release of this version; a version never changes.")]
    ReleaseVersionTaken,
    /// No device of the group could take it.
    #[error("The release has no image for any model of the devicegroup's devices.")]
    ReleaseFitsNobody,
    /// The custodians' newest targets do not name it.
    #[error(
        "The custodians no longer approve this release: devices would refuse it. They approve OS {0}; roll that out."
    )]
    ReleaseNotApproved(OsVersion),
    /// Only what runs can be paused, or go to its next phase.
    #[error("Only a roll-out that runs can be paused or advanced.")]
    RolloutNotRunning,
    /// There is no next phase.
    #[error("The roll-out is in its last phase, which reaches every device.")]
    RolloutLastPhase,
    /// Only what is held can go on.
    #[error("Only a roll-out that is paused, or stopped by failures, can be resumed.")]
    RolloutNotHeld,
    /// It is over.
    #[error("The roll-out is over already.")]
    RolloutOver,
    /// The device's keys live elsewhere than the group demands.
    #[error("The device's keys do not live where the devicegroup demands it (its attribute attestation).")]
    AttestationTooLow,
    /// The device is revoked.
    #[error("The device is revoked; it must be enrolled anew with a new identity key.")]
    DeviceRevoked,
}
