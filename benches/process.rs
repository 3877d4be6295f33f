//! A server in a process of its own, on a CPU of its own, that says on request how much of it it has used.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use server::gateway::{GatewayLimits, Listen};
use server::{KEEPALIVE_S, LIMITS, Server, ServerConfig, Troubles};
use tokio::signal::unix::{SignalKind, signal};

use crate::bare;

/// The CPU of every server.
pub const SERVER_CPU: usize = 0;
/// The CPU of the devices.
pub const LOAD_CPU: usize = 1;
/// The word before the kind and the folder, when the program is to be a server.
pub const SERVE: &str = "serve";

/// A server is idle when it has used no more than this between two looks, [`LOOK`] apart.
const IDLE: Duration = Duration::from_micros(200);
const LOOK: Duration = Duration::from_millis(50);

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The yardstick.
    Bare,
    /// Our server, whole: gateway, store, bus, agents.
    Gateway,
}

/// A server process; it ends with this.
pub struct ServerProcess {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Where devices connect.
    pub addr: SocketAddr,
}

impl ServerProcess {
    /// Starts this same program as a server over the folder.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(kind: Kind, dir: &Path) -> Result<Self> {
        Self::start_at(kind, dir, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// The same at an address of one's choice, for devices that shall find it again.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_at(kind: Kind, dir: &Path, addr: SocketAddr) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([SERVE, kind.name()])
            .arg(dir)
            .arg(addr.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = child.stdin.take().context("a pipe")?;
        let mut answers = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let addr = line.trim().parse().with_context(|| format!("the {} server did not start", kind.name()))?;
        Ok(Self { child, ask, answers, addr })
    }

    /// Tells the server to stop (SIGTERM) and waits until it has; how long that took.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub fn stop(mut self) -> Result<Duration> {
        let start = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let ended = self.child.wait()?;
        anyhow::ensure!(ended.success(), "the server did not stop in order: {ended}");
        Ok(start.elapsed())
    }

    /// CPU time used so far by all threads of the process, user and system.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu(&mut self) -> Result<Duration> {
        self.ask.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(Duration::from_nanos(line.trim().parse()?))
    }

    /// Anonymous memory of the process, bytes: its heap and stacks, without files and without the kernel's share.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn anonymous(&self) -> Result<u64> {
        anonymous(&self.child)
    }

    /// [`Self::cpu`], once it has come to rest.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu_at_rest(&mut self) -> Result<Duration> {
        let mut before = self.cpu()?;
        loop {
            std::thread::sleep(LOOK);
            let after = self.cpu()?;
            if after - before <= IDLE {
                return Ok(after);
            }
            before = after;
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Only this child, and only if it still runs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Kind {
    /// The word on the command line and in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Gateway => "gateway",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Bare, Self::Gateway].into_iter().find(|kind| kind.name() == name)
    }
}

/// Anonymous memory of a process, bytes: its heap and stacks, without files and without the kernel's share.
pub(crate) fn anonymous(process: &Child) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// Keeps this process on one CPU, if the machine has it.
///
/// # Errors
/// When the kernel does not allow it.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    // The CPUs that there are, and not those that this process may use so far: a child of the load begins on the load's CPU.
    match sched_setaffinity(None, &set) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Is a server until its standard input ends.
///
/// # Errors
/// When it cannot start.
pub fn serve(kind: Kind, dir: PathBuf, addr: SocketAddr) -> Result<()> {
    pin(SERVER_CPU)?;
    // One worker on one CPU, for both kinds.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).event_interval(server::TURNS_BEFORE_IO).enable_all().build()?;
    let addr = match kind {
        Kind::Bare => runtime.block_on(bare::serve(&dir))?,
        Kind::Gateway => {
            let config = ServerConfig {
                dir,
                listen: vec![Listen { rule_port: 31_314, addr }],
                http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                public_url: None,
                keepalive_s: KEEPALIVE_S,
                danger_agents_private_addresses: false,
                gateway: GatewayLimits::default().fitted(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)),
                limits: LIMITS,
                troubles: Troubles::new(&LIMITS),
            };
            let running = runtime.block_on(Server::start(config))?;
            let addr = running.listens().first().context("a listener")?.addr;
            runtime.spawn(async move {
                if let Ok(mut terminated) = signal(SignalKind::terminate()) {
                    terminated.recv().await;
                }
                running.stop().await;
                std::process::exit(0);
            });
            addr
        }
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{addr}")?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let used = clock_gettime(ClockId::ProcessCPUTime);
        writeln!(out, "{}", i128::from(used.tv_sec) * 1_000_000_000 + i128::from(used.tv_nsec))?;
    }
    Ok(())
}
