//! The event loop of one app: callbacks one at a time, in order, each within its budget.

use std::collections::VecDeque;
use std::sync::Arc;

use keys::time::Now;

use crate::input::{Input, InputRefused};
use crate::limits::Limits;
use crate::output::Output;
use crate::side::{Side, WakeReason};
