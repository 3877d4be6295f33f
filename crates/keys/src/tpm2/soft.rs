//! A software TPM for trials and tests: swtpm on loopback, with its state in a folder of its own.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::hashes::random;

/// How long it may take until it listens.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The file beside its state that holds its port: keys name the TPM that they are in by its place.
const PORT_FILE: &str = "port";
/// The first of its two ports is one of these. Linux gives them to no connection by itself (ip_local_port_range), so that the TPM finds
/// its place free when it is started again.
const PORTS: Range<u16> = 20_000..32_000;
/// How many pairs of ports are tried.
const PAIRS_TRIED: u32 = 100;
/// What a shell ends with that did not find the program.
const NOT_FOUND: i32 = 127;

/// The TPM's library opens its sockets without FD_CLOEXEC. A swtpm that is started meanwhile would inherit such a connection, and
/// another TPM, which serves one connection at a time, would wait for its end for ever.
const WITHOUT_INHERITED: &str =
    r#"for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done; exec swtpm "$@""#;

/// A running swtpm, ended when it goes out of scope. It protects nothing from whoever reads its state.
#[derive(Debug)]
pub struct SoftTpm {
    state: PathBuf,
    /// Commands go there, and what controls it to the one after.
    port: u16,
    process: Option<Child>,
}

/// Why there is no software TPM.
#[derive(Debug, thiserror::Error)]
pub enum SoftTpmError {
    /// The program is missing.
    #[error("swtpm is not installed (Debian: apt install swtpm)")]
    NotInstalled,
    /// The folder of its state, or starting a program.
    #[error("{state}: the software TPM: {source}")]
    Io {
        /// The folder.
        state: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It ends at once, or does not listen.
    #[error(
        "swtpm does not start on 127.0.0.1 port {port} ({state}); another program may have this port or the next one"
    )]
    NotStarted {
        /// The folder.
        state: PathBuf,
        /// The first of its two ports.
        port: u16,
    },
}

impl SoftTpm {
    /// Starts one whose state is in this folder, where it was before if there is one already.
    ///
    /// # Errors
    /// [`SoftTpmError`].
    pub fn start(state: &Path) -> Result<SoftTpm, SoftTpmError> {
        let port_file = state.join(PORT_FILE);
        let known = fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse().ok());
        let mut tpm = SoftTpm { state: state.to_owned(), port: known.unwrap_or_default(), process: None };
        if known.is_some() {
            tpm.start_again()?;
            return Ok(tpm);
        }
        fs::create_dir_all(state).map_err(|source| tpm.io(source))?;
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            tpm.port = free_pair().map_err(|source| tpm.io(source))?;
            // Another may take the pair of ports between the look and the start.
            if tpm.try_start(deadline)? {
                fs::write(&port_file, format!("{}\n", tpm.port)).map_err(|source| tpm.io(source))?;
                return Ok(tpm);
            }
            tpm.not_after(deadline)?;
        }
    }

    /// Starts it again where it was, as a reset of the machine would.
    ///
    /// # Errors
    /// [`SoftTpmError`].
    pub fn start_again(&mut self) -> Result<(), SoftTpmError> {
        self.stop();
        let deadline = Instant::now() + STARTS_WITHIN;
        while !self.try_start(deadline)? {
            self.not_after(deadline)?;
        }
        Ok(())
    }

    /// Ends it as a cut of its power would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // One that has ended by itself is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// How it is reached, as in `tpm2:TCTI`.
    pub fn tcti(&self) -> String {
        format!("swtpm:host={},port={}", Ipv4Addr::LOCALHOST, self.port)
    }

    fn try_start(&mut self, deadline: Instant) -> Result<bool, SoftTpmError> {
        let server = |port: u16| format!("type=tcp,port={port},bindaddr={}", Ipv4Addr::LOCALHOST);
        let control = self.port.saturating_add(1);
        let started = Command::new("bash")
            .args(["-c", WITHOUT_INHERITED, "swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", self.state.display())])
            .args(["--server", &server(self.port), "--ctrl", &server(control)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = match started {
            Ok(process) => Some(process),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SoftTpmError::NotInstalled),
            Err(source) => return Err(self.io(source)),
        };
        while Instant::now() < deadline {
            match self.ended()? {
                Some(status) if status.code() == Some(NOT_FOUND) => return Err(SoftTpmError::NotInstalled),
                Some(_) => return Ok(false),
                // The second port: a connection to the first would be the one that it serves.
                None if TcpStream::connect((Ipv4Addr::LOCALHOST, control)).is_ok() => return Ok(true),
                None => thread::sleep(LOOK_EVERY),
            }
        }
        self.stop();
        Ok(false)
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, SoftTpmError> {
        let ended = self.process.as_mut().map_or(Ok(None), Child::try_wait);
        ended.map_err(|source| self.io(source))
    }

    fn not_after(&self, deadline: Instant) -> Result<(), SoftTpmError> {
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(SoftTpmError::NotStarted { state: self.state.clone(), port: self.port })
    }

    fn io(&self, source: io::Error) -> SoftTpmError {
        SoftTpmError::Io { state: self.state.clone(), source }
    }
}

impl Drop for SoftTpm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Two free ports beside each other: commands and control.
fn free_pair() -> io::Result<u16> {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop);
    let mut tried = 0;
    loop {
        let port = PORTS.start + u16::from_be_bytes(random()) % (PORTS.end - PORTS.start);
        match is_free(port).and_then(|()| is_free(port + 1)) {
            Ok(()) => return Ok(port),
            Err(error) if tried == PAIRS_TRIED => return Err(error),
            Err(_) => tried += 1,
        }
    }
}
