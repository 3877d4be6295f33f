//! One attempt to reach the server: every step it took and where it ended, as a record and as a plain sentence.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use keys::time::Now;
use protocol::report::{DiaryEntry, DiaryStage, SeenCertificate};
use serde::{Deserialize, Serialize};

use crate::events::{Sha256Hex, TlsFacts};

/// What a connection is for; each has its own ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionPurpose {
    /// A session of an enrolled device.
    Session,
    /// The enrolment of a device that has a token.
    Enrolment,
}

/// One attempt, from the look-up of a name to the answer to the challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began: milliseconds since 1970 by the device's clock.
    pub unix_ms: i64,
    /// How long it took until the result was known, in milliseconds.
    pub took_ms: u64,
    /// What the connection was for.
    pub purpose: ConnectionPurpose,
    /// The server's name as configured.
    pub server: String,
    /// The look-up that this attempt rests on (of the server's or of the proxy's name); absent when none was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<LookupReport>,
    /// The proxy and what it answered; absent when none is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyReport>,
    /// The TCP end that was dialled (the proxy's, when there is one); absent when no address was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The port of the rule; absent when it came to no port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_port: Option<u16>,
    /// The port really used for it; absent when it came to no port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The server certificate that was seen, also when it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateReport>,
    /// What TLS agreed on; absent when the handshake did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFacts>,
    /// Where it ended.
    pub result: AttemptResult,
}

/// What was asked of the name servers and what came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupReport {
    /// The name.
    pub name: String,
    /// The name servers that were asked, in order.
    pub servers: Vec<SocketAddr>,
    /// The addresses found.
    pub addresses: Vec<IpAddr>,
    /// Why there is none, or why a name server was given up.
    pub failures: Vec<String>,
}

/// The proxy and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyReport {
    /// The proxy's name or address.
    pub host: String,
    /// The proxy's port.
    pub port: u16,
    /// The HTTP status of its answer to CONNECT; absent when none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether a user name and password were offered.
    pub credentials: bool,
}

/// A server certificate as it was seen on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// Whose it says it is.
    pub subject: String,
    /// Who it says made it.
    pub issuer: String,
    /// SHA-256 over its public key (SubjectPublicKeyInfo, DER).
    pub spki_sha256: Sha256Hex,
}

