//! The sandbox of the device process: what it gives up for good before it touches the network, and what the kernel then refuses it.
//!
//! [`enter`] is called once, while the process has one thread: Landlock holds for the thread that asks for it and for
//! those that it starts. Nothing undoes it, an exec included, which is refused anyway.
//!
//! # Layout
//! - [`protections`]: the layers, and which of them are in force.
//! - `calls`: the system calls that are left, by seccomp.
//! - `reach`: the files, ports and processes that can be reached, by Landlock.
//! - `memory`: whether what the process holds can get into swap.
//! - `kernel`: the calls for which there is no safe wrapper; the one file with `unsafe`.

mod calls;
pub(crate) mod kernel;
pub(crate) mod memory;
pub mod protections;
mod reach;

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_no_new_privs};

use crate::config::DeviceConfig;
pub use protections::{Layer, Protections, State};

/// What a device process still needs once it is locked down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Folders whose files are read, made and replaced.
    pub kept: Vec<PathBuf>,
    /// Folders and files that are read.
    pub read: Vec<PathBuf>,
    /// The TCP ports that are dialled.
    pub tcp_ports: Vec<u16>,
    /// The UDP ports of name servers; where there is none, no UDP socket can be made.
    pub udp_ports: Vec<u16>,
}

impl Plan {
    /// The ports that a device with this configuration dials, and no files.
    pub fn for_network(config: &DeviceConfig) -> Plan {
        let tcp_ports = match &config.proxy {
            Some(proxy) => vec![proxy.port],
            None => config.ports.in_order().map(|choice| choice.port).collect(),
        };
        let (mut read, mut udp_ports) = (Vec::new(), Vec::new());
        if config.looks_up_names() {
            // A static network may name servers on the usual port in place of the configured ones.
            udp_ports.push(crate::network::DNS_PORT);
            udp_ports.extend(config.dns.iter().map(std::net::SocketAddr::port));
            udp_ports.sort_unstable();
            udp_ports.dedup();
            if config.dns.is_empty() {
                read.push(Path::new(crate::connect::dns::SYSTEM_SERVERS).to_owned());
            }
        }
        Plan { kept: Vec::new(), read, tcp_ports, udp_ports }
    }
}

/// Why a process is not locked down. It must not touch the network then.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The process has other threads already, which would stay free.
    #[error("{0} threads run already; this is a fault of the runtime, please report it")]
    Threads(usize),
    /// A layer without which a device could listen or be opened is not there.
    #[error(
        "this kernel does not give {layer}: {why}; run the device on a kernel that does (Linux 3.17 or newer with \
         CONFIG_SECCOMP_FILTER), or say --danger-no-sandbox"
    )]
    Layer {
        /// Which layer.
        layer: Layer,
        /// What the kernel said.
        why: String,
    },
    /// A file or folder of the plan cannot be opened.
    #[error("{path}: {why}")]
    Path {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        why: String,
    },
}

/// Locks this process down for good.
///
/// # Errors
/// [`SandboxError`]; the process may then be half locked down and should end. A layer that claims C01 and C08 do not rest
/// on and that the kernel lacks is no error: it is reported as lacking.
pub fn enter(plan: &Plan) -> Result<Protections, SandboxError> {
    let threads = threads().map_err(|error| needed(Layer::SystemCalls, error))?;
    if threads != 1 {
        return Err(SandboxError::Threads(threads));
    }
    let mut protections = Protections::default();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|error| needed(Layer::CoreDumps, error))?;
    protections.in_force(Layer::CoreDumps);
    set_no_new_privs(true).map_err(|error| needed(Layer::NewPrivileges, error))?;
    protections.in_force(Layer::NewPrivileges);
    // The kernel counts locked memory against a limit that only the privileged may raise.
    protections.note(Layer::Swap, memory::lock());
    drop_capabilities().map_err(|error| needed(Layer::Privileges, error))?;
    protections.in_force(Layer::Privileges);
    // After the change of credentials, which may have made the process dumpable again.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| needed(Layer::Dumpable, error))?;
    protections.in_force(Layer::Dumpable);
    reach::confine(plan, &mut protections)?;
    protections.note(Layer::ExecutableMemory, kernel::refuse_executable_gain().map_err(|error| error.to_string()));
    calls::allow_only_needed(plan).map_err(|error| needed(Layer::SystemCalls, error))?;
    protections.in_force(Layer::SystemCalls);
    Ok(protections)
}

fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

fn drop_capabilities() -> io::Result<()> {
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

fn needed(layer: Layer, error: impl ToString) -> SandboxError {
    SandboxError::Layer { layer, why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProxyConfig;
    use crate::store::tests::config;

    #[test]
    fn only_what_the_configuration_dials_can_be_dialled() {
        let mut config = config();
        config.ports = "31314=2001".parse().unwrap();
        config.dns = vec!["192.0.2.53:5353".parse().unwrap()];
        let plan = Plan::for_network(&config);
        assert_eq!((plan.tcp_ports, plan.udp_ports), (vec![2001, 993, 443], vec![53, 5353]));
        assert!(plan.read.is_empty(), "the system's name servers are not asked");

        config.proxy = Some(ProxyConfig { host: "proxy.example".to_owned(), port: 3128, credentials: None });
        assert_eq!(Plan::for_network(&config).tcp_ports, [3128]);
        config.dns.clear();
        assert_eq!(Plan::for_network(&config).read, [Path::new("/etc/resolv.conf")]);
    }

    #[test]
    fn a_device_that_looks_no_name_up_has_no_udp() {
        let mut config = config();
        config.address = Some("192.0.2.1".parse().unwrap());
        let plan = Plan::for_network(&config);
        assert!(plan.udp_ports.is_empty() && plan.read.is_empty());
        config.proxy = Some(ProxyConfig { host: "proxy.example".to_owned(), port: 3128, credentials: None });
        assert_eq!(Plan::for_network(&config).udp_ports, [53], "the proxy's own name is looked up");
        config.proxy = Some(ProxyConfig { host: "192.0.2.9".to_owned(), port: 3128, credentials: None });
        assert!(Plan::for_network(&config).udp_ports.is_empty());
    }
}
