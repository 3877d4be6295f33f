//! `vouch device`: provision and run one here, list and revoke those that central knows.

mod boot;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use apphost::board::PINS;
use clap::{Args, Subcommand};
use device::board::levels::{self, Setting};
use device::config::DeviceConfig;
use device::events::Observer;
use device::limits::{LIMITS, Limits};
use device::parent::ParentLink;
use device::ports::PortMap;
use device::{KeyBackEnd, ProvisionOptions, RunOptions};
use keys::profile::Profile;
use serde_json::{Value, json};

use super::password;
use crate::central::{Central, LoginFile};
use crate::output::{Output, Tone, paint};

/// Provision and run a device on this machine; list, restart and revoke those that central knows.
#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    Provision(Provision),
    Run(Run),
    Pin(Pin),
    Boot(boot::Boot),
    Network(settings::Network),
    Proxy(settings::Proxy),
    Diary(settings::ShowDiary),
    List(List),
    Restart(Restart),
    Revoke(Revoke),
}

impl Device {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Device::Provision(command) => command.run(output),
            Device::Run(command) => command.run(output),
            Device::Pin(command) => command.run(output),
            Device::Boot(command) => command.run(output),
            Device::Network(command) => command.run(output),
            Device::Proxy(command) => command.run(output),
            Device::Diary(command) => command.run(output),
            Device::List(command) => command.run(output),
            Device::Restart(command) => command.run(output),
            Device::Revoke(command) => command.run(output),
        }
    }
}

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

    /// What makes and holds the device's secret keys. There is `danger-software`: files that can be copied off the disk.
    #[arg(long, value_name = "danger-software")]
    keys: KeyBackEnd,

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

    /// A name server to ask, instead of the system's; may be given several times.
    #[arg(long, value_name = "IP[:PORT]", value_parser = name_server)]
    dns: Vec<SocketAddr>,
}

impl Provision {
    fn run(self, output: &Output) -> Result<()> {
        let token = password::read_secret(&self.token_file)?;
        let options =
            ProvisionOptions { dir: self.dir.clone(), config: self.config()?, keys: self.keys, token, limits: LIMITS };
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
        output.result(
            &json!({ "device_id": provisioned.device_id, "identity_spki_sha256": provisioned.identity_spki_sha256, "dir": dir }),
            &format!("{} device {}\nnext: vouch device run --dir {dir}", paint(Tone::Good, "enrolled"), provisioned.device_id),
        );
        Ok(())
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

/// Run the device in a folder: connect, prove, fetch the app, run it; until Ctrl-C.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The folder that `vouch device provision` made.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The longest pause between two rounds of attempts to reach the server, in seconds.
    #[arg(long, default_value_t = LIMITS.backoff_most.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    retry_max: u64,

    /// Standard input is the link to `vouch device boot`.
    #[arg(long, hide = true)]
    below_parent: bool,
}

impl Run {
    fn run(self, output: &Output) -> Result<()> {
        let limits = Limits { backoff_most: Duration::from_secs(self.retry_max), ..LIMITS };
        let (observer, mut events) = Observer::channel(&limits);
        let runtime = runtime()?;
        runtime.block_on(async {
            let printing = async {
                while let Some(event) = events.recv().await {
                    match serde_json::to_value(&event) {
                        Ok(value) if output.is_json() => output.json_line(&value),
                        _ => output.say(&event.to_string()),
                    }
                }
            };
            let parent = self.below_parent.then(|| ParentLink::from_standard_input(&LIMITS)).transpose()?;
            let options = RunOptions { dir: self.dir, parent, limits };
            let work = device::run(options, super::stop_signal(), observer);
            anyhow::Ok(tokio::join!(work, printing).0?)
        })
    }
}

/// Set an input of the simulated board, also while the device runs: 23.5, or `auto` for what the board's file says.
#[derive(Args, Debug)]
pub(crate) struct Pin {
    /// The device's folder.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// The pin, such as pin1.
    #[arg(value_name = "PIN")]
    pin: String,

