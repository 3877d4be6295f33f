//! What a child may ask its parent for, and the answers. Everything else is refused.

use serde::{Deserialize, Serialize};

use crate::network::StaticNetwork;

/// A question. Which interface it is about is the parent's alone to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Put this network in force, in place of the one before.
    Apply(StaticNetwork),
    /// Take out the network that was put in force.
    Remove,
}

/// The parent's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It is not done, and why.
    Failed(String),
}
