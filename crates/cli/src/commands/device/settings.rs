//! `vouch device network|proxy|diary`: what a device on this machine has stored about its ways to the server.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use device::config::{DeviceConfig, ProxyConfig, ProxyCredentials};
use device::connect::diary::Diary;
use device::folder::Folder;
use device::limits::LIMITS;
use device::network::{NetworkConfig, StaticNetwork, StoredNetwork};
use serde_json::json;

use crate::commands::password;
use crate::output::{Output, Tone, paint};

/// Show a stopped device's network configuration, or store one to be tried at its next start.
///
/// A new one that does not reach the server within 10 minutes, or in three starts, is undone; the diary says why.
/// A static one needs `vouch device boot`, which may change the network.
#[derive(Args, Debug)]
pub(crate) struct Network {
    /// The device's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// A static address with its netmask, such as 192.0.2.7/24, 192.0.2.7/255.255.255.0 or 2001:db8::7/64.
    #[arg(long, value_name = "ADDRESS/MASK", requires = "gateway", requires = "dns", conflicts_with = "by_host")]
    r#static: Option<String>,

    /// The router to everywhere else.
    #[arg(long, value_name = "IP", requires = "static")]
    gateway: Option<IpAddr>,

    /// A name server; may be given twice.
    #[arg(long, value_name = "IP", requires = "static")]
    dns: Vec<IpAddr>,

    /// Take the host's addresses, from DHCP or otherwise.
    #[arg(long)]
    by_host: bool,
}

impl Network {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let Some(config) = self.config()? else { return show(&Folder::peek(&self.dir)?, output) };
        let store = Folder::open(&self.dir)?.store;
        StoredNetwork::try_next(&store, config, &LIMITS)?;
        show(&store, output)
    }

    fn config(&self) -> Result<Option<NetworkConfig>> {
        if self.by_host {
            return Ok(Some(NetworkConfig::ByHost));
        }
        let Some((text, gateway)) = self.r#static.as_deref().zip(self.gateway) else { return Ok(None) };
        let (address, prefix) = address_and_prefix(text)?;
        let network = StaticNetwork { address, prefix, gateway, dns: self.dns.clone() };
        network.check()?;
        Ok(Some(NetworkConfig::Static(network)))
    }
}

fn show(store: &device::store::Store, output: &Output) -> Result<()> {
    let stored = StoredNetwork::read(store)?;
    let mut text = format!("network: {}", describe(&stored.confirmed));
    if let Some(trial) = &stored.trial {
        text = format!("{text}\nto be tried at the next start: {}", describe(&trial.config));
    }
    output.result(&json!(stored), &text);
    Ok(())
}

fn describe(config: &NetworkConfig) -> String {
    match config {
        NetworkConfig::ByHost => "the host's".to_owned(),
        NetworkConfig::Static(StaticNetwork { address, prefix, gateway, dns }) => {
            let dns: Vec<String> = dns.iter().map(ToString::to_string).collect();
            format!("static {address}/{prefix}, gateway {gateway}, name servers {}", dns.join(" and "))
        }
    }
}

fn address_and_prefix(text: &str) -> Result<(IpAddr, u8)> {
    let wrong = || anyhow!("--static {text}: write ADDRESS/MASK, such as 192.0.2.7/24 or 192.0.2.7/255.255.255.0");
    let (address, mask) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    if let (IpAddr::V4(_), Ok(mask)) = (address, mask.parse::<Ipv4Addr>()) {
        let ones = mask.to_bits().leading_ones();
        if mask.to_bits().count_ones() != ones {
            bail!("--static {text}: {mask} is no netmask; its ones must come before its zeros");
        }
        return Ok((address, u8::try_from(ones)?));
    }
    Ok((address, mask.parse().map_err(|_| wrong())?))
}

/// Show, set or clear the HTTP CONNECT proxy of a stopped device.
#[derive(Args, Debug)]
pub(crate) struct Proxy {
    /// The device's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The proxy from now on.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "clear")]
    set: Option<String>,

    /// The proxy's user name (Basic authentication).
    #[arg(long, requires = "set", requires = "password_file", value_name = "NAME")]
    user: Option<String>,