    /// The value in the pin's unit (volts, unless board.toml says otherwise), or `auto`.
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: String,
}

impl Pin {
    fn run(self, output: &Output) -> Result<()> {
        let value = match self.value.as_str() {
            "auto" => None,
            number => {
                let value = number.parse().ok().filter(|value: &f32| value.is_finite());
                Some(value.ok_or_else(|| anyhow!("{number:?} is no value: write a number such as 23.5, or auto"))?)
            }
        };
        if !PINS.contains(&self.pin.as_str()) {
            bail!("there is no {:?}; there are {}", self.pin, PINS.join(", "));
        }
        if !self.dir.join(device::folder::VAULT_FOLDER).exists() {
            bail!("{} is no device: make one with `vouch device provision`", self.dir.display());
        }
        let setting = Setting { pin: self.pin, value };
        levels::set(&self.dir, &setting).with_context(|| format!("cannot write to {}", self.dir.display()))?;
        let shown = value.map_or_else(|| "auto".to_owned(), |value| value.to_string());
        output.result(&json!({ "pin": setting.pin, "value": value }), &format!("{} {shown}", setting.pin));
        Ok(())
    }
}

/// List the devices that central knows.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    file: LoginFile,
}

impl List {
    fn run(self, output: &Output) -> Result<()> {
        let devices = Central::open(&self.file)?.list("/devices")?;
        if output.is_json() {
            output.json_line(&json!(devices));
            return Ok(());
        }
        if devices.is_empty() {
            output.say("no device yet: make a token with `vouch enrolment-token`");
            return Ok(());
        }
        output.say(&paint(Tone::Strong, &format!("{:<16}  {:<8}  {:<20}  AGENT", "DEVICE", "STATE", "MODEL")));
        for device in &devices {
            output.say(&row(device));
        }
        Ok(())
    }
}

fn row(device: &Value) -> String {
    let attributes = &device["attributes"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let state = match (attributes["revoked"].as_bool(), attributes["device_online"].as_bool()) {
        (Some(true), _) => paint(Tone::Bad, &format!("{:<8}", "revoked")),
        (_, Some(true)) => paint(Tone::Good, &format!("{:<8}", "online")),
        _ => paint(Tone::Quiet, &format!("{:<8}", "offline")),
    };
    format!(
        "{:<16}  {state}  {:<20}  {}",
        text(&device["id"]),
        text(&attributes["imp_type"]),
        text(&attributes["agent_url"])
    )
}

/// Restart a device's app and agent on the current deployment.
#[derive(Args, Debug)]
pub(crate) struct Restart {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Restart {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let id = resolve(&mut central, &self.device)?;
        central.post(&format!("/devices/{id}/restart"), &Value::Null)?;
        output.result(&json!({ "device": id, "restarted": true }), &format!("device {id} restarts"));
        Ok(())
    }
}

/// Refuse a device from now on and end its live session.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Revoke {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let id = resolve(&mut central, &self.device)?;
        central.post(&format!("/devices/{id}/revoke"), &Value::Null)?;
        output.result(
            &json!({ "device": id, "revoked": true }),
            &format!("device {id} is revoked: its session has ended and it is refused from now on"),
        );
        Ok(())
    }
}

/// Finds a device by id, agent id or name.
pub(crate) fn resolve(central: &mut Central, wanted: &str) -> Result<String> {
    let devices = central.list("/devices")?;
    let matches = |device: &&Value| {
        device["id"] == wanted || device["attributes"]["agent_id"] == wanted || device["attributes"]["name"] == wanted
    };
    let found: Vec<&Value> = devices.iter().filter(matches).collect();
    match found.as_slice() {
        [device] => {
            device["id"].as_str().map(str::to_owned).ok_or_else(|| anyhow!("central sent a device without an id"))
        }
        [] => bail!("there is no device {wanted:?}: `vouch device list` shows all"),
        _ => bail!("several devices are called {wanted:?}: give the id"),
    }
}

fn name_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse());
    address.map_err(|_| format!("{text:?} is no address of a name server: write 192.0.2.53 or 192.0.2.53:53"))
}

/// A device does little at once: one thread drives it.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
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

    #[test]
    fn a_revoked_device_is_not_shown_as_online() {
        let device = json!({ "id": "0011223344556677", "attributes": { "revoked": true, "device_online": true } });
        assert!(row(&device).contains("revoked"));
    }
}
