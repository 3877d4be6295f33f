//! The small parent that stays: it alone holds the keys and may change the network; one inherited socketpair joins its child.
//!
//! Both ends speak packets (SOCK_SEQPACKET), one question and one answer at a time. The child gets its end as standard
//! input, so that no number of a file descriptor has to be agreed on, and keeps nothing else of its parent.

#[cfg(feature = "parent")]
mod claims;
mod link;
mod message;
#[cfg(feature = "parent")]
mod privileges;
#[cfg(feature = "parent")]
mod rtnetlink;
#[cfg(feature = "parent")]
mod services;
#[cfg(feature = "parent")]
mod supervisor;

pub(crate) use link::Beginning;
pub use link::{ParentError, ParentLink};
#[cfg(feature = "parent")]
pub use privileges::PrivilegeError;
#[cfg(feature = "parent")]
pub use supervisor::{Boot, BootError, BootEvent, boot, run_once};

#[cfg(test)]
pub(crate) use link::tests;
