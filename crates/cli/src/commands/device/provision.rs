//! `vouch device provision`: keys are born, the server enrols them, and the folder is a device.

use std::fs;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use device::ProvisionOptions;
use device::board::plan::Plan as Board;
use device::boot::Pinned;
use device::config::DeviceConfig;
use device::events::Observer;
use device::folder::{Factory, FactoryImage};
use device::limits::LIMITS;
use device::ports::PortMap;
use keys::chunks::{ContentKey, KEY_BYTES};
use keys::keystore::KeystoreSpec;
use keys::profile::Profile;
use release::anchors::Anchors;
use release::bundle::Bundle;
use serde_json::json;
use zeroize::Zeroizing;

use super::{runtime, settings};
use crate::commands::password;
use crate::output::{Output, Tone, paint};

/// Make a folder a device: its keys are born here and the server that the token pins enrols them.
#[derive(Args, Debug)]
pub(crate) struct Provision {
    /// The server's name; its certificate must be for exactly this name.
    #[arg(long, value_name = "NAME")]
    server: String,

    /// The file that holds the enrolment token, or - for standard input.
    #[arg(long, value_name = "FILE|-")]
    token_file: PathBuf,

    /// The folder that becomes the device; made when missing, refused when it holds one already.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The product's model, as central shows it.
    #[arg(long, value_name = "NAME")]
    model: String,

    /// What makes and holds the device's secret keys: a TPM 2.0 (tpm2:device:/dev/tpmrm0;pcrs=0,2,7; the registers are what the
    /// storage is sealed to), a PKCS#11 token (pkcs11:LIBRARY;token=LABEL;pin-file=FILE), or danger-software: files that can be
    /// copied off the disk.
    #[arg(long, value_name = "tpm2:...|pkcs11:...|danger-software")]
    keys: KeystoreSpec,

    /// The file that describes its board; it becomes DIR/board.toml (files that it names are to be put beside it). Storage in a TPM is
    /// sealed to the registers that it names.
    #[arg(long, value_name = "FILE")]
    board: Option<PathBuf>,

    /// `modern` (TLS 1.3, P-256, hybrid post-quantum) or `classic` (TLS 1.2, RSA-2048).
    #[arg(long, default_value = "modern", value_name = "PROFILE")]
    profile: Profile,

    /// Dial this address instead of looking the name up; the certificate must still be for the name.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,

    /// Where the ports of the rule really are, such as 31314=10314,993=10993,443=10443; the order stays.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "MAP")]
    ports: PortMap,

    /// An HTTP CONNECT proxy; there is then no direct attempt and no look-up of the server's name.
    #[arg(long, value_name = "HOST:PORT")]
    proxy: Option<String>,

    /// The proxy's user name (Basic authentication).
    #[arg(long, requires = "proxy", requires = "proxy_password_file", value_name = "NAME")]
    proxy_user: Option<String>,

    /// The file that holds the proxy's password.
    #[arg(long, requires = "proxy_user", value_name = "FILE")]
    proxy_password_file: Option<PathBuf>,

    /// The factory anchors: whose signatures this device demands of its OS images.
    #[arg(long, requires = "image", value_name = "FILE")]
    anchors: Option<PathBuf>,

    /// The release bundle (.vouchos) with the OS image that the device boots. The server gives the image's key and what proves it in the
    /// device's first session, so a roll-out of this release must run in the device's group.
    #[arg(long, requires = "anchors", value_name = "FILE")]
    image: Option<PathBuf>,

    /// For development, with anchors that are danger-l1-only: the file that holds the key which the OS image is encrypted with, 32 hex
    /// digits. --image is then an encrypted image alone, its signed manifest beside it in FILE.manifest, and the server is not asked.
    #[arg(long, requires = "image", value_name = "FILE")]
    content_key_file: Option<PathBuf>,

    /// The device stores nothing after this: it fetches its app at each start, and its settings stay as they are given here.
    #[arg(long)]
    diskless: bool,

    /// A name server to ask, instead of the system's; may be given several times.
    #[arg(long, value_name = "IP[:PORT]", value_parser = name_server)]
    dns: Vec<SocketAddr>,
}