/// Where an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum AttemptResult {
    /// TLS and the challenge went well and the session is open.
    Welcomed,
    /// TLS and the enrolment went well.
    Enrolled,
    /// Something about this device's own network configuration.
    Network {
        /// What happened to it.
        why: String,
    },
    /// No address was found for the name of the server or of the proxy.
    NameNotFound {
        /// The name that was looked up.
        name: String,
        /// Why.
        why: String,
    },
    /// Nothing answered on the TCP port in time.
    TcpNoAnswer {
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// The TCP port was refused.
    TcpRefused,
    /// No way to the address, or another failure of the network.
    TcpFailed {
        /// What the operating system said.
        why: String,
    },
    /// The proxy wants a user name and password, or others (407).
    ProxyWantsCredentials,
    /// The proxy answered something else than 200.
    ProxyRefused {
        /// Its HTTP status.
        status: u16,
    },
    /// What the proxy answered is no HTTP, or too long.
    ProxyNotHttp {
        /// What is wrong with it.
        why: String,
    },
    /// The proxy took the connection and did not answer in time.
    ProxySilent {
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// The proxy closed the connection before it had answered.
    ProxyClosed,
    /// Bytes came through the proxy before we said anything; no TLS server does that.
    ProxyTalksFirst,
    /// The TLS handshake did not end in time.
    TlsNoAnswer {
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// The other end ended the handshake with an alert.
    TlsAlert {
        /// The alert's name (RFC 8446, section 6).
        alert: String,
    },
    /// The certificate is not from this server's operator, or not valid now, or for another name.
    TlsCertificate {
        /// What is wrong with it.
        why: String,
    },
    /// A web page came where TLS was expected.
    HttpAnswered {
        /// Its HTTP status.
        status: u16,
        /// Where it leads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
    },
    /// The handshake failed in another way.
    TlsFailed {
        /// What failed.
        why: String,
    },
    /// The server refused this device.
    Refused {
        /// The server's reason.
        reason: String,
    },
    /// The connection ended before the server had accepted this device.
    LoginBroken {
        /// How it ended.
        why: String,
    },
}

impl Attempt {
    /// Closes the attempt with its result. Until then `took_ms` holds the monotonic time of its beginning.
    pub(crate) fn ended(mut self, result: AttemptResult, now: Now) -> Attempt {
        self.took_ms = now.mono_ms.saturating_sub(self.took_ms);
        self.result = result;
        self
    }

    /// The name server that gave the address that was dialled.
    fn answering_name_server(&self) -> Option<SocketAddr> {
        // They are asked one after the other until one gives an address.
        self.lookup.as_ref().filter(|lookup| !lookup.addresses.is_empty())?.servers.last().copied()
    }

    /// The attempt as the server is told of it.
    pub fn to_entry(&self) -> DiaryEntry {
        DiaryEntry {
            unix_ms: self.unix_ms,
            took_ms: u32::try_from(self.took_ms).unwrap_or(u32::MAX),
            stage: self.result.stage(),
            outcome: self.to_string(),
            address: self.address.map(|address| address.to_string()),
            rule_port: self.rule_port,
            port: self.port,
            certificate: self.certificate.as_ref().map(|seen| SeenCertificate {
                subject: seen.subject.clone(),
                issuer: seen.issuer.clone(),
                spki_sha256: seen.spki_sha256.0,
            }),
        }
        .cut_to_bounds()
    }
}

impl AttemptResult {
    fn stage(&self) -> DiaryStage {
        match self {
            AttemptResult::Welcomed | AttemptResult::Enrolled => DiaryStage::Open,
            AttemptResult::NameNotFound { .. } => DiaryStage::Name,
            AttemptResult::Network { .. }
            | AttemptResult::TcpNoAnswer { .. }
            | AttemptResult::TcpRefused
            | AttemptResult::TcpFailed { .. } => DiaryStage::Tcp,
            AttemptResult::ProxyWantsCredentials
            | AttemptResult::ProxyRefused { .. }
            | AttemptResult::ProxyNotHttp { .. }
            | AttemptResult::ProxySilent { .. }
            | AttemptResult::ProxyClosed
            | AttemptResult::ProxyTalksFirst => DiaryStage::Proxy,
            AttemptResult::TlsNoAnswer { .. }
            | AttemptResult::TlsAlert { .. }
            | AttemptResult::TlsCertificate { .. }
            | AttemptResult::HttpAnswered { .. }
            | AttemptResult::TlsFailed { .. } => DiaryStage::Tls,
            AttemptResult::Refused { .. } | AttemptResult::LoginBroken { .. } => DiaryStage::Login,
        }
    }

    /// Whether nothing at all answered on the TCP port, so that it gets a shorter time-out next time.
    pub fn is_silence(&self) -> bool {
        matches!(self, AttemptResult::TcpNoAnswer { .. })
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rule_port, self.port) {
            (Some(rule), Some(port)) if rule != port => write!(f, "port {rule} (here {port}): ")?,
            (Some(rule), _) => write!(f, "port {rule}: ")?,
            _ => {}
        }
        write!(f, "{}", self.result)?;
        if let (AttemptResult::TlsCertificate { .. }, Some(seen)) = (&self.result, &self.certificate) {
            write!(f, "; it says it is \"{}\", made by \"{}\"", seen.subject, seen.issuer)?;
            write!(f, ", and its key has the SHA-256 {}", seen.spki_sha256)?;
        }
        let is_somebody_else =
            matches!(self.result, AttemptResult::TlsCertificate { .. } | AttemptResult::HttpAnswered { .. });
        if let (true, Some(address), Some(told)) = (is_somebody_else, self.address, self.answering_name_server()) {
            write!(f, "; the address {} came from the name server {}", address.ip(), told.ip())?;
        }
        Ok(())
    }
}

impl fmt::Display for AttemptResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttemptResult::Welcomed => write!(f, "connected, challenge answered, session open"),
            AttemptResult::Enrolled => write!(f, "connected, enrolled"),
            AttemptResult::Network { why } => f.write_str(why),
            AttemptResult::NameNotFound { name, why } => {
                write!(f, "no address found for {name}: {why} (check the name and the DNS servers)")
            }
            AttemptResult::TcpNoAnswer { waited_ms } => {
                write!(f, "no answer within {} (a firewall drops it?)", Seconds(*waited_ms))
            }
            AttemptResult::TcpRefused => {
                write!(f, "refused (nothing listens there, or a firewall rejects it)")
            }
            AttemptResult::TcpFailed { why } => write!(f, "no connection: {why}"),
            AttemptResult::ProxyWantsCredentials => {
                write!(f, "the proxy asks for a user name and password, or refuses those configured (407)")
            }
            AttemptResult::ProxyRefused { status } => {
                write!(f, "the proxy answered {status}{}", proxy_advice(*status))
            }
            AttemptResult::ProxyNotHttp { why } => {
                write!(f, "what answers there is no HTTP proxy: {why} (check the proxy's address and port)")
            }
            AttemptResult::ProxySilent { waited_ms } => {
                write!(f, "the proxy did not answer within {}", Seconds(*waited_ms))
            }
            AttemptResult::ProxyClosed => write!(f, "the proxy closed the connection without an answer"),
            AttemptResult::ProxyTalksFirst => {
                write!(f, "bytes came through the proxy before we sent any (something answers in the server's place)")
            }
            AttemptResult::TlsNoAnswer { waited_ms } => {
                write!(f, "connected, but TLS did not finish within {} (a firewall swallows it?)", Seconds(*waited_ms))
            }
            AttemptResult::TlsAlert { alert } => write!(f, "the other end ended TLS with the alert {alert}"),
            AttemptResult::TlsCertificate { why } => {
                write!(
                    f,
                    "the certificate is not this server's: {why} (something on the way opens TLS, and this server must be \
                     exempted from it; or the name is wrong)"
                )
            }
            AttemptResult::HttpAnswered { status, location } => {
                let leads = location.as_ref().map(|to| format!(", leading to {to}")).unwrap_or_default();
                write!(
                    f,
                    "a web page came instead of the server (HTTP {status}{leads}): a captive portal or a filter stands in the \
                     way, and this device must be let past it"
                )
            }
            AttemptResult::TlsFailed { why } => write!(f, "TLS failed: {why}"),
            AttemptResult::Refused { reason } => write!(f, "connected, but the server refused this device: {reason}"),
            AttemptResult::LoginBroken { why } => write!(f, "connected, but the login broke off: {why}"),
        }
    }
}

