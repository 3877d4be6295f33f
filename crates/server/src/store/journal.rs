//! What is written behind: log lines, diaries, when devices were seen. One task writes it, many lines to a transaction.

mod reports;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keys::public::SpkiHash;
use sqlx::{QueryBuilder, Sqlite, Transaction};
use tokio::sync::{mpsc, oneshot};

use self::reports::{Counted, Place, Positions};
use super::{Store, StoreError, diaries, logs, proofs};
use crate::fleet::{DiaryReport, LogEntry, LogType, Proved};

pub use self::reports::ReportRing;

/// How long the first entry waits for others to share its transaction and its sync. Streams have it at once.
const GATHER: Duration = Duration::from_millis(50);
/// Rows of one statement. A statement costs more than a row: it wakes the connection's thread and then ours.
pub(super) const ROWS: usize = 64;

/// The way into the journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<Entry>,
    shared: Arc<Shared>,
}

struct Shared {
    log_text_bytes: usize,
    diary_bytes: usize,
    heard: OnceLock<Listener>,
}

/// Hears every line that a device reported, once it is written.
type Listener = Box<dyn Fn(&LogEntry) + Send + Sync>;

/// Tells when what was put in before it is durable; an error means that it never will be.
pub type Receipt = oneshot::Receiver<()>;

/// Writes the journal; run it once, until it returns.
pub struct JournalTask {
    store: Store,
    queue: mpsc::Receiver<Entry>,
    batch: usize,
    numbers: logs::Numbers,
    positions: Positions,
    shared: Arc<Shared>,
}

enum Entry {
    Log(LogEntry),
    /// A line with this number in its device's ring.
    Reported(Arc<ReportRing>, u64, LogEntry),
    Diary(Arc<ReportRing>, Attempts),
    Receipt(Arc<ReportRing>, oneshot::Sender<()>),
    Seen {
        device: SpkiHash,
        at_ms: i64,
        address: IpAddr,
    },
    OsVersion(SpkiHash, String),
    FreeMemory(SpkiHash, u32),
    Proved(SpkiHash, Proved, oneshot::Sender<()>),
    Flush(oneshot::Sender<()>),
}

/// Attempts of a device to connect, as it numbered them.
pub struct Attempts {
    /// The number of the first one.
    pub first: u64,
    /// When they arrived, Unix milliseconds.
    pub at_ms: i64,
    /// Each a JSON object.
    pub entries: Vec<String>,
}

impl Store {
    /// The journal of this store and the task that writes it.
    pub fn journal(&self) -> (Journal, JournalTask) {
        let limits = &self.0.limits;
        let (sender, queue) = mpsc::channel(limits.journal_queue);
        let heard = OnceLock::new();
        let (log_text_bytes, diary_bytes) = (limits.log_text_bytes, limits.diary_bytes);
        let shared = Arc::new(Shared { log_text_bytes, diary_bytes, heard });
        let task = JournalTask {
            store: self.clone(),
            queue,
            batch: limits.journal_batch,
            numbers: logs::Numbers::default(),
            positions: Positions::default(),
            shared: Arc::clone(&shared),
        };
        (Journal { queue: sender, shared }, task)
    }
}

impl Journal {
    /// Writes a log line down; waits while the queue is full. A text beyond the bound is cut.
    pub async fn log(&self, entry: LogEntry) {
        let entry = self.cut(entry);
        self.put(Entry::Log(entry)).await;
    }

    /// Writes the lines of a device down that begin with this number, each number of a ring once; a gap in the numbers becomes a line that
    /// says how many were lost. Waits while the queue is full. Texts beyond the bound are cut.
    pub async fn reported(&self, ring: &Arc<ReportRing>, first: u64, lines: Vec<LogEntry>) -> Receipt {
        for (number, line) in (first..).zip(lines) {
            let line = self.cut(line);
            self.put(Entry::Reported(Arc::clone(ring), number, line)).await;
        }
        self.receipt(ring).await
    }

    /// Writes a device's attempts to connect down, each number of a ring once; waits while the queue is full.
    pub async fn diary(&self, ring: &Arc<ReportRing>, attempts: Attempts) -> Receipt {
        self.put(Entry::Diary(Arc::clone(ring), attempts)).await;
        self.receipt(ring).await
    }

    /// Names who hears of the lines of [`Journal::reported`], each once, when it is written. The first one named stays.
    pub fn told(&self, listener: impl Fn(&LogEntry) + Send + Sync + 'static) {
        if self.shared.heard.set(Box::new(listener)).is_err() {
            tracing::debug!("the journal has a listener already");
        }
    }

    async fn receipt(&self, ring: &Arc<ReportRing>) -> Receipt {
        let (sender, receipt) = oneshot::channel();
        self.put(Entry::Receipt(Arc::clone(ring), sender)).await;
        receipt
    }

