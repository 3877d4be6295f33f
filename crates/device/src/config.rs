//! What a device is told about the network and itself: the server, the ports, the proxy, the name servers.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use keys::profile::Profile;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::connect::dns::known_addresses;
use crate::connect::ports::PortMap;

/// How a device finds its server and what it says about itself.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// The server's name; its certificate must be for exactly this name.
    pub server: String,
    /// Where to dial instead of looking the name up. The certificate is still checked for the name.
    pub address: Option<IpAddr>,
    /// Which port stands for each port of the rule.
    pub ports: PortMap,
    /// The HTTP proxy; with one there is no direct attempt and no look-up of the server's name.
    pub proxy: Option<ProxyConfig>,
    /// The name servers to ask; when empty, those of the system.
    pub dns: Vec<SocketAddr>,
    /// The device's model, as the server shows it.
    pub model: String,
    /// The TLS profile.
    pub profile: Profile,
}

/// An HTTP CONNECT proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Its name or address (IPv6 without brackets).
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User name and password for Basic authentication (RFC 7617).
    pub credentials: Option<ProxyCredentials>,
}

/// What a proxy wants to know. The password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// The user name; RFC 7617 allows no colon in it.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

/// What in a configuration cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The server's name is no host name or address.
    #[error("`{0}` is no server name; give a host name such as iot.example.com, or an IP address")]
    Server(String),
    /// The proxy's host is no host name or address, or too long.
    #[error("`{0}` is no proxy host; give a host name or an IP address of at most 255 characters")]
    ProxyHost(String),
    /// The proxy's port is zero.
    #[error("the proxy's port is 0; give the port on which the proxy listens")]
    ProxyPort,
    /// The proxy's user name has a colon or a control character, or is too long.
    #[error("the proxy's user name may have no colon, no control character and at most 255 bytes")]
    ProxyUser,
    /// The proxy's password has a control character or is too long.
    #[error("the proxy's password may have no control character and at most 255 bytes")]
    ProxyPassword,
    /// The model is empty or too long.
    #[error("the model must have 1 to {} bytes of printable characters", protocol::limits::LIMITS.label)]
    Model,
    /// The profile is unknown.
    #[error("`{0}` is no TLS profile; it is classic or modern")]
    Profile(String),
}

impl DeviceConfig {
    /// The host that is dialled, by name or address: the proxy, where there is one.
    pub(crate) fn dialled_host(&self) -> String {
        match (&self.proxy, self.address) {
            (Some(proxy), _) => proxy.host.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => self.server.clone(),
        }
    }

    /// Whether name servers are asked for the host that is dialled.
    pub(crate) fn looks_up_names(&self) -> bool {
        known_addresses(&self.dialled_host()).is_none()
    }

    /// Checks what can be checked before anything is dialled.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !is_host(&self.server) {
            return Err(ConfigError::Server(self.server.clone()));
        }
        // The server counts bytes.
        let model_fits = (1..=protocol::limits::LIMITS.label).contains(&self.model.len());
        if !model_fits || self.model.chars().any(char::is_control) {
            return Err(ConfigError::Model);
        }
        self.proxy.as_ref().map_or(Ok(()), ProxyConfig::check)
    }
}

impl ProxyConfig {
    fn check(&self) -> Result<(), ConfigError> {
        if !is_host(&self.host) {
            return Err(ConfigError::ProxyHost(self.host.clone()));
        }
        if self.port == 0 {
            return Err(ConfigError::ProxyPort);
        }
        let Some(ProxyCredentials { user, password }) = &self.credentials else {
            return Ok(());
        };
        let bad = |text: &str| text.len() > 255 || text.chars().any(char::is_control);
        if bad(user) || user.contains(':') {
            return Err(ConfigError::ProxyUser);
        }
        if bad(password) {
            return Err(ConfigError::ProxyPassword);
        }
        Ok(())
    }
}

/// Whether a text can stand as a host in CONNECT, in a certificate and in a DNS question.
/// Nothing that could end a header line or start another one passes.
fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.len() <= 253 && text.split('.').all(label_fits)
}

impl fmt::Debug for ProxyCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyCredentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The configuration as the vault keeps it; the proxy and its password are a record of their own.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigRecord {
    server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    ports: PortMap,
    #[serde(default)]
    dns: Vec<SocketAddr>,
    model: String,
    profile: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) diskless: bool,
}

impl ConfigRecord {
    pub(crate) fn of(config: &DeviceConfig) -> ConfigRecord {
        ConfigRecord {
            server: config.server.clone(),
            address: config.address,
            ports: config.ports,
            dns: config.dns.clone(),
            model: config.model.clone(),
            profile: config.profile.to_string(),
            diskless: false,
        }
    }

    /// As the factory writes it; a device never becomes diskless later.
    #[cfg(any(feature = "parent", test))]
    pub(crate) fn of_factory(config: &DeviceConfig, diskless: bool) -> ConfigRecord {
        ConfigRecord { diskless, ..ConfigRecord::of(config) }
    }

    /// The checked configuration.
    pub(crate) fn with_proxy(self, proxy: Option<ProxyConfig>) -> Result<DeviceConfig, ConfigError> {
        let profile = Profile::from_str(&self.profile).map_err(|_| ConfigError::Profile(self.profile))?;
        let config = DeviceConfig {
            server: self.server,
            address: self.address,
            ports: self.ports,
            proxy,
            dns: self.dns,
            model: self.model,
            profile,
        };
        config.check()?;
        Ok(config)
    }
}

/// Room for the longest proxy record, so that no copy of a password stays behind where a text grew.
const PROXY_RECORD_BYTES: usize = 1024;

