//! What the parent keeps of its privileges: changing the network, where it is asked to. What its child keeps: nothing.

use std::io;

use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs,
};

/// The one privilege that may stay.
const NETWORK: CapabilitySet = CapabilitySet::NET_ADMIN;

/// Why a privilege could not be given up, or is missing.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The process may not change the network.
    #[error("this process may not change the network: start it as root, or with CAP_NET_ADMIN, or without --interface")]
    Missing,
    /// The kernel refused.
    #[error("privileges could not be given up: {0}")]
    Refused(#[from] io::Error),
}

/// Gives up everything, but for CAP_NET_ADMIN where `network` asks for it, for good. Programs that are started from now on
/// get no privilege at all, even with the user id of root. Nobody may look into this process afterwards.
pub(super) fn reduce(network: bool) -> Result<(), PrivilegeError> {
    let kept = if network { NETWORK } else { CapabilitySet::empty() };
    let own = capabilities(None).map_err(io::Error::from)?;
    if !own.permitted.contains(kept) {
        return Err(PrivilegeError::Missing);
    }
    set_no_new_privs(true).map_err(io::Error::from)?;
    if own.effective.contains(CapabilitySet::SETPCAP) {
        let secure = CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
        set_capabilities_secure_bits(secure).map_err(io::Error::from)?;
        for capability in CapabilitySet::all().iter().filter(|capability| *capability != kept) {
            // One that this kernel does not know is not there either.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability).map_err(io::Error::from)?;
            }
        }
    } else if geteuid().is_root() {
        return Err(PrivilegeError::Refused(io::Error::other("root without CAP_SETPCAP would hand on its privileges")));
    }
    clear_ambient_capability_set().map_err(io::Error::from)?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(io::Error::from)?;
    // After the change of credentials, which may have made the process dumpable again.
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(io::Error::from)?)
}
