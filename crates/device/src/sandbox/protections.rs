//! The layers of the sandbox, and which of them this kernel gives.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One layer: what it keeps the device process from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Listening, accepting, tracing, running programs, io_uring and all else that is not on the list (seccomp).
    SystemCalls,
    /// Being traced or read by other processes of the same user.
    Dumpable,
    /// Leaving a core dump.
    CoreDumps,
    /// Getting privileges by running a program.
    NewPrivileges,
    /// Holding privileges.
    Privileges,
    /// Files and folders that it does not need (Landlock).
    Files,
    /// TCP ports that it does not dial (Landlock ABI 4).
    TcpPorts,
    /// UDP ports that are no name server's (Landlock ABI 10).
    UdpPorts,
    /// Signals to processes outside, and their abstract sockets (Landlock ABI 6).
    Signals,
    /// Making memory executable that was writable (memory-deny-write-execute).
    ExecutableMemory,
    /// Having its memory written to swap.
    Swap,
}

impl Layer {
    /// Every layer, in the order in which they are shown.
    pub const ALL: [Layer; 11] = [
        Layer::SystemCalls,
        Layer::Dumpable,
        Layer::CoreDumps,
        Layer::NewPrivileges,
        Layer::Privileges,
        Layer::Files,
        Layer::TcpPorts,
        Layer::UdpPorts,
        Layer::Signals,
        Layer::ExecutableMemory,
        Layer::Swap,
    ];

    /// What holds where the layer is in force.
    pub fn promise(self) -> &'static str {
        match self {
            Layer::SystemCalls => "it can neither listen, trace, nor run a program: only the system calls on its list",
            Layer::Dumpable => "no process of the same user can trace it or read its memory",
            Layer::CoreDumps => "it leaves no core dump",
            Layer::NewPrivileges => "it can gain no privilege",
            Layer::Privileges => "it holds no privilege",
            Layer::Files => "it reaches its own vault and no other file",
            Layer::TcpPorts => "it dials its server's or its proxy's ports and no others",
            Layer::UdpPorts => "it sends to the ports of name servers and no others",
            Layer::Signals => "it can signal no process outside",
            Layer::ExecutableMemory => "memory that was writable never becomes executable",
            Layer::Swap => "its memory stays out of swap",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::SystemCalls => "a list of permitted system calls",
            Layer::Dumpable => "memory closed to other processes",
            Layer::CoreDumps => "no core dumps",
            Layer::NewPrivileges => "no new privileges",
            Layer::Privileges => "no privileges",
            Layer::Files => "closed files",
            Layer::TcpPorts => "closed TCP ports",
            Layer::UdpPorts => "closed UDP ports",
            Layer::Signals => "no signals",
            Layer::ExecutableMemory => "no executable memory that was writable",
            Layer::Swap => "memory locked",
        })
    }
}

/// Whether a layer holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds.
    InForce,
    /// It does not, and why.
    Lacking(String),
}

/// What holds in this process, layer by layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Protections(std::collections::BTreeMap<Layer, State>);

impl Protections {
    /// A layer holds from now on.
    pub(super) fn in_force(&mut self, layer: Layer) {
        self.0.insert(layer, State::InForce);
    }

    /// A layer holds or lacks, and why.
    pub(super) fn note(&mut self, layer: Layer, result: Result<(), String>) {
        self.0.insert(layer, result.map_or_else(State::Lacking, |()| State::InForce));
    }

    /// Whether a layer holds.
    pub fn holds(&self, layer: Layer) -> bool {
        self.0.get(&layer) == Some(&State::InForce)
    }

    /// The layers that do not hold, and why.
    pub fn lacking(&self) -> impl Iterator<Item = (Layer, &str)> {
        self.0.iter().filter_map(|(layer, state)| match state {
            State::InForce => None,
            State::Lacking(why) => Some((*layer, why.as_str())),
        })
    }
}

impl fmt::Display for Protections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = Layer::ALL.iter().filter(|layer| self.holds(**layer)).count();
        write!(f, "{held} of {} protections in force", Layer::ALL.len())?;
        for (layer, why) in self.lacking() {
            write!(f, "; lacking {layer}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_is_said_with_its_reason() {
        let mut protections = Protections::default();
        protections.in_force(Layer::Files);
        protections.note(Layer::Swap, Err("the limit is 8 MiB".to_owned()));
        assert!(protections.holds(Layer::Files) && !protections.holds(Layer::Swap));
        assert!(!protections.holds(Layer::Signals), "what nobody looked at does not hold");
        assert_eq!(protections.to_string(), "1 of 11 protections in force; lacking memory locked: the limit is 8 MiB");
        let json = serde_json::to_string(&protections).unwrap();
        assert_eq!(json, r#"{"files":"in_force","swap":{"lacking":"the limit is 8 MiB"}}"#);
    }
}
