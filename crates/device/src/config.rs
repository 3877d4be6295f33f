//! What a device is told about the network and itself: the server, the ports, the proxy, the name servers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use keys::profile::Profile;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

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

/// What a proxy wants to know. The password is never shown and lives in a file of its own.
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
    #[error("the model must have 1 to 64 printable characters")]
    Model,
    /// The profile is unknown.
    #[error("`{0}` is no TLS profile; it is classic or modern")]
    Profile(String),
}

impl DeviceConfig {
    /// Checks what can be checked before anything is dialled.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !is_host(&self.server) {
            return Err(ConfigError::Server(self.server.clone()));
        }
        let model_fits = (1..=64).contains(&self.model.chars().count());
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

/// The configuration as it stands in its file: no secrets, everything spelled out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    ports: PortMap,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<ProxyInFile>,
    #[serde(default)]
    dns: Vec<SocketAddr>,
    model: String,
    profile: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyInFile {
    host: String,
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

impl ConfigFile {
    pub(crate) fn of(config: &DeviceConfig) -> ConfigFile {
        ConfigFile {
            server: config.server.clone(),
            address: config.address,
            ports: config.ports,
            proxy: config.proxy.as_ref().map(|proxy| ProxyInFile {
                host: proxy.host.clone(),
                port: proxy.port,
                user: proxy.credentials.as_ref().map(|credentials| credentials.user.clone()),
            }),
            dns: config.dns.clone(),
            model: config.model.clone(),
            profile: config.profile.to_string(),
        }
    }

    /// Whether a password belongs to this configuration.
    pub(crate) fn wants_password(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.user.is_some())
    }

    /// The checked configuration, with the password from its own file.
    pub(crate) fn with_password(self, password: Zeroizing<String>) -> Result<DeviceConfig, ConfigError> {
        let profile = Profile::from_str(&self.profile).map_err(|_| ConfigError::Profile(self.profile))?;
        let proxy = self.proxy.map(|proxy| ProxyConfig {
            host: proxy.host,
            port: proxy.port,
            credentials: proxy.user.map(|user| ProxyCredentials { user, password }),
        });
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
    fn the_password_is_neither_in_the_file_nor_in_debug() {
        let text = serde_json::to_string(&ConfigFile::of(&config())).unwrap();
        assert!(!text.contains("geheim"), "{text}");
        assert!(!format!("{:?}", config()).contains("geheim"));
        let file: ConfigFile = serde_json::from_str(&text).unwrap();
        assert!(file.wants_password());
        let back = file.with_password(Zeroizing::new("geheim".into())).unwrap();
        assert_eq!(back.proxy, config().proxy);
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
