//! One static address on one interface, through rtnetlink (rtnetlink(7)): put in force, and taken out again.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily as Family, RouteNetlinkMessage};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, send, socket_with, sockopt,
};

use crate::network::StaticNetwork;

/// Our default route comes before those that a DHCP client usually makes, and replaces none of them.
const ROUTE_METRIC: u32 = 10;
/// Who set an address or a route, as the kernel keeps it (RTPROT_*, IFA_PROTO): a number that nobody else uses.
const MARK: u8 = 118;
/// The most that the kernel says at once when it is asked for all that there is (netlink(7)).
const DUMP_BYTES: usize = 32 * 1024;
/// The longest answer of the kernel that is read; an acknowledgement repeats our own message.
const ANSWER_BYTES: usize = 4096;
/// How long the kernel may take, though it answers at once.
const KERNEL_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// An interface, and what was put in force on it.
#[derive(Debug)]
pub(super) struct Interface {
    name: String,
    applied: Option<StaticNetwork>,
}

impl Interface {
    /// The interface of this name; nothing is changed yet.
    pub(super) fn new(name: &str) -> Interface {
        Interface { name: name.to_owned(), applied: None }
    }

    /// Puts this network in force in place of the one before.
    pub(super) fn apply(&mut self, network: &StaticNetwork) -> io::Result<()> {
        network.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.remove()?;
        let index = self.index()?;
        // Noted first, so that a half that was put in force is taken out too.
        self.applied = Some(network.clone());
        let new = NLM_F_CREATE | NLM_F_REPLACE;
        let steps = [
            (RouteNetlinkMessage::SetLink(up(index)), 0),
            (RouteNetlinkMessage::NewAddress(address(index, network)), new),
            (RouteNetlinkMessage::NewRoute(default_route(index, network)), new),
        ];
        for (message, flags) in steps {
            if let Err(error) = ask(message, flags) {
                // What it was put in force for does not work; the first error is the one to tell.
                let _ = self.remove();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes out what was put in force. The interface stays up.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        let Some(network) = self.applied.take() else { return Ok(()) };
        let index = self.index()?;
        let route = ask(RouteNetlinkMessage::DelRoute(default_route(index, &network)), 0);
        let address = ask(RouteNetlinkMessage::DelAddress(address(index, &network)), 0);
        for done in [route, address] {
            // Somebody may have taken it out already (the address takes its routes with it).
            match done.err().and_then(|error| error.raw_os_error()).map(rustix::io::Errno::from_raw_os_error) {
                None | Some(rustix::io::Errno::SRCH | rustix::io::Errno::ADDRNOTAVAIL) => {}
                Some(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes out what a parent that was killed has left on the interface. Before Linux 5.18 addresses carry no mark, and stay.
    pub(super) fn remove_marked(&self) -> io::Result<()> {
        let index = self.index()?;
        for message in dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()))? {
            match message {
                RouteNetlinkMessage::NewRoute(route)
                    if route.header.protocol == RouteProtocol::Other(MARK)
                        && route.attributes.contains(&RouteAttribute::Oif(index)) =>
                {
                    ask(RouteNetlinkMessage::DelRoute(route), 0)?;
                }
                _ => {}
            }
        }
        for message in dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
            match message {
                RouteNetlinkMessage::NewAddress(address)
                    if address.header.index == index
                        && address.attributes.contains(&AddressAttribute::Protocol(AddressProtocol::Other(MARK))) =>
                {
                    ask(RouteNetlinkMessage::DelAddress(address), 0)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn index(&self) -> io::Result<u32> {
        let any = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let index = netdevice::name_to_index(any, &self.name);
        index.map_err(|error| {
            io::Error::new(io::Error::from(error).kind(), format!("no interface {}: {error}", self.name))
        })
    }
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Inet } else { Family::Inet6 }
}

fn up(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link
}

fn address(index: u32, network: &StaticNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(network.address);
    message.header.prefix_len = network.prefix;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Address(network.address),
        AddressAttribute::Local(network.address),
        AddressAttribute::Protocol(AddressProtocol::Other(MARK)),
    ];
    if let (IpAddr::V4(address), 1..=30) = (network.address, network.prefix) {
        let host = u32::MAX.checked_shr(network.prefix.into()).unwrap_or(0);
        message.attributes.push(AddressAttribute::Broadcast(Ipv4Addr::from_bits(address.to_bits() | host)));
    }
    message
}

fn default_route(index: u32, network: &StaticNetwork) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(network.gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(MARK);
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Gateway(network.gateway.into()),
        RouteAttribute::Oif(index),
        RouteAttribute::Priority(ROUTE_METRIC),
    ];
    message
}

/// Asks the kernel for one change and waits for its acknowledgement.
fn ask(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let what = match &message {
        RouteNetlinkMessage::SetLink(_) => "the interface cannot be brought up",
        RouteNetlinkMessage::NewAddress(_) => "the address cannot be set",
        RouteNetlinkMessage::NewRoute(_) => "the route to the gateway cannot be set",
        _ => "the old address cannot be taken out",
    };
    let bytes = packet(message, NLM_F_ACK | flags);
    let kernel = kernel()?;
    send(&kernel, &bytes, SendFlags::empty())?;
    let mut answer = [0; ANSWER_BYTES];
    let (length, _) = recv(&kernel, &mut answer, RecvFlags::empty())?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer.get(..length).unwrap_or_default());
    match answer.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?.payload {
        NetlinkPayload::Error(verdict) => match verdict.code {
            None => Ok(()),
            Some(_) => Err(told(what, &verdict.to_io())),
        },
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel did not acknowledge the change")),
    }
}

fn packet(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    bytes
}

/// Asks the kernel for all that it has of a kind. What cannot be understood is not ours, and left out.
fn dump(message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    let kernel = kernel()?;
    send(&kernel, &packet(message, NLM_F_DUMP), SendFlags::empty())?;
    let (mut found, mut answer) = (Vec::new(), vec![0; DUMP_BYTES]);
    loop {
        let (length, _) = recv(&kernel, &mut answer, RecvFlags::empty())?;
        let mut rest = answer.get(..length).unwrap_or_default();
        while let Some(own) = rest.first_chunk().map(|length| u32::from_ne_bytes(*length)) {
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map(|message| message.payload) {
                Ok(NetlinkPayload::Done(_)) => return Ok(found),
                Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                Ok(NetlinkPayload::InnerMessage(message)) => found.push(message),
                _ => {}
            }
            // Each begins at a multiple of four bytes (netlink(3), NLMSG_ALIGN).
            let own = usize::try_from(own).unwrap_or(usize::MAX).max(1).saturating_add(3) & !3;
            rest = rest.get(own..).unwrap_or_default();
        }
    }
}

/// The kernel's error, with what it was about; its number stays readable where nothing has to be said.
fn told(what: &str, error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) if what.starts_with("the old") => io::Error::from_raw_os_error(number),
        _ => io::Error::new(error.kind(), format!("{what}: {error}")),
    }
}

/// A socket to the kernel's routing tables. It needs no name: what is sent goes to the kernel (netlink(7)).
fn kernel() -> io::Result<OwnedFd> {
    // Protocol 0 of this family is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(KERNEL_WAIT))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn ip(words: &str) -> String {
        let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs this test in a network namespace of its own.
    fn in_own_namespace(name: &str, test: impl FnOnce()) {
        const INSIDE: &str = "VOUCH_TEST_INSIDE";
        if std::env::var_os(INSIDE).is_some() {
            return test();
        }
        let mut again = Command::new("unshare");
        again.args(["--map-root-user", "--net"]).arg(std::env::current_exe().unwrap()).args(["--exact", name]);
        let output = again.env(INSIDE, "1").output().expect("the tool `unshare` (util-linux) is needed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn what_a_killed_parent_left_is_taken_out_and_nothing_else() {
        in_own_namespace("parent::rtnetlink::tests::what_a_killed_parent_left_is_taken_out_and_nothing_else", || {
            ip("link add wire0 type veth peer name wire1");
            for own in ["link set wire0 up", "link set wire1 up", "-4 address add 198.51.100.5/24 dev wire0"] {
                ip(own);
            }
            ip("-4 route add default via 198.51.100.1 dev wire0 metric 50 proto static");
            for (family, address, prefix, gateway) in
                [("-4", "192.0.2.7", 24, "192.0.2.1"), ("-6", "fd77::9", 64, "fd77::1")]
            {
                let text =
                    format!(r#"{{"address":"{address}","prefix":{prefix},"gateway":"{gateway}","dns":["{gateway}"]}}"#);
                Interface::new("wire0").apply(&serde_json::from_str(&text).unwrap()).unwrap();
                let there =
                    || (ip(&format!("{family} address show dev wire0")), ip(&format!("{family} route show default")));
                let (addresses, routes) = there();
                assert!(addresses.contains(address) && routes.contains(gateway), "{addresses}{routes}");
                Interface::new("wire1").remove_marked().unwrap();
                assert!(there().0.contains(address), "it is another interface's");
                Interface::new("wire0").remove_marked().unwrap();
                let (addresses, routes) = there();
                assert!(!addresses.contains(address) && !routes.contains(gateway), "{addresses}{routes}");
            }
            assert!(ip("-4 address show dev wire0").contains("198.51.100.5"));
            assert!(ip("-4 route show default").contains("198.51.100.1"));
            assert!(Interface::new("none").remove_marked().is_err());
        });
    }
}
