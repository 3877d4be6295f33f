//! Looking a name up: our own question over a UDP socket that is connected and never bound, to the configured servers only.
//!
//! The answer is not trusted with anything but where to dial: who answers there must prove itself in TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::connect::attempt::LookupReport;
use crate::limits::Limits;

/// The largest answer over UDP that is asked for: fits every path without fragments (dnsflagday.net/2020).
const ANSWER_BYTES: u16 = 1232;

/// Where the system keeps its name servers.
pub(crate) const SYSTEM_SERVERS: &str = "/etc/resolv.conf";

/// Asks the configured name servers, one after the other.
#[derive(Clone, Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    wait: Duration,
    aliases: usize,
    strays: usize,
    addresses: usize,
}

/// The addresses of a name, and how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// IPv4 addresses first, then IPv6, each in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// What was asked; absent when nothing had to be asked.
    pub report: Option<LookupReport>,
}

/// Why one question to one name server gave no address.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("only packets that do not answer the question")]
    Strays,
    #[error("the name does not exist (NXDOMAIN)")]
    NoSuchName,
    #[error("the server answered {0}")]
    Refused(ResponseCode),
    #[error("the answer was cut short and holds no address")]
    Truncated,
    #[error("more than {0} aliases (CNAME), or a loop of them")]
    Aliases(usize),
    #[error("the question cannot be written: {0}")]
    Question(hickory_proto::ProtoError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What one answer says about a name.
enum Answer {
    Addresses(Vec<IpAddr>),
    Alias(Name),
    Nothing,
}

impl Resolver {
    /// A resolver that asks these servers; when there is none, those of the system's file.
    pub fn new(configured: &[SocketAddr], limits: &Limits) -> Resolver {
        let mut servers = configured.to_vec();
        if servers.is_empty() {
            let text = std::fs::read_to_string(SYSTEM_SERVERS).unwrap_or_default();
            servers = system_servers(&text);
        }
        servers.truncate(limits.dns_servers);
        Resolver {
            servers,
            wait: limits.dns_wait,
            aliases: limits.dns_aliases,
            strays: limits.dns_strays,
            addresses: limits.addresses,
        }
    }

    /// The same, asking the server at this place of the list first, counted round and round.
    #[must_use]
    pub fn beginning_with(mut self, first: usize) -> Resolver {
        if let Some(first) = first.checked_rem(self.servers.len()) {
            self.servers.rotate_left(first);
        }
        self
    }

    /// The addresses of a host name or address.
    pub async fn look_up(&self, host: &str) -> Lookup {
        if let Some(addresses) = known_addresses(host) {
            return Lookup { addresses, report: None };
        }
        let mut report =
            LookupReport { name: host.to_owned(), servers: Vec::new(), addresses: Vec::new(), failures: Vec::new() };
        match Name::from_ascii(host) {
            Ok(mut name) => {
                name.set_fqdn(true);
                self.ask_all(&name, &mut report).await;
            }
            Err(error) => report.failures.push(format!("no name that DNS knows: {error}")),
        }
        report.addresses.truncate(self.addresses);
        Lookup { addresses: report.addresses.clone(), report: Some(report) }
    }

    async fn ask_all(&self, name: &Name, report: &mut LookupReport) {
        if self.servers.is_empty() {
            report.failures.push("no name server is configured, and the system names none".to_owned());
        }
        for &server in &self.servers {
            report.servers.push(server);
            let (v4, v6) =
                tokio::join!(self.follow(server, name, RecordType::A), self.follow(server, name, RecordType::AAAA));
            for answer in [v4, v6] {
                let failure = match answer {
                    Ok(found) => {
                        let (usable, blocked): (Vec<_>, Vec<_>) = found.into_iter().partition(is_somewhere);
                        report.addresses.extend(usable);
                        let Some(address) = blocked.first() else { continue };
                        format!("{server}: it answers {address}, where nobody can be (a filter blocks the name?)")
                    }
                    Err(error) => format!("{server}: {error}"),
                };
                if !report.failures.contains(&failure) {
                    report.failures.push(failure);
                }
            }
            // A server that says the name does not exist may be the one that lies.
            if !report.addresses.is_empty() {
                return;
            }
        }
        if report.failures.is_empty() {
            report.failures.push("the name has no address".to_owned());
        }
    }

    /// Asks for one type of address, following aliases within the answer and, where it stops short, by a new question.
    async fn follow(&self, server: SocketAddr, name: &Name, kind: RecordType) -> Result<Vec<IpAddr>, AskError> {
        let mut name = name.clone();
        let mut left = self.aliases;
        let deadline = Instant::now() + self.wait;
        loop {
            let answer = self.ask(server, &name, kind, deadline).await?;
            match read_answer(&answer, &name, kind, &mut left).ok_or(AskError::Aliases(self.aliases))? {
                Answer::Addresses(found) => return Ok(found),
                Answer::Alias(target) => name = target,
                Answer::Nothing if answer.metadata.truncation => return Err(AskError::Truncated),
                Answer::Nothing => return Ok(Vec::new()),
            }
        }
    }

    async fn ask(
        &self,
        server: SocketAddr,
        name: &Name,
        kind: RecordType,
        deadline: Instant,
    ) -> Result<Message, AskError> {
        let id = u16::from_be_bytes(keys::hashes::random::<2>());
        let question = question(id, name, kind);
        let packet = question.to_vec().map_err(AskError::Question)?;
        let socket = connected_socket(server)?;
        timeout_at(deadline, socket.send(&packet)).await.map_err(|_| AskError::NoAnswer(self.wait))??;
        let mut buffer = [0_u8; ANSWER_BYTES as usize];
        for _ in 0..=self.strays {
            let received = timeout_at(deadline, socket.recv(&mut buffer)).await;
            let len = received.map_err(|_| AskError::NoAnswer(self.wait))??;
            let packet = buffer.get(..len).unwrap_or_default();
            // A packet that does not echo our id and question may be a forgery: the true answer may still come.
            let Some(answer) = Message::from_vec(packet).ok().filter(|answer| answers(answer, &question)) else {
                continue;
            };
            return match answer.metadata.response_code {
                ResponseCode::NoError => Ok(answer),
                ResponseCode::NXDomain => Err(AskError::NoSuchName),
                other => Err(AskError::Refused(other)),
            };
        }
        Err(AskError::Strays)
    }
}

/// The addresses of a host for which nobody is asked: an address itself, and `localhost` (RFC 6761, section 6.3).
pub(crate) fn known_addresses(host: &str) -> Option<Vec<IpAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(vec![address]);
    }
    let bare = host.strip_suffix('.').unwrap_or(host);
    let is_local = bare.eq_ignore_ascii_case("localhost");
    is_local.then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// Whether somebody can be at this address. Filters answer 0.0.0.0 for names they block, which would lead to ourselves.