    fn cut(&self, mut entry: LogEntry) -> LogEntry {
        if entry.text.len() > self.shared.log_text_bytes {
            let end = entry.text.floor_char_boundary(self.shared.log_text_bytes);
            entry.text = entry.text.get(..end).unwrap_or_default().into();
        }
        entry
    }

    /// Notes when and from where a device was seen last; dropped while the queue is full.
    pub fn seen(&self, device: SpkiHash, at_ms: i64, address: IpAddr) {
        self.offer(Entry::Seen { device, at_ms, address });
    }

    /// Notes the OS version that a device proved; dropped while the queue is full.
    pub fn os_version(&self, device: SpkiHash, version: String) {
        self.offer(Entry::OsVersion(device, version));
    }

    /// Writes what a device proved down; waits while the queue is full.
    pub async fn proved(&self, device: SpkiHash, proved: Proved) -> Receipt {
        let (sender, receipt) = oneshot::channel();
        self.put(Entry::Proved(device, proved, sender)).await;
        receipt
    }

    /// Notes the free memory that a device's app reported; dropped while the queue is full.
    pub fn free_memory(&self, device: SpkiHash, bytes: u32) {
        self.offer(Entry::FreeMemory(device, bytes));
    }

    /// Waits until everything put in so far is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        self.put(Entry::Flush(done)).await;
        // An error means that the task has ended: there is nothing more to wait for.
        let _ = written.await;
    }

    async fn put(&self, entry: Entry) {
        if self.queue.send(entry).await.is_err() {
            tracing::debug!("the journal has ended; an entry is lost");
        }
    }

    fn offer(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            tracing::debug!("the journal is full or has ended; a note is lost");
        }
    }
}

impl JournalTask {
    /// Writes until every [`Journal`] is gone.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(self.batch);
        while self.queue.recv_many(&mut batch, self.batch).await > 0 {
            self.gather(&mut batch).await;
            let written = self.write(&batch).await;
            let is_written = written.is_ok();
            self.positions.settle(written.is_ok());
            match written {
                Ok(reported) => self.tell(&reported),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        entries = batch.len(),
                        "the journal could not be written; devices send again what they reported"
                    );
                    batch.iter().filter_map(Entry::ring).for_each(|ring| ring.give_up());
                }
            }
            for entry in batch.drain(..) {
                match entry {
                    Entry::Receipt(ring, done) if ring.is_broken() => drop(done),
                    Entry::Proved(_, _, done) if is_written => drop(done.send(())),
                    // Who asked may have stopped waiting.
                    Entry::Flush(done) | Entry::Receipt(_, done) => drop(done.send(())),
                    _ => {}
                }
            }
        }
    }

    fn tell(&self, reported: &[LogEntry]) {
        if let Some(listener) = self.shared.heard.get() {
            reported.iter().for_each(listener);
        }
    }

    /// Waits a moment for more entries, unless somebody waits for these.
    async fn gather(&mut self, batch: &mut Vec<Entry>) {
        if batch.len() >= self.batch || batch.iter().any(|entry| matches!(entry, Entry::Flush(_))) {
            return;
        }
        tokio::time::sleep(GATHER).await;
        while batch.len() < self.batch
            && let Ok(entry) = self.queue.try_recv()
        {
            batch.push(entry);
        }
    }

    /// Writes a batch; the lines that devices reported and that are new.
    async fn write(&mut self, batch: &[Entry]) -> Result<Vec<LogEntry>, StoreError> {
        if batch.iter().all(|entry| matches!(entry, Entry::Flush(_) | Entry::Receipt(..))) {
            return Ok(Vec::new());
        }
        let store = self.store.clone();
        let limits = &store.0.limits;
        let versions = batch.iter().any(|entry| matches!(entry, Entry::OsVersion(..)));
        let _changing = versions.then(|| store.0.logins.changing());
        let mut change = store.begin().await?;
        let reported = self.write_lines(&mut change, batch, limits.logs_kept).await?;
        let mut reporters = HashSet::new();
        let mut last_seen = HashMap::new();
        for entry in batch {
            match entry {
                Entry::Diary(ring, attempts) => {
                    if self.write_diary(&mut change, ring, attempts).await? {
                        reporters.insert(ring.device);
                    }
                }
                Entry::Seen { device, at_ms, address } => drop(last_seen.insert(*device, (*at_ms, *address))),
                Entry::OsVersion(device, version) => os_version(&mut change, device, version).await?,
                Entry::Proved(device, proved, _) => proofs::write(&mut change, device, proved).await?,
                Entry::FreeMemory(device, bytes) => free_memory(&mut change, device, *bytes).await?,
                Entry::Log(_) | Entry::Reported(..) | Entry::Receipt(..) | Entry::Flush(_) => {}
            }
        }
        seen(&mut change, last_seen).await?;
        for device in reporters {
            diaries::prune(&mut change, &device, limits.diaries_kept).await?;
        }
        self.positions.write(&mut change).await?;
        change.commit().await?;
        Ok(reported)
    }

    /// Writes the lines of a batch in their order; those that devices reported and that are new.
    async fn write_lines(
        &mut self,
        change: &mut Transaction<'static, Sqlite>,
        batch: &[Entry],
        kept: u32,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let mut lines = Vec::new();
        let mut reported = Vec::new();
        for entry in batch {
            match entry {
                Entry::Log(line) => lines.push(line.clone()),
                Entry::Reported(ring, number, line) if !ring.is_broken() => {
                    let new = match self.positions.advance(change, ring, Counted::Logs, *number, 1).await? {
                        Place::Known(_) => vec![],
                        Place::Next => vec![line.clone()],
                        Place::After(lost) => vec![lost_lines(line, lost), line.clone()],
                    };
                    lines.extend_from_slice(&new);
                    reported.extend(new);
                }
                _ => {}
            }
        }
        self.numbers.append(change, &lines.iter().collect::<Vec<_>>(), kept).await?;
        Ok(reported)
    }

    /// Writes the attempts that are new, in pieces of bounded length; whether there were any.
    async fn write_diary(
        &mut self,
        change: &mut Transaction<'static, Sqlite>,
        ring: &ReportRing,
        attempts: &Attempts,
    ) -> Result<bool, StoreError> {
        if ring.is_broken() {
            return Ok(false);
        }
        let Attempts { first, at_ms, entries } = attempts;
        let place = self.positions.advance(change, ring, Counted::Diary, *first, entries.len() as u64).await?;
        let known = if let Place::Known(count) = place { usize::try_from(count).unwrap_or(usize::MAX) } else { 0 };
        let pieces = pieces(entries.get(known..).unwrap_or_default(), self.shared.diary_bytes);
        for entries in &pieces {
            diaries::append(change, &ring.device, &DiaryReport { at_ms: *at_ms, entries: entries.clone() }).await?;
        }
        Ok(!pieces.is_empty())
    }
}

