//! A whole fleet at once: how soon each device is back, and what the server keeps in memory for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use crate::farm::BenchDevice;
use crate::load::{Open, Report, login_from, stay};
use crate::messages::client;
use crate::mosquitto::Broker;
use crate::process::{Kind, ServerProcess};

/// A device gives up an attempt after this.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Addresses that the devices come from, unless all are to come from one.
pub const SOURCES: u16 = 64;
/// Logins under way at a time in a gentle ramp.
const GENTLE: usize = 64;
/// Devices that begin before those that have an answer go on.
const AT_A_TIME: usize = 64;
/// How long after the last login the memory is looked at: what was freed shall be given back by then, and nobody was asked for a sign of
/// life yet.
const SETTLE: Duration = Duration::from_secs(5);

/// What was seen of one server.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Devices.
    pub devices: usize,
    /// Anonymous memory for each device after a gentle ramp, bytes.
    pub gentle_bytes: f64,
    /// The same after all came at once.
    pub storm_bytes: f64,
    /// The most anonymous memory during the storm, bytes for each device.
    pub peak_bytes: f64,
    /// When half of the devices were back.
    pub median: Duration,
    /// When the last device was back.
    pub last: Duration,
    /// Attempts that ended otherwise than with a welcome.
    pub failures: usize,
    /// Server CPU for each login in the storm.
    pub cpu_each: Duration,
}

/// Two servers of the kind over the folder: one for a gentle ramp, one for a storm.
///
/// # Errors
/// When a server does not start.
pub async fn measure(kind: Kind, dir: &std::path::Path, devices: &[Arc<BenchDevice>], sources: u16) -> Result<Seen> {
    let count = devices.len();
    let each = |bytes: u64| bytes as f64 / count as f64;
    let (gentle, _) = fleet(kind, dir, devices, sources, GENTLE).await?;
    let (storm, back) = fleet(kind, dir, devices, sources, usize::MAX).await?;
    let at = |part: usize| back.times.get(part).copied().context("a time for each device");
    Ok(Seen {
        devices: count,
        gentle_bytes: each(gentle.kept),
        storm_bytes: each(storm.kept),
        peak_bytes: each(storm.peak),
        median: at(count / 2)?,
        last: at(count.saturating_sub(1))?,
        failures: back.failures,
        cpu_each: storm.cpu / u32::try_from(count).unwrap_or(u32::MAX),
    })
}

/// Anonymous memory of mosquitto for each of so many idle clients, which came one after the other, bytes.
///
/// # Errors
/// When it does not start, or does not take one of them.
pub async fn broker_memory(dir: &std::path::Path, devices: &[Arc<BenchDevice>]) -> Result<f64> {
    let broker = Broker::start(dir)?;
    let before = broker.anonymous()?;
    let mut clients = Vec::with_capacity(devices.len());
    for (number, device) in devices.iter().enumerate() {
        clients.push(client(broker.addr, device, &format!("idle{number}")).await?);
    }
    sleep(SETTLE).await;
    let kept = broker.anonymous()?.saturating_sub(before);
    Ok(kept as f64 / clients.len() as f64)
}

struct Memory {
    kept: u64,
    peak: u64,
    cpu: Duration,
}

struct Back {
    /// Sorted.
    times: Vec<Duration>,
    failures: usize,
}

/// All devices of the fleet log in, `at_once` of them at a time, and stay.
async fn fleet(
    kind: Kind,
    dir: &std::path::Path,
    devices: &[Arc<BenchDevice>],
    sources: u16,
    at_once: usize,
) -> Result<(Memory, Back)> {
    let mut server = ServerProcess::start(kind, dir)?;
    let before = server.anonymous()?;
    let cpu = server.cpu_at_rest()?;
    let (told, mut times) = mpsc::unbounded_channel();
    // Nobody is asked to report anything.
    let (_asking, wanted) = watch::channel(false);
    let failures = Arc::new(AtomicUsize::new(0));
    let turns = Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS)));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for (number, device) in devices.iter().enumerate() {
        if number.is_multiple_of(AT_A_TIME) {
            // Devices have nothing to do with one another: who has an answer goes on and does not wait until all others have asked.
            yield_now().await;
        }
        let (device, told, failures, turns) = (device.clone(), told.clone(), failures.clone(), turns.clone());
        let (addr, wanted) = (server.addr, wanted.clone());
        tasks.spawn(async move {
            let turn = turns.acquire_owned().await;
            let open = come_in(addr, number, sources, &device, &failures).await;
            drop(turn);
            // The receiver lives until all are back.
            let _ = told.send(start.elapsed());
            stay(open, &mut Report { wanted, kept: false, count: Arc::default() }).await;
        });
    }
    drop(told);
    let mut back = Back { times: Vec::with_capacity(devices.len()), failures: 0 };
    let mut peak = before;
    while back.times.len() < devices.len() {
        match timeout(Duration::from_millis(200), times.recv()).await {
            Ok(Some(time)) => back.times.push(time),
            Ok(None) => anyhow::bail!("a device's task ended"),
            Err(_) => {}
        }
        if back.times.len().is_multiple_of(256) {
            peak = peak.max(server.anonymous()?);
        }
    }
    let cpu = server.cpu()?.saturating_sub(cpu);
    back.failures = failures.load(Ordering::Relaxed);
    sleep(SETTLE).await;
    let kept = server.anonymous()?.saturating_sub(before);
    drop(tasks);
    Ok((Memory { kept, peak: peak.saturating_sub(before), cpu }, back))
}

/// Tries until the device is let in, and counts the attempts that failed.
pub(crate) async fn come_in(
    addr: SocketAddr,
    number: usize,
    sources: u16,
    device: &BenchDevice,
    failures: &AtomicUsize,
) -> Open {
    loop {
        match timeout(PATIENCE, login_from(addr, source(number, sources), device)).await {
            Ok(Ok(open)) => return open,
            Ok(Err(_)) | Err(_) => failures.fetch_add(1, Ordering::Relaxed),
        };
        sleep(Duration::from_millis(500 + u64::from(fastrand(number)))).await;
    }
}

/// Where a device comes from. The one address of all is left to the kernel, which then looks for a free port among those of this server
/// only, and not among those of all connections.
fn source(number: usize, sources: u16) -> Option<SocketAddr> {
    if sources <= 1 {
        return None;
    }
    let [high, low] = u16::try_from(number % usize::from(sources)).unwrap_or(0).to_be_bytes();
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 100, high, low.saturating_add(1))), 0))
}

/// A spread of pauses after a failure, the same in each run.
fn fastrand(number: usize) -> u16 {
    (number.wrapping_mul(40_503) % 500) as u16
}
