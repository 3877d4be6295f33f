//! `vouch device status`: what protects a device on this machine, and what does not.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use device::board::plan::Plan as Board;
use device::board::security::Reported;
use device::boot::{BOOT_FOLDER, BootFolder, Pinned};
use device::folder::{Folder, KEYS_FOLDER, VAULT_FOLDER};
use device::host::Host;
use device::limits::LIMITS;
use device::sandbox::{self, Layer, Plan, Protections};
use device::storage::FolderDisk;
use keys::keystore::{AttestationLevel, Keystore, KeystoreSpec};
#[cfg(feature = "pkcs11")]
use keys::pkcs11::Module;
use keys::pkcs11::TokenSpec;
use serde_json::{Value, json};

use crate::output::{Output, Tone, paint};

/// Say honestly what protects a device on this machine and what does not, also while it runs.
///
/// What this kernel gives and lacks is found out by locking this very command down as the device does.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// The device's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// One line for people: good, bad or neither.
struct Line(Tone, String);

impl Status {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let store = Folder::peek(&self.dir)?;
        let keystore = Keystore::open(&self.dir.join(KEYS_FOLDER))?;
        let board = Board::of(&self.dir, &LIMITS)?.security;
        let host = Host::look();
        let mut plan = Plan::for_network(&store.config()?);
        plan.kept.push(self.dir.join(VAULT_FOLDER));
        // What a TPM or a token says, a process that is locked down cannot ask.
        let keys = keystore.level();
        let (stand_in, meaning) = key_meaning(keystore.spec());
        let boot = boot(&self.dir, &keystore)?;
        let protections = sandbox::enter(&plan)?;
        let value = json!({
            "device_id": keystore.identity().device_id().to_string(),
            "keys": { "back_end": keystore.spec().to_string(), "level": level(keys), "stand_in": stand_in, "meaning": meaning },
            "boot": boot,
            "vault": { "generation": store.generation(), "rollback": rollback(keys) },
            "protections": protections,
            "host": host,
            "board": board,
        });
        let mut lines = vec![Line(Tone::Strong, format!("device {}", value["device_id"].as_str().unwrap_or_default()))];
        lines.extend(own_lines(&value, keys));
        lines.push(Line(
            Tone::Strong,
            "\nits process, locked down on this kernel by whoever started this command".to_owned(),
        ));
        lines.extend(protection_lines(&protections));
        lines.push(Line(Tone::Strong, format!("\nthe system below it, kernel {}", host.kernel)));
        lines.extend(host_lines(&host));
        lines.push(Line(Tone::Strong, "\nthe board, as its file says; nobody has checked it".to_owned()));
        lines.extend(board.said().map(|(name, said)| board_line(name, said)));
        let text: Vec<String> = lines.iter().map(|Line(tone, text)| paint(*tone, text)).collect();
        output.result(&value, &text.join("\n"));
        Ok(())
    }
}

/// What this device boots.
fn boot(dir: &Path, keys: &Keystore) -> Result<Value> {
    let folder = dir.join(BOOT_FOLDER);
    if !folder.exists() {
        let meaning =
            "this folder holds no boot slots: no image is verified before it runs, and apps come by the channel alone";
        return Ok(json!({ "verified": false, "meaning": meaning }));
    }
    let boot = BootFolder::open(FolderDisk::new(&folder), &keys.storage_root()?, &LIMITS)?;
    let layers = boot.anchors().layers().as_str();
    let apps = match boot.anchors().root_version() {
        Some(_) => "apps need their owner's approval",
        None => "apps come by the channel alone",
    };
    let pin = Pinned::read(dir).map_or_else(|error| format!(" ({error})"), |pinned| format!(" {}", pinned.pin));
    Ok(json!({
        "verified": true,
        "layers": layers,
        "slot": boot.active().as_str(),
        "trying": boot.is_trying(),
        "fell_back": boot.fell_back(),
        "root_version": boot.newest_root().map(|(root, _)| root.version),
        "pin": Pinned::read(dir).map(|pinned| pinned.pin.to_string()).ok(),
        "meaning": format!(
            "`vouch device boot` verifies the image in slot {} at each start (demanded: {layers}); {apps}; the loader itself is trusted \
             only as far as the board's secure boot reaches, and boots whatever device is in this folder unless it is started with --pin{pin}",
            boot.active().as_str()
        ),
    }))
}

fn level(level: AttestationLevel) -> &'static str {
    match level {
        AttestationLevel::Software => "software",
        AttestationLevel::Tpm => "tpm",
        AttestationLevel::SecureElement => "secure element",
    }
}

