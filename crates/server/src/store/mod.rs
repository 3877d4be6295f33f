//! What is kept: one SQLite database in the server's folder. The only place that holds SQL.
//!
//! Start at [`Store`]. Files have the names of the resources in `fleet/`. The SQL keeps to what SQLite and PostgreSQL share.
//!
//! One connection writes, a few read. Every change is durable when its call returns (write-ahead log, `synchronous=FULL`); only the
//! [`Journal`] writes behind.

mod accounts;
mod agent_states;
mod alarms;
mod approvals;
mod cache;
mod deleted_devices;
mod deployments;
mod devicegroups;
mod devices;
mod diaries;
mod enrolment_tokens;
mod journal;
mod libraries;
mod log_history;
mod logins;
mod logs;
mod os_images;
mod os_updates;
mod page;
mod products;
mod proofs;
mod release_metadata;
mod releases;
mod rollouts;
mod row;
mod self_tests;
mod tokens;
mod totals;

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;

use crate::fleet::{AgentIdSecret, GroupId, Invalid, Rule};
use crate::limits::Limits;

pub use agent_states::{AgentState, SaveError};
pub use deployments::{DeployedApp, DeploymentCode, DeploymentFilter};
pub use devicegroups::GroupFilter;
pub use devices::{DeviceFilter, DeviceName, Unassigned};
pub use enrolment_tokens::{NewToken, RedeemError};
pub use journal::{Attempts, Journal, JournalTask, Receipt, ReportRing};
pub use log_history::LogFilter;
pub use os_images::{NewOsImage, OS_IMAGES_FOLDER};
pub use os_updates::Progressed;
pub use page::{Listed, Page};
pub use proofs::Judged;
pub use rollouts::{NewRollout, RolloutOrder};
pub use self_tests::StoredSelfTest;
pub use tokens::Login;
pub use totals::Totals;

/// The database's name in the server's folder.
pub const DATABASE_FILE: &str = "central.db";

/// The state of a server. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    readers: SqlitePool,
    writer: SqlitePool,
    agent_ids: AgentIdSecret,
    limits: Limits,
    logins: logins::Logins,
    proofs: proofs::Proofs,
    alarms: alarms::Alarms,
    images: Mutex<cache::Cache<[u8; 32], Arc<[u8]>>>,
    os_images: os_images::OsImages,
    /// The groups in which a roll-out runs.
    rolling_out: Mutex<HashSet<GroupId>>,
}

/// The state could not be read or written. Nothing was changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database answered with an error.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The tables could not be made or brought up to date.
    #[error("the database could not be prepared")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The folder of the OS images cannot be used.
    #[error("the OS images cannot be read")]
    OsImages(#[source] io::Error),
    /// A value in the database is not one that this program wrote.
    #[error("a damaged value in {0}: restore the database from a backup")]
    Damaged(&'static str),
    /// The folder holds a database already.
    #[error("{} exists already and is not overwritten", .0.display())]
    Exists(PathBuf),
}

/// A change that was not made.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// What was to be changed, or something it refers to, does not exist.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A rule of the fleet forbids it.
    #[error(transparent)]
    Rule(#[from] Rule),
    /// A value is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The state could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ChangeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(StoreError::Database(error))
    }
}

impl Store {
    /// Makes a new database in a folder.
    ///
    /// # Errors
    /// There is one already, or it cannot be made.
    pub async fn create(dir: &Path, agent_ids: AgentIdSecret, limits: &Limits) -> Result<Self, StoreError> {
        let path = dir.join(DATABASE_FILE);
        // Private from its first moment, whatever becomes of the folder's mode; SQLite gives its other files the same mode.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(_) => Self::connect(&path, agent_ids, limits).await,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(StoreError::Exists(path)),
            Err(error) => Err(StoreError::Database(error.into())),
        }
    }

    /// Opens the database of a folder and brings its tables up to date.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn open(dir: &Path, agent_ids: AgentIdSecret, limits: &Limits) -> Result<Self, StoreError> {
        Self::connect(&dir.join(DATABASE_FILE), agent_ids, limits).await
    }

    async fn connect(path: &Path, agent_ids: AgentIdSecret, limits: &Limits) -> Result<Self, StoreError> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let os_images = os_images::OsImages::open(dir, limits.os_cache_bytes).map_err(StoreError::OsImages)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // What a statement needs to undo itself halfway stays out of the file system.
            .pragma("temp_store", "MEMORY")
            // Of each connection, KiB: the kernel has the file in its memory anyway.
            .pragma("cache_size", "-512")
            .busy_timeout(limits.database_wait);
        // A file does not go away as a server may: no question before each use, which would cost as much as a query.
        let pool = |size: u32| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .acquire_timeout(limits.database_wait)
                .test_before_acquire(false)
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        sqlx::migrate!("src/store/migrations").run(&writer).await?;
        let mut change = writer.begin().await?;
        deleted_devices::clear_up(&mut change, unix_ms()).await?;
        change.commit().await?;
        let readers = pool(limits.readers.max(1)).connect_with(options.pragma("query_only", "ON")).await?;
        let store = Self(Arc::new(Inner {
            readers,
            writer,
            agent_ids,
            limits: limits.clone(),
            logins: logins::Logins::new(limits.logins_kept),
            proofs: proofs::Proofs::new(limits.logins_kept),
            alarms: alarms::Alarms::new(limits.logins_kept),
            images: Mutex::new(cache::Cache::new(limits.image_cache_bytes)),
            os_images,
            rolling_out: Mutex::default(),
        }));
        store.read_running().await?;
        Ok(store)
    }

    /// Closes all connections; calls after it fail.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(self.readers()).await?;
        Ok(())
    }

    fn readers(&self) -> &SqlitePool {
        &self.0.readers
    }

    fn writer(&self) -> &SqlitePool {
        &self.0.writer
    }

    async fn begin(&self) -> Result<sqlx::Transaction<'static, Sqlite>, StoreError> {
        Ok(self.0.writer.begin().await?)
    }
}

/// The wall clock, Unix milliseconds.
pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a database error says that a value is taken already.
fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