impl Entry {
    fn ring(&self) -> Option<&ReportRing> {
        match self {
            Self::Reported(ring, ..) | Self::Diary(ring, _) | Self::Receipt(ring, _) => Some(ring),
            _ => None,
        }
    }
}

/// What stands in a log for lines that a device could not keep until they were delivered.
fn lost_lines(before: &LogEntry, count: u64) -> LogEntry {
    let lines = if count == 1 { "line was" } else { "lines were" };
    let text = format!("{count} log {lines} lost: the device had no room for more while it could not deliver them");
    LogEntry { kind: LogType::Status, text: text.into(), ..before.clone() }
}

/// JSON arrays of these objects, each array no longer than `most` bytes; an object that alone is longer is left out.
fn pieces(objects: &[String], most: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for object in objects {
        if object.len() + 2 > most {
            tracing::warn!(
                bytes = object.len(),
                "an attempt to connect was described at too great length and is not kept"
            );
            continue;
        }
        match pieces.last_mut() {
            // One comma, and the bracket that closes it.
            Some(piece) if piece.len() + object.len() + 2 <= most => {
                piece.push(',');
                piece.push_str(object);
            }
            _ => pieces.push(format!("[{object}")),
        }
    }
    for piece in &mut pieces {
        piece.push(']');
    }
    pieces
}

async fn seen(
    change: &mut Transaction<'static, Sqlite>,
    devices: HashMap<SpkiHash, (i64, IpAddr)>,
) -> Result<(), sqlx::Error> {
    let devices: Vec<_> = devices.into_iter().collect();
    for devices in devices.chunks(ROWS) {
        let mut query = QueryBuilder::new("WITH seen(spki, at_ms, address) AS (");
        query.push_values(devices, |mut row, (device, (at_ms, address))| {
            row.push_bind(device.as_bytes().to_vec()).push_bind(*at_ms).push_bind(address.to_string());
        });
        query.push(
            ") UPDATE devices SET seen_ms = seen.at_ms, address = seen.address FROM seen WHERE devices.spki = seen.spki",
        );
        // As many texts as there are counts of rows: none is worth keeping.
        query.build().persistent(false).execute(&mut **change).await?;
    }
    Ok(())
}

async fn os_version(
    change: &mut Transaction<'static, Sqlite>,
    device: &SpkiHash,
    version: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE devices SET os_version = $2 WHERE spki = $1")
        .bind(device.as_bytes().as_slice())
        .bind(version)
        .execute(&mut **change)
        .await?;
    Ok(())
}

async fn free_memory(
    change: &mut Transaction<'static, Sqlite>,
    device: &SpkiHash,
    bytes: u32,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE devices SET free_memory = $2 WHERE spki = $1")
        .bind(device.as_bytes().as_slice())
        .bind(i64::from(bytes))
        .execute(&mut **change)
        .await?;
    Ok(())
}