impl Provision {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let token = password::read_secret(&self.token_file)?;
        let (keys, board) = self.keys_on_board()?;
        let options = ProvisionOptions {
            dir: self.dir.clone(),
            config: self.config()?,
            keys,
            factory: Factory { image: self.factory_image()?, diskless: self.diskless, board },
            token,
            limits: LIMITS,
        };
        let (observer, mut events) = Observer::channel(&LIMITS);
        let runtime = runtime()?;
        let provisioned = runtime.block_on(async {
            let printing = async {
                while let Some(event) = events.recv().await {
                    output.say(&paint(Tone::Quiet, &event.to_string()));
                }
            };
            let work = async {
                let result = device::provision(options, &observer).await;
                drop(observer);
                result
            };
            tokio::join!(work, printing).0
        })?;
        let dir = self.dir.display().to_string();
        let next = if self.image.is_some() { "boot" } else { "run" };
        let pin =
            self.image.is_some().then(|| Pinned::read(&self.dir)).transpose()?.map(|pinned| pinned.pin.to_string());
        let option = pin.as_ref().map_or_else(String::new, |pin| format!(" --pin {pin}"));
        output.result(
            &json!({
                "device_id": provisioned.device_id,
                "identity_spki_sha256": provisioned.identity_spki_sha256,
                "dir": dir,
                "boot_pin": pin,
            }),
            &format!(
                "{} device {}\nnext: vouch device {next} --dir {dir}{option}",
                paint(Tone::Good, "enrolled"),
                provisioned.device_id
            ),
        );
        Ok(())
    }

    /// The key back end as the board wants it, and what the board's file holds.
    fn keys_on_board(&self) -> Result<(KeystoreSpec, Option<String>)> {
        let keys = self.keys.clone();
        let Some(file) = &self.board else { return Ok((keys, None)) };
        let (board, text) = Board::at(file, &LIMITS)?;
        let keys = match board.security.pcrs {
            Some(pcrs) => keys.for_board(&pcrs.value).with_context(|| file.display().to_string())?,
            None => keys,
        };
        Ok((keys, Some(text)))
    }

    fn factory_image(&self) -> Result<Option<FactoryImage>> {
        let (Some(anchors), Some(path)) = (&self.anchors, &self.image) else { return Ok(None) };
        let unreadable = |path: &Path| format!("cannot read {}", path.display());
        let read = |path: &Path| fs::read(path).with_context(|| unreadable(path));
        let anchors = Anchors::from_cbor(&read(anchors)?).with_context(|| anchors.display().to_string())?;
        let model = anchors.model();
        ensure!(model == self.model, "the anchors are for the model {model}, this device is to be a {}", self.model);
        let image = fs::File::open(path).with_context(|| unreadable(path))?;
        if let Some(key) = &self.content_key_file {
            let not_a_key = || format!("{} holds no content key: it must be 32 hex digits", key.display());
            let mut content_key = Zeroizing::new([0; KEY_BYTES]);
            const_hex::decode_to_slice(&*password::read_secret(key)?, &mut *content_key).with_context(not_a_key)?;
            let manifest = read(&path.with_added_extension("manifest"))?;
            let length = image.metadata().with_context(|| unreadable(path))?.len();
            let content_key = Some(ContentKey::new(content_key));
            return Ok(Some(FactoryImage { anchors, manifest, image, length, content_key }));
        }
        self.bundled(anchors, image).with_context(|| path.display().to_string()).map(Some)
    }

    /// The image for this device's model out of a bundle.
    fn bundled(&self, anchors: Anchors, mut file: fs::File) -> Result<FactoryImage> {
        let model = anchors.model();
        let bundle = Bundle::read(&mut BufReader::new(&file))?;
        let place = bundle.find(model).and_then(|at| Some((bundle.images.get(at)?, bundle.place(at)?)));
        let (image, (begin, length)) =
            place.with_context(|| format!("the release has no image for the model {model}"))?;
        file.seek(SeekFrom::Start(begin))?;
        let manifest = image.signed_manifest.clone();
        Ok(FactoryImage { anchors, manifest, image: file, length, content_key: None })
    }

    fn config(&self) -> Result<DeviceConfig> {
        let credentials = self.proxy_user.as_deref().zip(self.proxy_password_file.as_deref());
        let proxy =
            self.proxy.as_deref().map(|text| settings::parse_proxy("--proxy", text, credentials)).transpose()?;
        Ok(DeviceConfig {
            server: self.server.clone(),
            address: self.address,
            ports: self.ports,
            proxy,
            dns: self.dns.clone(),
            model: self.model.clone(),
            profile: self.profile,
        })
    }
}

fn name_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse());
    address.map_err(|_| format!("{text:?} is no address of a name server: write 192.0.2.53 or 192.0.2.53:53"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_may_have_a_port() {
        assert_eq!(name_server("192.0.2.53"), Ok("192.0.2.53:53".parse().unwrap()));
        assert_eq!(name_server("[2001:db8::1]:5353"), Ok("[2001:db8::1]:5353".parse().unwrap()));
        assert!(name_server("dns.example").is_err());
    }
}
