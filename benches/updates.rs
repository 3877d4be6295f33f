//! OS images on their way to devices: what they cost the server, beside the bare server and beside nginx, and what others feel of it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use keys::hashes::random;
use keys::private_file;
use protocol::codec::encode_frame;
use protocol::frame::FRAME_HEADER;
use protocol::message::{ToDevice, ToServer};
use protocol::session::DeviceEvent;
use release::version::OsVersion;
use rustix::thread::gettid;
use server::LIMITS;
use server::fleet::{AgentIdSecret, NewRelease, NewReleaseImage, ReleaseImage};
use server::init::AGENT_ID_SECRET_FILE;
use server::store::{GroupFilter, NewRollout, Page, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::farm::{BenchDevice, now};
use crate::load::{Open, login, login_from};
use crate::process::{Kind, SERVER_CPU, ServerProcess};

/// The name of the image.
const IMAGE: [u8; 32] = [5; 32];
/// How long the load waits between two pings.
const PING_PAUSE: Duration = Duration::from_millis(2);
/// Pings before, to compare with.
const PINGS_BEFORE: usize = 2_000;
/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Puts a release with an image of so many random bytes into the server's folder, and begins its roll-out to all devices.
///
/// # Errors
/// When it cannot be kept.
pub async fn prepare(dir: &Path, len: u32) -> Result<()> {
    let secret = AgentIdSecret::new(private_file::read(&dir.join(AGENT_ID_SECRET_FILE))?);
    let store = Store::open(dir, secret, &LIMITS).await?;
    let mut file = store.new_os_image()?;
    for _ in 0..len / 1000 {
        file.write(&random::<1000>())?;
    }
    file.keep(&IMAGE)?;
    let groups = store.groups(&GroupFilter::default(), Page { number: 1, size: 1 }).await?;
    let group = groups.items.first().context("init makes a group")?;
    let image = NewReleaseImage {
        shown: ReleaseImage { image: IMAGE, models: vec!["bench".to_owned()], len },
        manifest: vec![0; 1000],
        sealed_key: vec![0; 97],
    };
    let new = NewRelease {
        product: "bench".to_owned(),
        version: OsVersion::new(2, 0, 0),
        security_epoch: 1,
        uploader: group.owner,
        images: vec![image],
    };
    let release = store.create_release(&new, &[]).await?.0.id;
    let phases = "100%".parse()?;
    let new = NewRollout { release, group: group.id, creator: group.owner, phases, max_failures: 10 };
    store.create_rollout(&new).await?;
    store.close().await;
    Ok(())
}

/// Fetches the image; how many bytes of messages went both ways. The bare server is asked without an offer.
async fn download(Open { mut tls, mut machine }: Open, kind: Kind, len: u32) -> Result<u64> {
    let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0);
    if kind == Kind::Bare {
        machine.want_os(IMAGE, len, 0, now())?;
    }
    while machine.os_bytes_received() < u64::from(len) {
        while let Some(event) = machine.poll_event() {
            match event {
                DeviceEvent::OsAvailable(_) => machine.want_os(IMAGE, len, 0, now())?,
                DeviceEvent::OsChunk { .. } => {}
                other => bail!("{other:?}"),
            }
        }
        if let Some(out) = machine.poll_transmit() {
            bytes += out.len() as u64;
            tls.write_all(&out).await?;
            tls.flush().await?;
        }
        let length = tls.read(&mut buffer).await?;
        ensure!(length > 0, "the server ended the session");
        bytes += length as u64;
        machine.handle_bytes(buffer.get(..length).unwrap_or_default(), now());
    }
    Ok(bytes)
}

