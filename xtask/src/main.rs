//! `cargo xtask`: what takes more than cargo. So far the power cuts in a virtual machine.

mod powercut;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What takes more than cargo")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Cut the power of a device at many points of its writes, and look at what is left
    ///
    /// A virtual machine writes as a device does while every write and flush of its disk is recorded. Then a second one
    /// replays the record up to one point after the other: all before the last flush is kept, of the rest half is lost at
    /// random and some torn. It mounts what is left, which recovers the file system, and opens it with the device's own
    /// code. Careless writers must fail in the same run, so that a success means something.
    Powercut(powercut::Options),
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().task {
        Task::Powercut(options) => powercut::run(&options),
    }
}
