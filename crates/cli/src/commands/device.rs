//! `vouch device`: provision, boot and run one here, list, show and change those that central knows.

#[cfg(feature = "parent")]
mod boot;
#[cfg(feature = "server")]
mod change;
#[cfg(feature = "server")]
mod list;
#[cfg(feature = "parent")]
#[cfg(feature = "simulated-board")]
mod pin;
#[cfg(feature = "parent")]
mod provision;
mod run;
#[cfg(feature = "parent")]
mod self_test;
#[cfg(feature = "parent")]
mod settings;
#[cfg(feature = "server")]
mod show;
#[cfg(feature = "parent")]
mod status;

use anyhow::{Context, Result};
use clap::Subcommand;

#[cfg(feature = "server")]
pub(crate) use self::show::shown_alarm;
use crate::output::Output;

/// Provision and run a device on this machine; list, show and change those that central knows.
#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    #[cfg(feature = "parent")]
    Provision(Box<provision::Provision>),
    Run(run::Run),
    #[cfg(feature = "parent")]
    #[cfg(feature = "simulated-board")]
    Pin(pin::Pin),
    #[cfg(feature = "parent")]
    Boot(boot::Boot),
    #[cfg(feature = "parent")]
    SelfTest(self_test::SelfTest),
    #[cfg(feature = "parent")]
    Status(status::Status),
    #[cfg(feature = "parent")]
    Network(settings::Network),
    #[cfg(feature = "parent")]
    Proxy(settings::Proxy),
    #[cfg(feature = "parent")]
    Diary(settings::ShowDiary),
    #[cfg(feature = "server")]
    List(list::List),
    #[cfg(feature = "server")]
    Show(show::Show),
    #[cfg(feature = "server")]
    Rename(change::Rename),
    #[cfg(feature = "server")]
    Move(change::Move),
    #[cfg(feature = "server")]
    Unassign(change::Unassign),
    #[cfg(feature = "server")]
    Restart(change::Restart),
    #[cfg(feature = "server")]
    Revoke(change::Revoke),
    #[cfg(feature = "server")]
    AcceptOlderVault(change::AcceptOlderVault),
    #[cfg(feature = "server")]
    DismissAlarms(change::DismissAlarms),
    #[cfg(feature = "server")]
    Delete(change::Delete),
}

impl Device {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Device::Run(command) => command.run(output),
            #[cfg(feature = "parent")]
            Device::Provision(command) => command.run(output),
            #[cfg(feature = "parent")]
            #[cfg(feature = "simulated-board")]
            Device::Pin(command) => command.run(output),
            #[cfg(feature = "parent")]
            Device::Boot(command) => command.run(output),
            #[cfg(feature = "parent")]
            Device::SelfTest(command) => command.run(output),
            #[cfg(feature = "parent")]
            Device::Status(command) => command.run(output),
            #[cfg(feature = "parent")]
            Device::Network(command) => command.run(output),
            #[cfg(feature = "parent")]
            Device::Proxy(command) => command.run(output),
            #[cfg(feature = "parent")]
            Device::Diary(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::List(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::Show(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::Rename(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::Move(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::Unassign(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::Restart(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::Revoke(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::AcceptOlderVault(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::DismissAlarms(command) => command.run(output),
            #[cfg(feature = "server")]
            Device::Delete(command) => command.run(output),
        }
    }
}

/// A device does little at once: one thread drives it.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}