/// CPU seconds of the server for each gigabyte, all devices fetching at once.
///
/// # Errors
/// When one of them does not get the image.
pub async fn cpu_per_gigabyte(
    server: &mut ServerProcess,
    kind: Kind,
    devices: &[Arc<BenchDevice>],
    len: u32,
) -> Result<f64> {
    let mut opens = Vec::new();
    for (at, device) in devices.iter().enumerate() {
        opens.push(login_from(server.addr, Some(source(at)?), device).await?);
    }
    let before = server.cpu_at_rest()?;
    let mut tasks = JoinSet::new();
    opens.into_iter().for_each(|open| drop(tasks.spawn(download(open, kind, len))));
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let used = server.cpu()? - before;
    Ok(used.as_secs_f64() / (devices.len() as f64 * f64::from(len)) * 1e9)
}

/// What a fleet that updates costs and lets others feel.
pub struct Seen {
    /// Bytes of messages for each device, both ways.
    pub bytes_each: u64,
    /// The server's anonymous memory with all sessions open and nothing under way, bytes.
    pub open: u64,
    /// Its highest while the images went out.
    pub peak: u64,
    /// The 99th of a hundred of another device's round trips before.
    pub p99_before: Duration,
    /// The same meanwhile.
    pub p99: Duration,
    /// How long all of it took.
    pub took: Duration,
}