/// Milliseconds, written as seconds for people.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            write!(f, "{} s", self.0 / 1000)
        } else {
            write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
        }
    }
}

fn proxy_advice(status: u16) -> &'static str {
    match status {
        403 => " (it does not allow this server or this port; ask for both to be allowed)",
        502..=504 => " (it cannot reach the server on this port)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(result: AttemptResult) -> Attempt {
        Attempt {
            unix_ms: 0,
            took_ms: 0,
            purpose: ConnectionPurpose::Session,
            server: "iot.example".into(),
            lookup: None,
            proxy: None,
            address: None,
            rule_port: Some(31314),
            port: Some(31314),
            certificate: None,
            tls: None,
            result,
        }
    }

    #[test]
    fn people_read_a_plain_sentence() {
        let silent = attempt(AttemptResult::TcpNoAnswer { waited_ms: 5000 });
        assert_eq!(silent.to_string(), "port 31314: no answer within 5 s (a firewall drops it?)");
        let mut proxied = attempt(AttemptResult::ProxyRefused { status: 502 });
        proxied.port = Some(10314);
        assert_eq!(
            proxied.to_string(),
            "port 31314 (here 10314): the proxy answered 502 (it cannot reach the server on this port)"
        );
    }

    #[test]
    fn a_refused_certificate_is_named() {
        let mut opened = attempt(AttemptResult::TlsCertificate { why: "unknown issuer".into() });
        opened.certificate = Some(CertificateReport {
            subject: "CN=iot.example".into(),
            issuer: "CN=Big Firewall".into(),
            spki_sha256: Sha256Hex([7; 32]),
        });
        let key = "07".repeat(32);
        let named = format!("made by \"CN=Big Firewall\", and its key has the SHA-256 {key}");
        assert!(opened.to_string().ends_with(&named), "{opened}");
        opened.address = Some("192.0.2.66:31314".parse().unwrap());
        opened.lookup = Some(LookupReport {
            name: "iot.example".into(),
            servers: vec!["192.0.2.1:53".parse().unwrap(), "192.0.2.2:53".parse().unwrap()],
            addresses: vec!["192.0.2.66".parse().unwrap()],
            failures: Vec::new(),
        });
        let told = "the address 192.0.2.66 came from the name server 192.0.2.2";
        assert!(opened.to_string().ends_with(told), "{opened}");
    }

    #[test]
    fn a_record_survives_json() {
        let record = attempt(AttemptResult::ProxySilent { waited_ms: 1500 });
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Attempt>(&text).unwrap(), record);
        assert!(record.to_string().contains("1.500 s"));
    }
}
