//! A foreign operator and tampered device folders: what happens when a false server or a false client turns up.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use device::config::DeviceConfig;
use device::folder::Folder;
use device::store::Record;
use keys::keystore::KeystoreSpec;
use protocol::facts::PORTS;
use serde_json::Value;

use super::process::Process;
use super::stage::{self, Errand, Places, Stage};
use crate::central::{Central, LoginFile};
use crate::commands::password;

/// How long one meeting may take.
const MEETING: Duration = Duration::from_secs(20);

/// What the two ends said when strangers met.
#[derive(Debug)]
pub(super) struct Stranger {
    /// The alert with which our device turned the foreign server away, as that server received it.
    pub(super) server_alert: String,
    /// The alert with which our server turned the foreign device away.
    pub(super) client_alert: String,
}

/// Another operator, with the same server name and roots of its own.
pub(super) struct Foreign {
    dir: PathBuf,
    places: Places,
    interrupted: Arc<AtomicBool>,
    central: Central,
    server: Process,
}

impl Foreign {
    /// Makes the operator and starts its server beside ours.
    pub(super) fn raise(stage: &Stage, deadline: Instant) -> Result<Foreign> {
        let dir = stage.dir.join("foreign");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let [a, b, c, _] = stage.places.open.octets();
        let address = Ipv4Addr::new(a, b, c, 3);
        let places = Places { open: address, first_closed: address, ports: stage.places.ports };
        let server_dir = dir.join("server");
        stage::make_server(&server_dir)?;
        let errand = Errand { dir: &dir, places, factory: None, interrupted: &stage.interrupted, deadline };
        let (server, url) = errand.serve(&server_dir, "127.0.0.1:0")?;
        let password = password::read(Some(&server_dir.join(server::FIRST_PASSWORD_FILE)))?;
        let central =
            Central::log_in(&LoginFile::at(&dir.join("login.json")), &url, None, server::FIRST_ACCOUNT, &password)?;
        Ok(Foreign { dir, places, interrupted: stage.interrupted.clone(), central, server })
    }

    /// Sends our device to the foreign server, and a device of the foreign operator to ours.
    pub(super) fn meet(&mut self, stage: &mut Stage, index: usize, deadline: Instant) -> Result<Stranger> {
        let profile = stage.actors[index].profile;
        let genuine = stage.actors[index].dir.clone();
        let deadline = deadline.min(Instant::now() + MEETING);

        let lost = self.dir.join(format!("lost-{profile}"));
        copy(&genuine, &lost)?;
        redirect(&lost, self.places)?;
        self.server.forget();
        // It is our device that is led there, so it has its TPM.
        let words = stage.actors[index].words.clone();
        let mut device = self.errand(deadline).start(&format!("lost-{profile}"), &words, &lost)?;
        let server_alert = self.server.wait("alert from the device", deadline, |event| {
            event["event"] == "tls_failed" && event["alert_received"].is_string()
        })?;
        device.wait("refusal of the server", deadline, |event| event["result"]["is"] == "tls_certificate")?;
        drop(device);

        let intruder = self.dir.join(format!("intruder-{profile}"));
        self.enrol(profile, &intruder, deadline)?;
        // The genuine device is at work and holds its folder; its copy is not.
        let roots = Folder::open(&lost)?.roots;
        Folder::open(&intruder)?.store.write(Record::Roots, &roots.to_cbor())?;
        redirect(&intruder, stage.places)?;
        stage.server.settle();
        let before = stage.server.events().len();
        let _device = self.errand(deadline).start(&format!("intruder-{profile}"), &["device", "run"], &intruder)?;
        let client_alert = stage.server.wait_after(before, "alert to the foreign device", deadline, |event| {
            event["event"] == "tls_failed" && event["alert_sent"].is_string()
        })?;
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        Ok(Stranger {
            server_alert: text(&server_alert, "alert_received"),
            client_alert: text(&client_alert, "alert_sent"),
        })
    }

    fn enrol(&mut self, profile: &'static str, dir: &Path, deadline: Instant) -> Result<()> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        let keys = KeystoreSpec::DangerSoftware.to_string();
        let errand =
            Errand { dir: &self.dir, places: self.places, factory: None, interrupted: &self.interrupted, deadline };
        errand.enrol(&mut self.central, dir, profile, self.places.open, &keys)
    }

    fn errand(&self, deadline: Instant) -> Errand<'_> {
        Errand { dir: &self.dir, places: self.places, factory: None, interrupted: &self.interrupted, deadline }
    }
}

/// Copies a device folder: what a thief of its disk would hold.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let mut folders = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        fs::create_dir_all(&to)?;
        fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push((entry.path(), target));
            } else {
                fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}

/// Points a device at other addresses.
fn redirect(dir: &Path, places: Places) -> Result<()> {
    let mut folder = Folder::open(dir)?;
    let map: Vec<String> = PORTS.iter().zip(places.ports).map(|(rule, port)| format!("{rule}={port}")).collect();
    let config =
        DeviceConfig { address: Some(places.open.into()), ports: map.join(",").parse()?, ..folder.config.clone() };
    Ok(folder.store_config(config)?)
}
