//! The first and only process of the virtual machine: `record WRITER...`, or `check SEED WRITER=POINTS...`.
//!
//! On the host it makes the OS images that the machine installs: `prepare FOLDER`.
//!
//! - `machine`: the kernel's modules, the mounts, the line to the host, the end.
//! - `disk`: the disk of a device: a file system, and behind it a place for what was acknowledged.
//! - `writer`: sound and careless ways to write; `state`: what is written and how it is judged; `os`: OS images.
//! - `log`: every write and flush that the host recorded; `crash`: a disk as a power cut may have left it.
//! - `check`: one power cut after the other.
#![allow(clippy::panic, reason = "the end of this process is the end of the machine")]

mod check;
mod crash;
mod disk;
mod log;
mod machine;
mod os;
mod state;
mod writer;

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::check::check;
use crate::disk::Disk;
use crate::machine::Machine;
use crate::writer::{Writer, record};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder] = &arguments[..]
        && word == "prepare"
    {
        return os::make(Path::new(folder), state::IMAGES);
    }
    let mut machine = match Machine::start() {
        Ok(machine) => machine,
        Err(error) => panic!("the machine does not start: {error:#}"),
    };
    if let Err(error) = run(&mut machine, &arguments) {
        machine.report(&json!({ "failed": format!("{error:#}") }));
    }
    machine.power_off();
}

fn run(machine: &mut Machine, arguments: &[String]) -> Result<()> {
    let mut words = arguments.iter().map(String::as_str);
    match words.next() {
        Some("record") => {
            for (at, name) in words.enumerate() {
                record(Disk::number(at), name.parse()?).with_context(|| format!("writer {name}"))?;
                machine.report(&json!({ "recorded": name }));
            }
        }
        Some("check") => {
            let seed = words.next().context("which seed?")?.parse()?;
            // The disks in order: one to try on, the one before any write, then a log for each writer.
            let (scratch, mut base) = (Disk::number(0), Vec::new());
            Disk::number(1).read()?.read_to_end(&mut base)?;
            for (at, word) in words.enumerate() {
                let (name, points) = word.split_once('=').context("which writer, and how many points?")?;
                let _known: Writer = name.parse()?;
                let log = log::parse(Disk::number(at + 2).read()?).with_context(|| format!("the log of {name}"))?;
                check(machine, &scratch, &base, &log, name, points.parse()?, seed)?;
            }
        }
        other => bail!("{other:?}? Start it with `record` or `check`"),
    }
    machine.report(&json!({ "done": true }));
    Ok(())
}