/// What it means that the keys are there, and whether that is software which only acts as a chip.
fn key_meaning(keys: &KeystoreSpec) -> (bool, String) {
    match keys {
        KeystoreSpec::DangerSoftware => {
            (false, "files: whoever copies the folder has the device's keys and is the device".to_owned())
        }
        KeystoreSpec::Tpm2(tpm) if tpm.tcti.starts_with("swtpm:") => {
            (true, "in swtpm, a TPM in software, which protects nothing from whoever reads its state".to_owned())
        }
        KeystoreSpec::Tpm2(tpm) => {
            let bound = match tpm.pcr_list() {
                list if list.is_empty() => {
                    "is bound to the TPM alone, not to what was booted (no pcrs= was named)".to_owned()
                }
                list => format!("opens only while its registers {list} are as when it was provisioned"),
            };
            (false, format!("in the TPM, which does not give them away; the storage {bound}"))
        }
        KeystoreSpec::Pkcs11(spec) => {
            let (stand_in, token) = token(spec);
            (stand_in, format!("{token}; the storage is not bound to what was booted"))
        }
    }
}

/// What a token says about itself.
#[cfg(feature = "pkcs11")]
fn token(spec: &TokenSpec) -> (bool, String) {
    match Module::load(&spec.module).and_then(|module| module.token(&spec.token)) {
        Ok(token) if token.is_stand_in() => (
            true,
            "in SoftHSM, a token in software, which protects nothing from whoever reads its files and guesses its PIN"
                .to_owned(),
        ),
        Ok(token) => (false, format!("in a token ({}, {}), which does not give them away", token.maker, token.model)),
        Err(error) => (false, format!("in a token that does not say what it is ({error})")),
    }
}

#[cfg(not(feature = "pkcs11"))]
fn token(_spec: &TokenSpec) -> (bool, String) {
    (false, "in a token, which this program was built without".to_owned())
}

fn rollback(level: AttestationLevel) -> &'static str {
    match level {
        AttestationLevel::Software => {
            "the whole folder can be set back unnoticed on the device (danger-software has no counter); only the server sees the \
             generation fall"
        }
        AttestationLevel::SecureElement => {
            "the whole folder can be set back unnoticed on the device (a token has no counter); only the server sees the generation fall"
        }
        AttestationLevel::Tpm => {
            "a vault from before the last step of the hardware counter is refused; within one step the server sees the generation fall"
        }
    }
}

fn own_lines(value: &Value, keys: AttestationLevel) -> [Line; 3] {
    let text = |part: &str, name: &str| value[part][name].as_str().unwrap_or_default().to_owned();
    let is_hardware = keys != AttestationLevel::Software && value["keys"]["stand_in"] == false;
    let tone = if is_hardware { Tone::Good } else { Tone::Bad };
    [
        Line(tone, format!("keys: {}, {}", text("keys", "back_end"), text("keys", "meaning"))),
        match value["boot"]["verified"].as_bool() {
            Some(true) => Line(Tone::Good, format!("verified boot: {}", text("boot", "meaning"))),
            _ => Line(Tone::Bad, format!("verified boot: no; {}", text("boot", "meaning"))),
        },
        Line(tone, format!("vault: generation {}; {}", value["vault"]["generation"], text("vault", "rollback"))),
    ]
}

fn protection_lines(protections: &Protections) -> impl Iterator<Item = Line> {
    Layer::ALL.into_iter().map(|layer| match protections.lacking().find(|(lacking, _)| *lacking == layer) {
        None => Line(Tone::Good, format!("in force  {}", layer.promise())),
        Some((_, why)) => Line(Tone::Bad, format!("lacking   {layer}: {why}")),
    })
}

fn host_lines(host: &Host) -> Vec<Line> {
    let swap = match host.swap.as_deref() {
        None => "swap: not shown".to_owned(),
        Some([]) => "swap: none, so no memory is written to it".to_owned(),
        Some(places) => format!("swap: {}; memory that is not locked may be written there", places.join(", ")),
    };
    let setting = |setting: &device::host::Setting| {
        let value = setting.value.as_deref().unwrap_or("absent");
        Line(Tone::Quiet, format!("{} = {value}: {}", setting.name, setting.meaning))
    };
    std::iter::once(Line(Tone::Quiet, swap)).chain(host.settings.iter().map(setting)).collect()
}

fn board_line(name: &str, said: Option<Reported<String>>) -> Line {
    Line(Tone::Quiet, format!("{name}: {}", said.map_or_else(|| "not known".to_owned(), |said| said.to_string())))
}
