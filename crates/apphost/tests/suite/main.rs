//! Apps driven in virtual time by a host that is a few lines of test code.

mod budgets;
mod codec;
mod events;
mod hello;
mod http;
mod pair;
mod save;
