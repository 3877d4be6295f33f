//! What the device process can reach, by Landlock: files, ports, other processes.

use std::path::PathBuf;

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

use super::{Layer, Plan, Protections, SandboxError, needed};

/// The newest Landlock whose rights are all asked for; older kernels give what they have.
const NEWEST: ABI = ABI::V10;

/// What is done with files that are read.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
/// What is done with files that are kept: written beside, and renamed into place.
const KEEP: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile});

/// The rights over the network that are taken away but where a rule gives them back. Binding to a UDP port is left to the
/// list of system calls: this right would cover what the kernel does by itself when a socket is connected.
const NETWORK: BitFlags<AccessNet> = make_bitflags!(AccessNet::{BindTcp | ConnectTcp | ConnectSendUdp});

/// Takes everything away but what the plan names, as far as this kernel can.
pub(super) fn confine(plan: &Plan, protections: &mut Protections) -> Result<(), SandboxError> {
    let ruleset = ruleset(plan)?;
    let status = ruleset.restrict_self().map_err(failed)?;
    let abi = match status {
        RestrictionStatus { landlock: LandlockStatus::Available { effective_abi, .. }, .. } => effective_abi,
        _ => ABI::Unsupported,
    };
    let since = |first: ABI| match abi {
        ABI::Unsupported => Err("this kernel has no Landlock, or it is switched off".to_owned()),
        abi if abi < first => {
            Err(format!("Landlock of this kernel has ABI {}, {} is needed", abi as i32, first as i32))
        }
        _ => Ok(()),
    };
    // Before ABI 3 files could be emptied where they could not be written.
    protections.note(Layer::Files, since(ABI::V3));
    protections.note(Layer::TcpPorts, since(ABI::V4));
    protections.note(Layer::Signals, since(ABI::V6));
    // Without a UDP socket there is no port to close.
    protections.note(Layer::UdpPorts, if plan.udp_ports.is_empty() { Ok(()) } else { since(ABI::V10) });
    Ok(())
}

fn ruleset(plan: &Plan) -> Result<RulesetCreated, SandboxError> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.handle_access(NETWORK))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create);
    let mut ruleset = ruleset.map_err(failed)?;
    for (paths, access) in [(&plan.kept, KEEP), (&plan.read, READ)] {
        for path in paths {
            let Some((fd, access)) = opened(path, access)? else { continue };
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access)).map_err(failed)?;
        }
    }
    for (ports, access) in [(&plan.tcp_ports, AccessNet::ConnectTcp), (&plan.udp_ports, AccessNet::ConnectSendUdp)] {
        for port in ports {
            ruleset = ruleset.add_rule(NetPort::new(*port, access)).map_err(failed)?;
        }
    }
    Ok(ruleset)
}

/// The handle of a path, with the rights that it can have; nothing for one that is not there.
fn opened(path: &PathBuf, access: BitFlags<AccessFs>) -> Result<Option<(PathFd, BitFlags<AccessFs>)>, SandboxError> {
    let wrong = |why: String| SandboxError::Path { path: path.clone(), why };
    let is_file = match std::fs::metadata(path) {
        Ok(found) => found.is_file(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let fd = PathFd::new(path).map_err(|error| wrong(error.to_string()))?;
    Ok(Some((fd, if is_file { access & AccessFs::from_file(NEWEST) } else { access })))
}

fn failed(error: RulesetError) -> SandboxError {
    needed(Layer::Files, error)
}
