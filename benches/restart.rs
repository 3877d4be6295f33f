//! A server that is told to stop with its whole fleet connected, and started again: who comes back when, and whether anything is lost.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keys::private_file;
use server::LIMITS;
use server::fleet::AgentIdSecret;
use server::init::AGENT_ID_SECRET_FILE;
use server::store::{LogFilter, Page, Store};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::farm::BenchDevice;
use crate::load::{LINE, Report, stay};
use crate::process::{Kind, ServerProcess};
use crate::storm::come_in;

/// Logins under way at a time before the restart.
const GENTLE: usize = 128;
/// The longest wait for the next device.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Devices.
    pub devices: usize,
    /// From the signal to the end of the process.
    pub stopped: Duration,
    /// Devices that were told when to come back.
    pub told: usize,
    /// Lines that the first server had already taken.
    pub kept_before: usize,
    /// From the signal until the first, half and all of the devices were back.
    pub back: [Duration; 3],
    /// The most logins in one second.
    pub busiest_second: usize,
    /// Attempts that ended otherwise than with a welcome.
    pub failures: usize,
    /// Lines in the server's log: each device reported one.
    pub lines: usize,
}

enum Happened {
    In,
    Told,
}

/// All devices log in, report a line each while the server is told to stop, and come back to the next one.
///
/// # Errors
/// When a server does not start or stop, or a device is lost.
pub async fn measure(dir: &Path, devices: &[Arc<BenchDevice>], sources: u16) -> Result<Seen> {
    let first = ServerProcess::start(Kind::Gateway, dir)?;
    let addr = first.addr;
    let (say, mut heard) = mpsc::unbounded_channel();
    let (ask, wanted) = watch::channel(false);
    let (failures, kept) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let turns = Arc::new(Semaphore::new(GENTLE));
    let mut tasks = JoinSet::new();
    for (number, device) in devices.iter().enumerate() {
        let (device, say, failures, turns) = (device.clone(), say.clone(), failures.clone(), turns.clone());
        let mut report = Report { wanted: wanted.clone(), kept: false, count: kept.clone() };
        tasks.spawn(async move {
            let turn = turns.acquire_owned().await;
            let mut open = come_in(addr, number, sources, &device, &failures).await;
            drop(turn);
            // The receiver lives until all is heard.
            while say.send(Happened::In).is_ok() {
                if let Some(ms) = stay(open, &mut report).await {
                    let _ = say.send(Happened::Told);
                    sleep(Duration::from_millis(u64::from(ms))).await;
                }
                open = come_in(addr, number, sources, &device, &failures).await;
            }
        });
    }
    drop(say);
    for _ in devices {
        next(&mut heard).await?;
    }
    ask.send(true)?;
    let start = Instant::now();
    // The devices live on this thread: it must not wait for the process.
    let stopped = tokio::task::spawn_blocking(move || first.stop()).await??;
    let second = ServerProcess::start_at(Kind::Gateway, dir, addr)?;
    let kept_before = kept.load(Ordering::Relaxed);
    let (mut told, mut times) = (0, Vec::with_capacity(devices.len()));
    while times.len() < devices.len() {
        match next(&mut heard).await? {
            Happened::In => times.push(start.elapsed()),
            Happened::Told => told += 1,
        }
    }
    // What was not kept was sent again.
    let patience = Instant::now();
    while kept.load(Ordering::Relaxed) < devices.len() {
        ensure!(patience.elapsed() < PATIENCE, "a line is lost");
        sleep(Duration::from_millis(50)).await;
    }
    tokio::task::spawn_blocking(move || second.stop()).await??;
    drop(tasks);
    let mut seconds = HashMap::<u64, usize>::new();
    times.iter().for_each(|time| *seconds.entry(time.as_secs()).or_default() += 1);
    let at = |part: usize| times.get(part).copied().context("a time for each device");
    Ok(Seen {
        devices: devices.len(),
        stopped,
        told,
        kept_before,
        back: [at(0)?, at(devices.len() / 2)?, at(devices.len() - 1)?],
        busiest_second: seconds.into_values().max().unwrap_or_default(),
        failures: failures.load(Ordering::Relaxed),
        lines: lines(dir, devices).await?,
    })
}

async fn next(heard: &mut mpsc::UnboundedReceiver<Happened>) -> Result<Happened> {
    timeout(PATIENCE, heard.recv()).await.context("a device does not come back")?.context("a device's task ended")
}

/// The lines of all devices in the server's log. None may be there twice.
async fn lines(dir: &Path, devices: &[Arc<BenchDevice>]) -> Result<usize> {
    let secret = AgentIdSecret::new(private_file::read(&dir.join(AGENT_ID_SECRET_FILE))?);
    let store = Store::open(dir, secret, &LIMITS).await?;
    let mut lines = 0;
    for device in devices {
        let filter = LogFilter { text: Some(LINE.to_owned()), ..LogFilter::default() };
        let found = store.logs(device.identity.public().spki_hash(), &filter, Page { number: 1, size: 2 }).await?;
        ensure!(found.items.len() <= 1, "a line is there twice");
        lines += found.items.len();
    }
    store.close().await;
    Ok(lines)
}