impl ProxyConfig {
    /// The lines of the record: host, port and, where there are any, user name and password. No part can hold a line end.
    pub(crate) fn to_record(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(PROXY_RECORD_BYTES));
        // Writing to a String cannot fail.
        let _ = write!(text, "{}\n{}", self.host, self.port);
        if let Some(ProxyCredentials { user, password }) = &self.credentials {
            for part in ["\n", user, "\n", password] {
                text.push_str(part);
            }
        }
        text
    }

    /// Reads the lines of the record. The parts are checked together with the rest of the configuration.
    pub(crate) fn from_record(bytes: &[u8]) -> Result<ProxyConfig, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
        let mut lines = text.split('\n');
        let (host, port) = lines.next().zip(lines.next()).ok_or("neither host nor port")?;
        let port = port.parse().map_err(|_| "no port")?;
        let credentials = match (lines.next(), lines.next(), lines.next()) {
            (None, None, None) => None,
            (Some(user), Some(password), None) => {
                Some(ProxyCredentials { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) })
            }
            _ => return Err("neither two nor four lines"),
        };
        Ok(ProxyConfig { host: host.to_owned(), port, credentials })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn config() -> DeviceConfig {
        DeviceConfig {
            server: "iot.example.com".into(),
            address: None,
            ports: PortMap::default(),
            proxy: Some(ProxyConfig {
                host: "proxy.example".into(),
                port: 3128,
                credentials: Some(ProxyCredentials { user: "u".into(), password: Zeroizing::new("geheim".into()) }),
            }),
            dns: vec!["192.0.2.1:53".parse().unwrap()],
            model: "probe-1".into(),
            profile: Profile::Modern,
        }
    }

    #[test]
    fn the_password_is_in_no_text_for_people() {
        let text = serde_json::to_string(&ConfigRecord::of(&config())).unwrap();
        assert!(!text.contains("geheim"), "{text}");
        assert!(!format!("{:?}", config()).contains("geheim"));
    }

    #[test]
    fn a_configuration_comes_back_from_its_records() {
        let config = config();
        let record: ConfigRecord =
            serde_json::from_slice(&serde_json::to_vec(&ConfigRecord::of(&config)).unwrap()).unwrap();
        let proxy = config.proxy.as_ref().unwrap().to_record();
        let back = record.with_proxy(Some(ProxyConfig::from_record(proxy.as_bytes()).unwrap())).unwrap();
        assert_eq!((back.server, back.dns, back.proxy), (config.server, config.dns, config.proxy));
    }

    #[test]
    fn a_proxy_record_has_two_lines_or_four() {
        let plain = ProxyConfig { host: "2001:db8::1".into(), port: 3128, credentials: None };
        assert_eq!(ProxyConfig::from_record(plain.to_record().as_bytes()).unwrap(), plain);
        let empty = ProxyCredentials { user: String::new(), password: Zeroizing::new(String::new()) };
        let empty = ProxyConfig { credentials: Some(empty), ..plain };
        assert_eq!(ProxyConfig::from_record(empty.to_record().as_bytes()).unwrap(), empty);
        for bad in
            [&b""[..], b"host", b"host\n", b"host\n65536", b"host\n1\nuser", b"host\n1\nuser\npass\n", b"\xff\n1"]
        {
            assert!(ProxyConfig::from_record(bad).is_err(), "{bad:?}");
        }
        let longest = "a".repeat(255);
        let longest = ProxyConfig {
            host: longest.clone(),
            port: 65535,
            credentials: Some(ProxyCredentials { user: longest.clone(), password: Zeroizing::new(longest) }),
        };
        let text = longest.to_record();
        assert!(text.len() <= PROXY_RECORD_BYTES && text.capacity() == PROXY_RECORD_BYTES);
    }

    #[test]
    fn a_host_cannot_smuggle_a_header() {
        for host in ["a\r\nX: y", "a b", "", "a..b", "[::1]", "a/b", "a:80"] {
            let mut bad = config();
            bad.server = host.into();
            assert_eq!(bad.check(), Err(ConfigError::Server(host.into())));
            let mut bad = config();
            bad.proxy.as_mut().unwrap().host = host.into();
            assert_eq!(bad.check(), Err(ConfigError::ProxyHost(host.into())));
        }
        for host in ["localhost", "192.0.2.7", "2001:db8::1", "xn--bcher-kva.example", &"a".repeat(63)] {
            let mut good = config();
            good.server = host.into();
            assert_eq!(good.check(), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_model_is_as_long_as_the_server_takes_it() {
        let with = |model: String| DeviceConfig { model, ..config() }.check();
        assert_eq!(with("ä".repeat(32)), Ok(()));
        for bad in [String::new(), "ä".repeat(32) + "a", "a\n".into()] {
            assert_eq!(with(bad.clone()), Err(ConfigError::Model), "{bad}");
        }
    }

    #[test]
    fn credentials_stay_inside_their_bounds() {
        let with = |user: &str, password: &str| {
            let mut config = config();
            config.proxy.as_mut().unwrap().credentials =
                Some(ProxyCredentials { user: user.into(), password: Zeroizing::new(password.into()) });
            config.check()
        };
        assert_eq!(with("a:b", ""), Err(ConfigError::ProxyUser));
        assert_eq!(with(&"a".repeat(256), ""), Err(ConfigError::ProxyUser));
        assert_eq!(with("a", "b\n"), Err(ConfigError::ProxyPassword));
        assert_eq!(with(&"a".repeat(255), &"b:".repeat(127)), Ok(()));
    }
}
