//! A virtual machine: QEMU without hardware help, so that it runs wherever QEMU does, and without any right of its user.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::report::Line;

pub(super) const QEMU: &str = "qemu-system-x86_64";
const MEMORY: &str = "512M";
/// How long a machine may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Lines that wait to be heard before the machine is held back.
const LINES_WAITING_MAX: usize = 1024;

/// A disk of the machine, in the order of its letters.
pub(super) struct Drive {
    pub(super) file: PathBuf,
    pub(super) access: Access,
}

pub(super) enum Access {
    ReadOnly,
    /// Nothing on it has to last.
    Scratch,
    /// Each of its writes and flushes goes into this log.
    Logged(PathBuf),
}

/// A running machine, ended when it goes out of scope.
pub(super) struct Machine {
    child: Child,
    lines: Receiver<String>,
    console: PathBuf,
}

impl Machine {
    /// Starts a machine whose first program is given these words.
    pub(super) fn start(
        kernel: &Path,
        initramfs: &Path,
        words: &str,
        drives: &[Drive],
        console: PathBuf,
    ) -> Result<Machine> {
        let mut command = Command::new(QEMU);
        command.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", MEMORY]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
        command.args(["-append", &format!("console=ttyS0 panic=-1 quiet -- {words}")]);
        // The first line is the kernel's, the second the program's.
        command.args(["-serial", &format!("file:{}", option(&console)?), "-serial", "stdio"]);
        for (at, drive) in drives.iter().enumerate() {
            for argument in drive.arguments(at)? {
                command.arg(argument);
            }
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child = child.with_context(|| format!("{QEMU} cannot be started"))?;
        let output = child.stdout.take().context("the machine has no output")?;
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        thread::spawn(move || {
            let read = BufReader::new(output).lines().map_while(Result::ok);
            let _ = read.map(|line| sender.send(line)).find(Result::is_err);
        });
        Ok(Machine { child, lines, console })
    }

    /// Hands over what the machine says until it is done.
    pub(super) fn listen(&mut self, mut hear: impl FnMut(Line) -> Result<()>) -> Result<()> {
        loop {
            let line = match self.lines.recv_timeout(SILENCE_MAX) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => bail!("the machine has said nothing for a while; {}", self.console()),
                Err(RecvTimeoutError::Disconnected) => bail!("the machine ended too early; {}", self.console()),
            };
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str(&line).with_context(|| format!("the machine said {line:?}"))? {
                Line::Failed { failed } => bail!("in the machine: {failed}; {}", self.console()),
                Line::Done { .. } => break,
                line => hear(line)?,
            }
        }
        // It ends by itself, having written its logs.
        match self.lines.recv_timeout(SILENCE_MAX) {
            Err(RecvTimeoutError::Disconnected) => {}
            _ => bail!("the machine does not switch itself off; {}", self.console()),
        }
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { bail!("{QEMU}: {status}; {}", self.console()) }
    }

    fn console(&self) -> String {
        format!("its console is in {}", self.console.display())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drive {
    /// The options that describe it; a discard or a block of zeroes would be no plain write in the log.
    fn arguments(&self, at: usize) -> Result<Vec<String>> {
        let file = option(&self.file)?;
        let node = |options: &str| format!("driver=file,node-name=file{at},filename={file},{options}");
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        let disk = match &self.access {
            Access::ReadOnly => {
                add("-blockdev", node("read-only=on"));
                format!("file{at}")
            }
            Access::Scratch => {
                add("-blockdev", node("cache.no-flush=on"));
                format!("file{at}")
            }
            Access::Logged(log) => {
                add("-blockdev", node("cache.no-flush=on"));
                let log = option(log)?;
                add("-blockdev", format!("driver=file,node-name=log{at},filename={log},cache.no-flush=on"));
                let logged = format!("driver=blklogwrites,node-name=disk{at},file=file{at},log=log{at}");
                add("-blockdev", format!("{logged},log-sector-size=512"));
                format!("disk{at}")
            }
        };
        add("-device", format!("virtio-blk-pci,drive={disk},discard=off,write-zeroes=off"));
        Ok(arguments)
    }
}

/// A path within an option, where commas are doubled.
fn option(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?.replace(',', ",,"))
}
