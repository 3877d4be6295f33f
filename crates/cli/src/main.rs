//! The command `vouch`: reads arguments and the environment, calls the crates below, prints what they say.

#[cfg(feature = "server")]
mod central;
mod commands;
#[cfg(feature = "server")]
mod moment;
#[cfg(feature = "server")]
mod names;
mod output;
mod printer;
#[cfg(feature = "server")]
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Output;

/// Connected products whose security can be checked by those who must let them in.
///
/// A server (`vouch init`, `vouch serve`) and devices (`vouch device ...`) that only ever connect outwards, prove a key of their own,
/// fetch their application over that channel and talk to their agent. `vouch demo` shows all of it on this machine.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = "Start here: vouch demo")]
struct Vouch {
    /// Print JSON for scripts instead of text for people.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "server")]
    Demo(commands::demo::Demo),
    #[cfg(feature = "server")]
    Init(commands::init::Init),
    #[cfg(feature = "server")]
    RotateRoots(commands::rotate_roots::RotateRoots),
    #[cfg(feature = "server")]
    Serve(commands::serve::Serve),
    #[cfg(feature = "server")]
    Login(commands::login::Login),
    #[cfg(feature = "server")]
    Status(commands::status::Status),
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Product(commands::product::Product),
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Group(commands::group::Group),
    #[cfg(feature = "server")]
    EnrolmentToken(commands::enrolment_token::EnrolmentToken),
    #[command(subcommand)]
    Device(commands::device::Device),
    #[cfg(feature = "server")]
    Deploy(commands::deploy::Deploy),
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Deployment(commands::deployment::Deployment),
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Library(commands::library::Library),
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Ceremony(commands::ceremony::Ceremony),
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Release(commands::release::Release),
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Rollout(commands::rollout::Rollout),
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Fleet(commands::fleet::Fleet),
    #[cfg(feature = "server")]
    Logs(commands::logs::Logs),
    #[cfg(feature = "server")]
    Keys(commands::keys::Keys),
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Squirrel(commands::squirrel::Squirrel),
}

fn main() -> ExitCode {
    let vouch = Vouch::parse();
    let output = Output::new(vouch.json);
    let result = match vouch.command {
        #[cfg(feature = "server")]
        Command::Demo(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Init(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::RotateRoots(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Serve(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Login(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Status(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Product(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Group(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::EnrolmentToken(command) => command.run(&output),
        Command::Device(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Deploy(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Deployment(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Library(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Ceremony(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Release(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Rollout(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Fleet(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Logs(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Keys(command) => command.run(&output),
        #[cfg(feature = "server")]
        Command::Squirrel(command) => command.run(&output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_consistent() {
        Vouch::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_explains_itself() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no description");
            for argument in
                command.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
            {
                assert!(argument.get_help().is_some(), "{path} {} has no description", argument.get_id());
            }
            for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
                check(child, &format!("{path} {}", child.get_name()));
            }
        }
        check(&Vouch::command(), "vouch");
    }
}
