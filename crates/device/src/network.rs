//! The device's addresses: by its host, or static; and a new configuration that is undone when it does not reach the server.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use vault::Record;

use crate::connect::Dialer;
use crate::limits::Limits;
use crate::parent::{ParentError, ParentLink};
use crate::store::{Store, StoreError, to_json};

/// The port of name servers.
pub(crate) const DNS_PORT: u16 = 53;

/// Where the device's addresses come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "addresses", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkConfig {
    /// Whatever the host has, by DHCP or otherwise; the runtime changes nothing.
    ByHost,
    /// One static address.
    Static(StaticNetwork),
}

/// One static address with its way out (claim C03).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(array)]
#[serde(deny_unknown_fields)]
pub struct StaticNetwork {
    /// The device's address.
    #[n(0)]
    pub address: IpAddr,
    /// How many leading bits of it name the network: the netmask.
    #[n(1)]
    pub prefix: u8,
    /// The router to everywhere else.
    #[n(2)]
    pub gateway: IpAddr,
    /// One or two name servers.
    #[n(3)]
    pub dns: Vec<IpAddr>,
}

/// What in a static network cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The address is none that a device can have.
    #[error("{0} cannot be the address of a device")]
    Address(IpAddr),
    /// The netmask leaves no room for a gateway, or is longer than an address.
    #[error("/{prefix} is no netmask for a device with a gateway; {most} is the longest")]
    Prefix {
        /// What was given.
        prefix: u8,
        /// The longest.
        most: u8,
    },
    /// The gateway cannot be reached from the address.
    #[error("the gateway {gateway} is not in the network {address}/{prefix}")]
    Gateway {
        /// The gateway.
        gateway: IpAddr,
        /// The device's address.
        address: IpAddr,
        /// The netmask.
        prefix: u8,
    },
    /// There are no name servers, or too many, or one that cannot be one.
    #[error("one or two name servers are needed, each with an address of its own")]
    Dns,
}

impl StaticNetwork {
    /// Checks what can be checked before anything is changed.
    ///
    /// # Errors
    /// [`NetworkError`] says what cannot be used.
    pub fn check(&self) -> Result<(), NetworkError> {
        let StaticNetwork { address, prefix, gateway, dns } = self;
        let is_usable = |address: &IpAddr| {
            !address.is_unspecified() && !address.is_multicast() && !address.is_loopback() && !is_broadcast(address)
        };
        if !is_usable(address) {
            return Err(NetworkError::Address(*address));
        }
        let most = if address.is_ipv4() { 31 } else { 127 };
        if !(1..=most).contains(prefix) {
            return Err(NetworkError::Prefix { prefix: *prefix, most });
        }
        let near = is_link_local_v6(gateway) || same_network(*address, *gateway, *prefix);
        if address.is_ipv4() != gateway.is_ipv4() || gateway == address || !is_usable(gateway) || !near {
            return Err(NetworkError::Gateway { gateway: *gateway, address: *address, prefix: *prefix });
        }
        if !(1..=2).contains(&dns.len()) || dns.iter().any(|server| server.is_unspecified() || server.is_multicast()) {
            return Err(NetworkError::Dns);
        }
        Ok(())
    }
}

fn is_broadcast(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

fn is_link_local_v6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Whether the leading bits of two addresses are the same.
fn same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let differing = bits(one) ^ bits(other);
    one.is_ipv4() == other.is_ipv4() && differing.leading_zeros() >= u32::from(prefix)
}

/// The network configuration as the vault keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredNetwork {
    /// What has reached the server, or what the device began with.
    pub confirmed: NetworkConfig,
    /// What is to be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// A configuration that has not reached the server yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The configuration.
    pub config: NetworkConfig,
    /// How many starts of the device it may still have.
    pub starts_left: u8,
}