    /// The file that holds the proxy's password, or - for standard input.
    #[arg(long, requires = "user", value_name = "FILE|-")]
    password_file: Option<PathBuf>,

    /// No proxy from now on.
    #[arg(long)]
    clear: bool,
}

impl Proxy {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        if self.set.is_none() && !self.clear {
            let config = Folder::peek(&self.dir)?.config()?;
            show_proxy(&config, output);
            return Ok(());
        }
        let credentials = self.user.as_deref().zip(self.password_file.as_deref());
        let proxy = self.set.as_deref().map(|text| parse_proxy("--set", text, credentials)).transpose()?;
        let mut folder = Folder::open(&self.dir)?;
        let config = DeviceConfig { proxy, ..folder.config.clone() };
        folder.store_config(config)?;
        show_proxy(&folder.config, output);
        Ok(())
    }
}

fn show_proxy(config: &DeviceConfig, output: &Output) {
    let Some(ProxyConfig { host, port, credentials }) = &config.proxy else {
        return output.result(&json!({ "proxy": null }), "no proxy");
    };
    let user = credentials.as_ref().map(|credentials| credentials.user.as_str());
    let shown = json!({ "proxy": { "host": host, "port": port, "user": user } });
    let user = user.map(|user| format!(", user {user}")).unwrap_or_default();
    output.result(&shown, &format!("proxy {host} port {port}{user}"));
}

/// Reads HOST:PORT, and the password of that user from its file.
pub(super) fn parse_proxy(option: &str, text: &str, credentials: Option<(&str, &Path)>) -> Result<ProxyConfig> {
    // A password that was written in the wrong place is not repeated.
    ensure!(!text.contains('@'), "{option} takes HOST:PORT; the user name and the password have options of their own");
    let (host, port) = text.rsplit_once(':').ok_or_else(|| anyhow!("{option} {text}: write HOST:PORT"))?;
    let port = port.parse().with_context(|| format!("{option} {text}: {port:?} is no port"))?;
    let credentials = match credentials {
        Some((user, file)) => Some(ProxyCredentials { user: user.to_owned(), password: password::read_secret(file)? }),
        None => None,
    };
    Ok(ProxyConfig { host: host.trim_matches(['[', ']']).to_owned(), port, credentials })
}

/// Show a device's last attempts to reach its server, also while it runs.
#[derive(Args, Debug)]
pub(crate) struct ShowDiary {
    /// The device's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

impl ShowDiary {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let attempts = Diary::stored(&Folder::peek(&self.dir)?)?;
        if attempts.is_empty() && !output.is_json() {
            output.say("no attempt yet: start the device with `vouch device run`");
        }
        for attempt in attempts {
            if output.is_json() {
                output.json_line(&json!(attempt));
                continue;
            }
            let at = jiff::Timestamp::from_millisecond(attempt.unix_ms).map(|at| at.to_string()).unwrap_or_default();
            output.say(&format!("{}  {attempt}", paint(Tone::Quiet, &at)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_wrong_place_is_not_repeated() {
        for text in ["me:secret@proxy.example:3128", "http://me:secret@proxy.example"] {
            let error = parse_proxy("--proxy", text, None).unwrap_err();
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
        let proxy = parse_proxy("--proxy", "[2001:db8::1]:3128", None).unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("2001:db8::1", 3128));
    }

    #[test]
    fn a_netmask_may_be_written_either_way() {
        let address = "192.0.2.7".parse().unwrap();
        assert_eq!(address_and_prefix("192.0.2.7/24").unwrap(), (address, 24));
        assert_eq!(address_and_prefix("192.0.2.7/255.255.255.0").unwrap(), (address, 24));
        assert_eq!(address_and_prefix("2001:db8::7/64").unwrap(), ("2001:db8::7".parse().unwrap(), 64));
        for text in ["192.0.2.7", "192.0.2.7/", "192.0.2.7/255.0.255.0", "x/24", "2001:db8::7/255.255.255.0", "::1/-1"]
        {
            assert!(address_and_prefix(text).is_err(), "{text}");
        }
    }
}