/// Lets all devices but the last fetch the image at once; the last one pings.
///
/// # Errors
/// When one of them does not get the image.
pub async fn fleet(dir: &Path, devices: &[Arc<BenchDevice>], len: u32) -> Result<Seen> {
    let server = ServerProcess::start(Kind::Gateway, dir)?;
    let (other, updating) = devices.split_last().context("devices")?;
    let quiet = AtomicBool::new(false);
    let p99_before = pings(server.addr, other, &quiet, PINGS_BEFORE).await?;
    let mut opens = Vec::new();
    for (at, device) in updating.iter().enumerate() {
        opens.push(login_from(server.addr, Some(source(at)?), device).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let open = server.anonymous()?;
    let (done, peak) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(open));
    let start = Instant::now();
    let fetching = {
        let done = Arc::clone(&done);
        async move {
            let mut tasks = JoinSet::new();
            opens.into_iter().for_each(|open| drop(tasks.spawn(download(open, Kind::Gateway, len))));
            let mut bytes = 0;
            while let Some(fetched) = tasks.join_next().await {
                bytes += fetched??;
            }
            done.store(true, Ordering::Relaxed);
            anyhow::Ok((bytes, start.elapsed()))
        }
    };
    let watching = async {
        while !done.load(Ordering::Relaxed) {
            peak.fetch_max(server.anonymous()?, Ordering::Relaxed);
            tokio::time::sleep(LOOK).await;
        }
        anyhow::Ok(())
    };
    let pinging = {
        let (addr, other, done) = (server.addr, Arc::clone(other), Arc::clone(&done));
        std::thread::spawn(move || apart(addr, &other, &done))
    };
    let ((bytes, took), ()) = tokio::try_join!(fetching, watching)?;
    let p99 = pinging.join().map_err(|_| anyhow!("the pinging thread"))??;
    let bytes_each = bytes / updating.len().max(1) as u64;
    Ok(Seen { bytes_each, open, peak: peak.into_inner(), p99_before, p99, took })
}

/// An address of the device's own, so that the door lets all of them in.
fn source(at: usize) -> Result<SocketAddr> {
    let at = u16::try_from(at % 60_000)?;
    let [high, low] = (at + 1).to_be_bytes();
    Ok(SocketAddr::from(([127, 1, high, low], 0)))
}

/// Pings on a thread that goes before the one of all other devices: what is measured is the server, not the queue of the load itself.
fn apart(addr: SocketAddr, device: &BenchDevice, done: &AtomicBool) -> Result<Duration> {
    // At once when it is woken, whatever the load does. Whoever may not have that measures the load's queue as well.
    let me = gettid().as_raw_pid().to_string();
    let first = Command::new("chrt").args(["--fifo", "--pid", "10", &me]).stderr(Stdio::null()).status();
    if !first.is_ok_and(|status| status.success()) {
        eprintln!("the pings have no priority: run as root, with chrt, to measure the server alone");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(pings(addr, device, done, usize::MAX))
}

/// The 99th percentile of round trips, one after the other, until there are `most` or it is done.
async fn pings(addr: SocketAddr, device: &BenchDevice, done: &AtomicBool, most: usize) -> Result<Duration> {
    let mut tls = login(addr, device).await?;
    let (mut ping, mut pong) = (Vec::new(), Vec::new());
    encode_frame(&ToServer::Ping, &mut ping);
    encode_frame(&ToDevice::Pong, &mut pong);
    let (pong, mut times) = (pong.split_off(FRAME_HEADER), Vec::new());
    while times.len() < most && !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        tls.write_all(&ping).await?;
        tls.flush().await?;
        // The roll-out's offer comes between.
        loop {
            let mut body = vec![0; tls.read_u32().await? as usize];
            tls.read_exact(&mut body).await?;
            if body == pong {
                break;
            }
        }
        times.push(start.elapsed());
        tokio::time::sleep(PING_PAUSE).await;
    }
    times.sort_unstable();
    tls.shutdown().await.ok();
    times.get(times.len() * 99 / 100).copied().context("no round trip was measured")
}

/// nginx with one process on the server's CPU, that serves the same number of bytes as a file over TLS 1.3 with the same suite.
pub struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    /// Starts it over a folder of its own.
    ///
    /// # Errors
    /// When `nginx`, `openssl` or `taskset` is not there, or does not work.
    pub fn start(dir: &Path, len: u32, port: u16) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let image: Vec<u8> = (0..len / 1000).flat_map(|_| random::<1000>()).collect();
        std::fs::write(dir.join("image"), image)?;
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
            .args(["-subj", "/CN=bench", "-keyout", "key.pem", "-out", "certificate.pem"])
            .current_dir(dir)
            .stderr(Stdio::null())
            .status()?;
        ensure!(made.success(), "openssl made no certificate");
        let folder = dir.display();
        let configuration = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;\nevents {{}}\nhttp {{ access_log off; sendfile on;\n\
             server {{ listen 127.0.0.1:{port} ssl; root {folder}; ssl_certificate {folder}/certificate.pem;\n\
             ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3;\n\
             ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; }} }}\n"
        );
        std::fs::write(dir.join("configuration"), configuration)?;
        let child = Command::new("taskset")
            .args(["-c", &SERVER_CPU.to_string(), "nginx", "-c"])
            .arg(dir.join("configuration"))
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(500));
        Ok(Self { child, port })
    }

    /// CPU seconds for each gigabyte, fetched by curl, so many at once.
    ///
    /// # Errors
    /// When `curl` is not there or gets something else.
    pub fn cpu_per_gigabyte(&self, count: usize, len: u32) -> Result<f64> {
        let before = self.cpu()?;
        let fetched = Command::new("curl")
            .args([
                "--silent",
                "--insecure",
                "--parallel",
                "--parallel-immediate",
                "--parallel-max",
                &count.to_string(),
            ])
            .args(["--tlsv1.3", "--output", "/dev/null", "--write-out", "%{size_download} "])
            .arg(format!("https://127.0.0.1:{}/image?[1-{count}]", self.port))
            .output()?;
        let sizes = String::from_utf8_lossy(&fetched.stdout).into_owned();
        let bytes: u64 = sizes.split_whitespace().filter_map(|size| size.parse::<u64>().ok()).sum();
        ensure!(bytes == count as u64 * u64::from(len), "curl fetched {bytes} bytes");
        Ok((self.cpu()? - before).as_secs_f64() / bytes as f64 * 1e9)
    }

    fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = stat.rsplit_once(") ").context("stat")?;
        let fields: Vec<u64> = rest.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
        // A tick is a hundredth of a second on every Linux that this runs on.
        Ok(Duration::from_millis(fields.iter().sum::<u64>() * 10))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