impl StoredNetwork {
    /// What a device has stored; its host's network when it has stored none.
    ///
    /// # Errors
    /// [`StoreError`] when the vault does not give it.
    pub fn read(store: &Store) -> Result<StoredNetwork, StoreError> {
        let none = StoredNetwork { confirmed: NetworkConfig::ByHost, trial: None };
        let Some(bytes) = store.read(Record::Network)? else { return Ok(none) };
        let form = |error: serde_json::Error| StoreError::Form { record: Record::Network, why: error.to_string() };
        serde_json::from_slice(bytes.expose()).map_err(form)
    }

    /// Stores a configuration that is to be tried at the next start, beside the one to fall back to.
    ///
    /// # Errors
    /// [`StoreError`] when the vault does not take it.
    pub fn try_next(store: &Store, config: NetworkConfig, limits: &Limits) -> Result<(), StoreError> {
        if store.is_diskless() {
            return Err(StoreError::Diskless);
        }
        let confirmed = StoredNetwork::read(store)?.confirmed;
        let trial = (config != confirmed).then_some(Trial { config, starts_left: limits.network_starts });
        StoredNetwork { confirmed, trial }.write(store)
    }

    fn write(&self, store: &Store) -> Result<(), StoreError> {
        store.write(Record::Network, &to_json(Record::Network, self)?)
    }
}

/// The network of a running device.
#[derive(Debug)]
pub(crate) struct Network {
    store: Store,
    stored: StoredNetwork,
    parent: Option<ParentLink>,
    /// What is in force; nothing is known of it before the first round, and after a failure.
    applied: Option<NetworkConfig>,
    /// When the trial is over, and why then.
    deadline: Option<(Instant, String)>,
    /// The name servers of the host's network.
    dns_by_host: Vec<SocketAddr>,
}

impl Network {
    /// The network of a device that starts. A trial that had its starts is over before it begins.
    pub(crate) fn begin(
        store: &Store,
        parent: Option<ParentLink>,
        dns_by_host: Vec<SocketAddr>,
        limits: &Limits,
    ) -> Result<Network, StoreError> {
        let mut stored = StoredNetwork::read(store)?;
        let mut deadline = None;
        if let Some(trial) = &mut stored.trial {
            let why = format!("it did not reach the server in {} starts", limits.network_starts);
            deadline = Some((Instant::now(), why));
            if let Some(left) = trial.starts_left.checked_sub(1) {
                trial.starts_left = left;
                let why = format!("it did not reach the server within {} s", limits.network_trial.as_secs());
                deadline = Some((Instant::now() + limits.network_trial, why));
                stored.write(store)?;
            }
        }
        Ok(Network { store: store.clone(), stored, parent, applied: None, deadline, dns_by_host })
    }

    /// Puts in force what is to be tried or was confirmed. What is said is for the diary: a trial that was undone, or a
    /// configuration that cannot be put in force.
    pub(crate) async fn prepare(&mut self, dialer: &mut Dialer) -> Vec<String> {
        let mut said = Vec::new();
        if let Some((_, why)) = self.deadline.take_if(|(until, _)| Instant::now() >= *until) {
            said.extend(self.undo(&why));
        }
        if let Err(error) = self.apply(dialer).await {
            if self.stored.trial.is_some() {
                said.extend(self.undo(&format!("it cannot be put in force: {error}")));
                if let Err(error) = self.apply(dialer).await {
                    said.push(format!("the network configuration cannot be put in force: {error}"));
                }
            } else {
                said.push(format!("the network configuration cannot be put in force: {error}"));
            }
        }
        said
    }

