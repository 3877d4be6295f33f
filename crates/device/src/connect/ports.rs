//! The ports of the rule, in the rule's order, and where each is really found.

use std::fmt;
use std::str::FromStr;

use protocol::facts::PORTS;
use serde::{Deserialize, Serialize};

/// A port of the rule (31314, 993 or 443) and the port that is really dialled for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortChoice {
    /// The port as the rule names it.
    pub rule_port: u16,
    /// The port dialled; the same outside tests and demonstrations.
    pub port: u16,
}

/// Which port stands for each port of the rule. The order is the rule's and cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortMap {
    dialled: [u16; PORTS.len()],
}

/// Why a port map was not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PortMapError {
    /// An entry is not `rule port=port`.
    #[error("`{0}` is no port entry; write for example 31314=10314,993=10993,443=10443")]
    Entry(String),
    /// A port that the rule does not have.
    #[error("{0} is no port of the rule (31314, 993, 443)")]
    Unknown(u16),
    /// A port of the rule named twice.
    #[error("port {0} is named twice")]
    Twice(u16),
}

impl PortMap {
    /// The choices in the order in which they are tried.
    pub fn in_order(&self) -> impl Iterator<Item = PortChoice> + '_ {
        PORTS.iter().zip(self.dialled).map(|(&rule_port, port)| PortChoice { rule_port, port })
    }
}

impl Default for PortMap {
    fn default() -> Self {
        PortMap { dialled: PORTS }
    }
}

impl FromStr for PortMap {
    type Err = PortMapError;

    /// Reads `31314=10314,993=10993,443=10443`; a port left out stands for itself. The order of the text says nothing.
    fn from_str(text: &str) -> Result<Self, PortMapError> {
        let mut map = PortMap::default();
        let mut named = [false; PORTS.len()];
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let bad = || PortMapError::Entry(entry.to_owned());
            let (rule, port) = entry.split_once('=').ok_or_else(bad)?;
            let rule: u16 = rule.trim().parse().map_err(|_| bad())?;
            let port: u16 = port.trim().parse().map_err(|_| bad())?;
            if port == 0 {
                return Err(bad());
            }
            let index = PORTS.iter().position(|&known| known == rule).ok_or(PortMapError::Unknown(rule))?;
            if std::mem::replace(&mut named[index], true) {
                return Err(PortMapError::Twice(rule));
            }
            map.dialled[index] = port;
        }
        Ok(map)
    }
}

impl fmt::Display for PortMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, choice) in self.in_order().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", choice.rule_port, choice.port)?;
        }
        Ok(())
    }
}

impl TryFrom<String> for PortMap {
    type Error = PortMapError;

    fn try_from(text: String) -> Result<Self, PortMapError> {
        text.parse()
    }
}

impl From<PortMap> for String {
    fn from(map: PortMap) -> String {
        map.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_rules_whatever_the_text_says() {
        let map: PortMap = "443=4,993=3, 31314=2".parse().unwrap();
        let order: Vec<_> = map.in_order().map(|choice| (choice.rule_port, choice.port)).collect();
        assert_eq!(order, [(31314, 2), (993, 3), (443, 4)]);
        assert_eq!(map.to_string().parse::<PortMap>().unwrap(), map);
    }

    #[test]
    fn a_port_left_out_stands_for_itself() {
        let map: PortMap = "443=10443".parse().unwrap();
        let order: Vec<_> = map.in_order().map(|choice| choice.port).collect();
        assert_eq!(order, [31314, 993, 10443]);
    }

    #[test]
    fn what_the_rule_does_not_have_is_refused() {
        assert_eq!("80=80".parse::<PortMap>(), Err(PortMapError::Unknown(80)));
        assert_eq!("443=1,443=2".parse::<PortMap>(), Err(PortMapError::Twice(443)));
        for text in ["443", "443=0", "443=65536", "a=b", "443=1=2"] {
            assert!(matches!(text.parse::<PortMap>(), Err(PortMapError::Entry(_))), "{text}");
        }
    }
}
