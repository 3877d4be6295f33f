//! A device: the real library, provisioned at a site and run, with all its events.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use device::config::DeviceConfig;
use device::connect::attempt::{Attempt, AttemptResult};
use device::events::{DeviceEvent, Observer};
use device::folder::{Folder, KEYS_FOLDER};
use device::limits::{LIMITS, Limits};
use device::store::Record;
use device::{Opened, ProvisionError, ProvisionOptions, Provisioned, RunOptions, provision, run};
use keys::keystore::KeystoreSpec;
use keys::pki::Credential;
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::PATIENCE;
use crate::site::Site;

/// The device's bounds with short pauses between rounds, so that no test waits for a long one.
pub const QUICK: Limits = Limits {
    backoff_first: Duration::from_millis(20),
    backoff_most: Duration::from_millis(50),
    backoff_revoked: Duration::from_millis(100),
    ..LIMITS
};

/// A provisioned device.
pub struct Product {
    /// Its folder.
    pub dir: PathBuf,
    /// Its id.
    pub id: String,
    /// Its profile.
    pub profile: Profile,
    _root: TempDir,
}

/// A device at work.
pub struct AtWork {
    events: mpsc::Receiver<DeviceEvent>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Provisions a device with this configuration and token. The folder is gone again when it fails.
///
/// # Errors
/// As the library says.
pub async fn provision_with(
    config: DeviceConfig,
    token: Zeroizing<String>,
) -> Result<(Provisioned, TempDir), ProvisionError> {
    let root = tempfile::tempdir().unwrap();
    let options = ProvisionOptions {
        dir: root.path().join("device"),
        config,
        token,
        keys: KeystoreSpec::DangerSoftware,
        factory: Default::default(),
        limits: QUICK,
    };
    let done = provision(options, &Observer::nobody()).await;
    if done.is_err() {
        assert_eq!(
            fs::read_dir(root.path()).unwrap().filter(|entry| is_device(&entry.as_ref().unwrap().path())).count(),
            0
        );
    }
    done.map(|provisioned| (provisioned, root))
}

fn is_device(path: &Path) -> bool {
    path.join(device::folder::VAULT_FOLDER).exists()
}

impl Product {
    /// Provisions a device at this site.
    pub async fn provision(site: &Site, profile: Profile) -> Product {
        Product::made(site.device_config(profile), site.token(1).await).await
    }

    /// Provisions a device with this configuration and token.
    pub async fn made(config: DeviceConfig, token: Zeroizing<String>) -> Product {
        let profile = config.profile;
        let (Provisioned { device_id, dir, .. }, root) = provision_with(config, token).await.unwrap();
        Product { dir, id: device_id, profile, _root: root }
    }

    /// A copy of everything that is in its folder.
    pub fn cloned(&self) -> Product {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("device");
        copy(&self.dir, &dir);
        Product { dir, id: self.id.clone(), profile: self.profile, _root: root }
    }

    /// The folder of its keys.
    pub fn keys(&self) -> PathBuf {
        self.dir.join(KEYS_FOLDER)
    }

    /// Its identity key.
    pub fn identity(&self) -> Signer {
        Signer::load(&self.keys(), KeyPurpose::DeviceIdentity).unwrap()
    }

    /// Its TLS key and certificate.
    pub fn credential(&self) -> Credential {
        Credential::load(&self.keys(), KeyPurpose::device_tls(self.profile)).unwrap()
    }

    /// Changes its configuration, as its owner could.
    pub fn change_config(&self, change: impl FnOnce(&mut DeviceConfig)) {
        let mut folder = Folder::open(&self.dir).unwrap();
        let mut config = folder.config.clone();
        change(&mut config);
        folder.store_config(config).unwrap();
    }

    /// Has it dial this port for every port of the rule.
    pub fn dial_only(&self, at: std::net::SocketAddr) {
        let port = at.port();
        self.change_config(|config| {
            config.address = Some(at.ip());
            config.ports = format!("31314={port},993={port},443={port}").parse().unwrap();
        });
    }

    /// Puts the files of this name from another device's folder in place of its own.
    pub fn takes(&self, other: &Product, names: &[&str]) {
        for name in names {
            fs::copy(other.dir.join(name), self.dir.join(name)).unwrap();
        }
    }

    /// Takes another device's server and the roots to check it by for its own.
    pub fn takes_server_of(&self, other: &Product) {
        let (mut own, other) = (Folder::open(&self.dir).unwrap(), Folder::open(&other.dir).unwrap());
        own.store_config(other.config.clone()).unwrap();
        own.store.write(Record::Roots, &other.roots.to_cbor()).unwrap();
    }

    /// Runs it.
    pub fn run(&self) -> AtWork {
        self.run_with(QUICK)
    }

    /// Runs it with these bounds.
    pub fn run_with(&self, limits: Limits) -> AtWork {
        let (observer, events) = Observer::channel(&limits);
        let (stop, stopped) = oneshot::channel();
        let device = Opened::open(&self.dir, None, &limits).unwrap();
        let options = RunOptions { device, protections: None, parent: None, limits };
        let shutdown = async {
            // The end of the test stops the device too.
            let _ = stopped.await;
        };
        let task = tokio::spawn(async move { run(options, shutdown, observer).await.unwrap() });
        AtWork { events, stop, task }
    }
}

impl AtWork {
    /// The next event for which `pick` has a value; others are skipped.
    pub async fn until<T>(&mut self, mut pick: impl FnMut(DeviceEvent) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let picked = async {
            loop {
                let event = self.events.recv().await.expect("the device is at work");
                seen.push(event.to_string());
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        };
        let picked = timeout(PATIENCE, picked).await;
        picked.unwrap_or_else(|_| panic!("it never came; seen: {seen:#?}"))
    }

    /// Waits until the session is open.
    pub async fn welcomed(&mut self) {
        self.until(|event| matches!(event, DeviceEvent::Welcomed(_)).then_some(())).await;
    }

    /// Waits until the server refuses it; why it does.
    pub async fn refused(&mut self) -> String {
        self.until(|event| match event {
            DeviceEvent::Refused { reason, .. } => Some(reason),
            DeviceEvent::Welcomed(_) => panic!("welcomed"),
            _ => None,
        })
        .await
    }

    /// The results of one round of attempts, by the ports of the rule. Panics when one of them opens a session.
    pub async fn failed_round(&mut self) -> Vec<(u16, AttemptResult)> {
        let mut round = Vec::new();
        self.until(|event| match event {
            DeviceEvent::Attempt(attempt) => {
                let Attempt { rule_port, result, .. } = *attempt;
                assert_ne!(result, AttemptResult::Welcomed);
                round.push((rule_port.unwrap(), result));
                None
            }
            DeviceEvent::AppStarted { .. } => panic!("an app was started"),
            DeviceEvent::Waiting { .. } => Some(()),
            _ => None,
        })
        .await;
        round
    }

    /// Stops it.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        timeout(PATIENCE, self.task).await.expect("the device stops").unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
    assert_eq!(fs::metadata(to).unwrap().permissions().mode() & 0o077, 0, "the copy is as private as the original");
}