    /// How long a pause may last: not beyond the end of a trial.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline.as_ref().map(|(until, _)| until.saturating_duration_since(Instant::now()))
    }

    /// The server was reached: a trial has passed.
    pub(crate) fn reached(&mut self) -> Result<(), StoreError> {
        self.deadline = None;
        let Some(trial) = self.stored.trial.take() else { return Ok(()) };
        self.stored.confirmed = trial.config;
        self.stored.write(&self.store)
    }

    fn undo(&mut self, why: &str) -> Option<String> {
        self.deadline = None;
        self.stored.trial.take()?;
        let mut said = format!("the new network configuration is undone: {why}");
        if let Err(error) = self.stored.write(&self.store) {
            said = format!("{said}; that could not be stored: {error}");
        }
        Some(said)
    }

    async fn apply(&mut self, dialer: &mut Dialer) -> Result<(), ParentError> {
        let wanted = self.stored.trial.as_ref().map_or(&self.stored.confirmed, |trial| &trial.config);
        if self.applied.as_ref() == Some(wanted) {
            return Ok(());
        }
        let before = self.applied.take();
        match (&self.parent, wanted) {
            (Some(parent), NetworkConfig::Static(network)) => parent.apply(network).await?,
            (Some(parent), NetworkConfig::ByHost) => parent.remove().await?,
            (None, NetworkConfig::ByHost) => {}
            (None, NetworkConfig::Static(_)) => {
                self.applied = before;
                return Err(ParentError::NoParent);
            }
        }
        let dns = match wanted {
            NetworkConfig::ByHost => self.dns_by_host.clone(),
            NetworkConfig::Static(network) => {
                network.dns.iter().map(|address| SocketAddr::new(*address, DNS_PORT)).collect()
            }
        };
        dialer.ask_name_servers(dns);
        self.applied = Some(wanted.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;

    fn network(address: &str, prefix: u8, gateway: &str, dns: &[&str]) -> StaticNetwork {
        StaticNetwork {
            address: address.parse().unwrap(),
            prefix,
            gateway: gateway.parse().unwrap(),
            dns: dns.iter().map(|server| server.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_static_network_of_either_family_with_one_or_two_name_servers_is_taken() {
        for (address, prefix, gateway) in [
            ("192.0.2.7", 24, "192.0.2.1"),
            ("192.0.2.6", 31, "192.0.2.7"),
            ("10.1.2.3", 1, "10.255.255.254"),
            ("2001:db8::7", 64, "2001:db8::1"),
            ("2001:db8::7", 64, "fe80::1"),
            ("2001:db8::6", 127, "2001:db8::7"),
        ] {
            assert_eq!(network(address, prefix, gateway, &["192.0.2.53"]).check(), Ok(()), "{address}");
            assert_eq!(network(address, prefix, gateway, &["192.0.2.53", "2001:db8::53"]).check(), Ok(()));
        }
    }

    #[test]
    fn what_would_strand_a_device_at_once_is_refused() {
        use NetworkError::{Address, Dns, Gateway, Prefix};
        let refused =
            |address, prefix, gateway| network(address, prefix, gateway, &["192.0.2.53"]).check().unwrap_err();
        for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"] {
            assert!(matches!(refused(address, 24, "192.0.2.1"), Address(_)), "{address}");
        }
        for prefix in [0, 32, 255] {
            assert_eq!(refused("192.0.2.7", prefix, "192.0.2.1"), Prefix { prefix, most: 31 });
        }
        assert_eq!(refused("2001:db8::7", 128, "2001:db8::1"), Prefix { prefix: 128, most: 127 });
        for gateway in ["192.0.3.1", "192.0.2.7", "2001:db8::1", "0.0.0.0"] {
            assert!(matches!(refused("192.0.2.7", 24, gateway), Gateway { .. }), "{gateway}");
        }
        for dns in [&[][..], &["192.0.2.1", "192.0.2.2", "192.0.2.3"], &["0.0.0.0"]] {
            assert_eq!(network("192.0.2.7", 24, "192.0.2.1", dns).check(), Err(Dns));
        }
    }

    #[test]
    fn what_is_confirmed_needs_no_trial() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::tests::store(dir.path());
        let fixed = NetworkConfig::Static(network("192.0.2.7", 24, "192.0.2.1", &["192.0.2.53"]));
        StoredNetwork::try_next(&store, fixed.clone(), &LIMITS).unwrap();
        let stored = StoredNetwork::read(&store).unwrap();
        assert_eq!(stored.confirmed, NetworkConfig::ByHost);
        assert_eq!(stored.trial, Some(Trial { config: fixed, starts_left: LIMITS.network_starts }));
        StoredNetwork::try_next(&store, NetworkConfig::ByHost, &LIMITS).unwrap();
        assert_eq!(StoredNetwork::read(&store).unwrap().trial, None);
    }

    #[tokio::test]
    async fn a_trial_is_put_in_force_until_its_time_is_over_and_then_the_way_back_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::tests::store(dir.path());
        let fixed = NetworkConfig::Static(network("192.0.2.7", 24, "192.0.2.1", &["192.0.2.53"]));
        StoredNetwork::try_next(&store, fixed.clone(), &LIMITS).unwrap();
        for (network_trial, is_over) in [(Duration::from_secs(600), false), (Duration::ZERO, true)] {
            let (link, parent) = crate::parent::tests::obeying();
            let limits = Limits { network_trial, ..LIMITS };
            let mut running = Network::begin(&store, Some(link), Vec::new(), &limits).unwrap();
            let mut dialer = crate::connect::tests::dialer();
            let said = running.prepare(&mut dialer).await;
            assert_eq!(said.len(), usize::from(is_over), "{said:?}");
            assert_eq!(StoredNetwork::read(&store).unwrap().trial.is_none(), is_over);
            assert_eq!(running.prepare(&mut dialer).await, Vec::<String>::new(), "what is in force stays in force");
            drop(running);
            let asked = parent.join().unwrap();
            if is_over {
                assert_eq!(said, ["the new network configuration is undone: it did not reach the server within 0 s"]);
                assert_eq!(asked, ["Remove"]);
            } else {
                assert!(asked.len() == 1 && asked[0].contains("192.0.2.7"), "{asked:?}");
                assert_eq!(dialer.name_servers(), ["192.0.2.53:53".parse().unwrap()]);
            }
        }
    }

    #[tokio::test]
    async fn a_trial_that_nobody_can_put_in_force_is_undone_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::tests::store(dir.path());
        let fixed = NetworkConfig::Static(network("192.0.2.7", 24, "192.0.2.1", &["192.0.2.53"]));
        StoredNetwork::try_next(&store, fixed, &LIMITS).unwrap();
        let mut running = Network::begin(&store, None, Vec::new(), &LIMITS).unwrap();
        let said = running.prepare(&mut crate::connect::tests::dialer()).await;
        assert!(said.len() == 1 && said[0].contains("undone") && said[0].contains("vouch device boot"), "{said:?}");
        assert_eq!(StoredNetwork::read(&store).unwrap().trial, None);
    }

    #[tokio::test]
    async fn a_trial_that_reaches_the_server_is_confirmed_and_one_with_no_start_left_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::tests::store(dir.path());
        let fixed = NetworkConfig::Static(network("192.0.2.7", 24, "192.0.2.1", &["192.0.2.53"]));
        let begin = || Network::begin(&store, None, Vec::new(), &LIMITS).unwrap();
        StoredNetwork::try_next(&store, fixed.clone(), &LIMITS).unwrap();
        for left in (0..LIMITS.network_starts).rev() {
            let running = begin();
            assert!(running.time_left().unwrap() > Duration::ZERO);
            assert_eq!(StoredNetwork::read(&store).unwrap().trial.unwrap().starts_left, left);
        }
        assert_eq!(begin().time_left(), Some(Duration::ZERO));
        StoredNetwork::try_next(&store, fixed.clone(), &LIMITS).unwrap();
        begin().reached().unwrap();
        let stored = StoredNetwork::read(&store).unwrap();
        assert_eq!(stored, StoredNetwork { confirmed: fixed, trial: None });
    }
}
