//! The broker beside which messages are measured: Debian's mosquitto with mutual TLS, started on loopback for the run.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use keys::pki::ServingPki;
use keys::private_file;
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::signer;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::farm::pki_folder;
use crate::process::{SERVER_CPU, anonymous};

/// Where Debian puts it, which is not in everybody's path.
const PROGRAM: &str = "/usr/sbin/mosquitto";
/// Time for it to listen.
const START: Duration = Duration::from_secs(10);

/// A running broker; it ends with this.
pub struct Broker {
    child: Child,
    /// Where clients connect.
    pub addr: SocketAddr,
}

impl Broker {
    /// Starts it with the gateway's certificate of the modern profile; it takes the devices of the server in `dir`. Queues and numbers of
    /// messages under way are not bounded, nothing is written to the disk.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(dir: &Path) -> Result<Self> {
        let files = dir.join("mosquitto");
        std::fs::create_dir_all(&files)?;
        // Free a moment ago; nobody else takes ports here meanwhile.
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = config(dir, &files, addr)?;
        let child = Command::new(PROGRAM)
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{PROGRAM} does not start: run scripts/setup bench"))?;
        let broker = Self { child, addr };
        if std::thread::available_parallelism()?.get() > 1 {
            let mut set = CpuSet::new();
            set.set(SERVER_CPU);
            sched_setaffinity(Pid::from_child(&broker.child).into(), &set)?;
        }
        let start = Instant::now();
        while TcpStream::connect(addr).is_err() {
            ensure!(start.elapsed() < START, "mosquitto does not listen on {addr}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    /// Its anonymous memory, bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn anonymous(&self) -> Result<u64> {
        anonymous(&self.child)
    }

    /// CPU time used so far, user and system. The kernel counts it in hundredths of a second.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold anything; fields 14 and 15 are counted from the first after it, which is field 3.
        let fields = stat.rsplit_once(')').context("a stat line")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(|field| Ok(field.parse::<u64>()?));
        Ok(Duration::from_millis(ticks.sum::<Result<u64>>()? * 10))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Only this child, and only if it still runs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(dir: &Path, files: &Path, addr: SocketAddr) -> Result<PathBuf> {
    let pki = ServingPki::load(&pki_folder(dir))?;
    let purpose = KeyPurpose::gateway_tls(Profile::Modern);
    let key = private_file::read(&pki_folder(dir).join(signer::file_name(purpose)))?;
    let chain: Vec<_> = pki.gateway(Profile::Modern).chain().iter().map(|der| ("CERTIFICATE", der.as_ref())).collect();
    let root = pki.device_authority(Profile::Modern).certificate();
    let written = [
        ("ca.pem", pem(&[("CERTIFICATE", root.as_ref())])),
        ("chain.pem", pem(&chain)),
        ("key.pem", pem(&[("PRIVATE KEY", key.expose())])),
    ];
    for (name, text) in &written {
        std::fs::File::create(files.join(name))?.write_all(text.as_bytes())?;
    }
    let at = |name| files.join(name).display().to_string();
    let mut lines = vec![
        format!("listener {} {}", addr.port(), addr.ip()),
        format!("cafile {}", at("ca.pem")),
        format!("certfile {}", at("chain.pem")),
        format!("keyfile {}", at("key.pem")),
    ];
    let settings = [
        "require_certificate true",
        "tls_version tlsv1.3",
        "allow_anonymous true",
        "max_inflight_messages 0",
        "max_queued_messages 0",
        "set_tcp_nodelay true",
        "persistence false",
        "log_type none",
    ];
    lines.extend(settings.map(str::to_owned));
    // Started as root it changes to a user who could not read the files.
    lines.push("user root".to_owned());
    let config = files.join("mosquitto.conf");
    std::fs::write(&config, lines.join("\n"))?;
    Ok(config)
}

fn pem(blocks: &[(&str, &[u8])]) -> String {
    let mut text = String::new();
    for (label, der) in blocks {
        let encoded = BASE64_STANDARD.encode(der);
        text.push_str(&format!("-----BEGIN {label}-----\n"));
        for line in encoded.as_bytes().chunks(64) {
            text.extend(line.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        text.push_str(&format!("-----END {label}-----\n"));
    }
    text
}