fn is_somewhere(address: &IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

fn question(id: u16, name: &Name, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(ANSWER_BYTES);
    message.set_edns(edns);
    message
}

/// Whether this message answers exactly our question (RFC 5452, section 9.1).
fn answers(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.metadata.op_code == OpCode::Query
        && answer.queries == question.queries
}

/// What the answer says about `name`, or `None` when it leads over too many aliases. `left` counts those still allowed.
fn read_answer(answer: &Message, name: &Name, kind: RecordType, left: &mut usize) -> Option<Answer> {
    let mut at = name.clone();
    loop {
        let mut addresses = Vec::new();
        let mut alias = None;
        for record in &answer.answers {
            if record.name != at || record.dns_class != DNSClass::IN {
                continue;
            }
            match &record.data {
                RData::A(address) if kind == RecordType::A => addresses.push(IpAddr::V4(address.0)),
                RData::AAAA(address) if kind == RecordType::AAAA => addresses.push(IpAddr::V6(address.0)),
                RData::CNAME(target) => alias = Some(target.0.clone()),
                _ => {}
            }
        }
        // Addresses of a cut answer are good too: whichever is dialled proves itself in TLS.
        if !addresses.is_empty() {
            return Some(Answer::Addresses(addresses));
        }
        let Some(target) = alias else {
            let moved = at != *name;
            return Some(if moved { Answer::Alias(at) } else { Answer::Nothing });
        };
        *left = left.checked_sub(1)?;
        at = target;
    }
}

/// A UDP socket that talks to one server only. It is never bound, so that a device may be forbidden to bind at all.
fn connected_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &server)?;
    UdpSocket::from_std(socket.into())
}

/// The `nameserver` lines of a resolv.conf(5); what cannot be read is passed over, as the system's own resolver does.
fn system_servers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_servers_are_read_as_the_system_reads_them() {
        let text = "# nameserver 192.0.2.66\nsearch example\nnameserver 192.0.2.1\n  nameserver\t2001:db8::1 # x\n\
                    nameservers 192.0.2.3\nnameserver no-address\n";
        let expected: [SocketAddr; 2] = ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(system_servers(text), expected);
    }
}
