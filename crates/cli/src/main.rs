//! The command `vouch`: arguments and configuration only.

fn main() {}
