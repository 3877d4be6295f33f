//! What the parent keeps of its privileges: changing the network. What its child keeps: nothing.

use std::io;

use rustix::process::geteuid;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs,
};

/// The one privilege that stays.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN;

/// Why a privilege could not be given up, or is missing.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The process may not change the network.
    #[error("this process may not change the network: start it as root, or with CAP_NET_ADMIN")]
    Missing,
    /// The kernel refused.
    #[error("privileges could not be given up: {0}")]
    Refused(#[from] io::Error),
}

/// Gives up everything but CAP_NET_ADMIN, for good. Programs that are started from now on get no privilege at all, even
/// with the user id of root.
pub(super) fn keep_network_only() -> Result<(), PrivilegeError> {
    let own = capabilities(None).map_err(io::Error::from)?;
    if !own.permitted.contains(KEPT) {
        return Err(PrivilegeError::Missing);
    }
    set_no_new_privs(true).map_err(io::Error::from)?;
    if own.effective.contains(CapabilitySet::SETPCAP) {
        let secure = CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
        set_capabilities_secure_bits(secure).map_err(io::Error::from)?;
        for capability in CapabilitySet::all().iter().filter(|capability| *capability != KEPT) {
            // One that this kernel does not know is not there either.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability).map_err(io::Error::from)?;
            }
        }
    } else if geteuid().is_root() {
        return Err(PrivilegeError::Refused(io::Error::other("root without CAP_SETPCAP would hand on its privileges")));
    }
    clear_ambient_capability_set().map_err(io::Error::from)?;
    let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets).map_err(io::Error::from)?)
}
