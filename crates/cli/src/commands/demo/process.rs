//! A child process of the demonstration, watched by the JSON lines it prints.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How many lines may wait unread before the child's output is held back.
const LINES_WAITING_MAX: usize = 4096;
/// How long a child may take to stop when asked.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// How often a waiting parent looks whether it shall stop.
const STOP_POLL: Duration = Duration::from_millis(100);

/// A wait that Ctrl-C ended.
#[derive(Debug)]
pub(super) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// A running child. Its standard output goes line by line to a log file and to whoever waits; it is stopped when it goes out of scope.
pub(super) struct Process {
    name: String,
    child: Child,
    lines: Receiver<Value>,
    events: Vec<Value>,
    interrupted: Arc<AtomicBool>,
}

impl Process {
    /// Starts `vouch --json` with `arguments`; output is kept in `dir/NAME.jsonl`, errors in `dir/NAME.err`.
    pub(super) fn start<A: AsRef<OsStr>>(
        dir: &Path,
        name: &str,
        arguments: &[A],
        interrupted: Arc<AtomicBool>,
    ) -> Result<Process> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let errors = File::create(dir.join(format!("{name}.err"))).context("cannot write the log files")?;
        let mut log = File::create(dir.join(format!("{name}.jsonl"))).context("cannot write the log files")?;
        let mut child = Command::new(program)
            .arg("--json")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let out = child.stdout.take().ok_or_else(|| anyhow!("{name} has no output"))?;
        let (to, lines) = sync_channel(LINES_WAITING_MAX);
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                if let Ok(value) = serde_json::from_str(&line)
                    && to.send(value).is_err()
                {
                    return;
                }
            }
        });
        Ok(Process { name: name.to_owned(), child, lines, events: Vec::new(), interrupted })
    }

    /// Waits until an event fits, at most until `deadline`, and returns it; those before it are kept too.
    pub(super) fn wait(&mut self, what: &str, deadline: Instant, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        if let Some(event) = self.events.iter().find(|event| fits(event)) {
            return Ok(event.clone());
        }
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.next(patience)? {
                Some(event) if fits(&event) => return Ok(event),
                Some(_) => {}
                None => bail!("{}: no {what} in time", self.name),
            }
        }
    }

    /// The next event, or nothing when none came within `patience`.
    pub(super) fn next(&mut self, patience: Duration) -> Result<Option<Value>> {
        let deadline = Instant::now() + patience;
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Interrupted.into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(STOP_POLL)) {
                Ok(event) => {
                    self.events.push(event.clone());
                    return Ok(Some(event));
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
                // Ctrl-C reaches the children too, and may end them before it is noticed here.
                Err(RecvTimeoutError::Disconnected) if self.interrupted.load(Ordering::Relaxed) => {
                    return Err(Interrupted.into());
                }
                Err(RecvTimeoutError::Disconnected) => bail!("{} has ended: see {}.err", self.name, self.name),
            }
        }
    }

    /// As `wait`, for events after the first `seen`.
    pub(super) fn wait_after(
        &mut self,
        seen: usize,
        what: &str,
        deadline: Instant,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let before: Vec<Value> = self.events.drain(..seen.min(self.events.len())).collect();
        let result = self.wait(what, deadline, fits);
        self.events.splice(..0, before);
        result
    }

    /// Takes in what has been printed already.
    pub(super) fn settle(&mut self) {
        self.events.extend(self.lines.try_iter());
    }

    /// Everything seen so far.
    pub(super) fn events(&self) -> &[Value] {
        &self.events
    }

    /// Forgets what was seen, for those who watch for long.
    pub(super) fn forget(&mut self) {
        self.events.clear();
    }

    fn stop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                break;
            }
            // The reader's channel closes when the child's output does: that is the event to wait for.
            let _ = self.lines.recv_timeout(STOP_POLL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
