//! Connections that have not shown a whole ClientHello: counted, bounded, the oldest gives way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::gateway::limits::GatewayLimits;

/// Where a connection comes from: an IPv4 address or an IPv6 /64, which is what one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Source(IpAddr);

impl From<SocketAddr> for Source {
    fn from(peer: SocketAddr) -> Self {
        Self(match peer.ip().to_canonical() {
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        })
    }
}

/// The place before the door.
#[derive(Debug)]
pub(crate) struct Lobby {
    most: usize,
    most_per_source: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By age: the first entry is the oldest. Dropping the sender tells the connection to leave.
    waiting: BTreeMap<u64, (Source, oneshot::Sender<()>)>,
    by_source: HashMap<Source, BTreeSet<u64>>,
}

/// One connection's place in the lobby; dropped when its ClientHello is whole or the connection ends.
#[derive(Debug)]
pub(crate) struct LobbyPlace {
    lobby: Arc<Lobby>,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Lobby {
    pub(crate) fn new(limits: &GatewayLimits) -> Arc<Self> {
        Arc::new(Self { most: limits.lobby, most_per_source: limits.lobby_per_source, state: Mutex::default() })
    }

    /// Takes a place. When there are too many, the source's own oldest connection leaves if the source has its share, else the oldest of all.
    pub(crate) fn enter(self: &Arc<Self>, source: Source) -> LobbyPlace {
        let (stay, evicted) = oneshot::channel();
        let mut state = self.lock();
        if state.waiting.len() >= self.most {
            let own = state.by_source.get(&source).filter(|own| own.len() >= self.most_per_source);
            let oldest = || state.waiting.first_key_value().map(|(&number, _)| number);
            if let Some(victim) = own.map_or_else(oldest, |own| own.first().copied()) {
                state.remove(victim);
            }
        }
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, (source, stay));
        state.by_source.entry(source).or_default().insert(number);
        LobbyPlace { lobby: self.clone(), number, evicted }
    }

    /// Sends the oldest connection away; `false` when there is none.
    pub(crate) fn evict_oldest(&self) -> bool {
        let mut state = self.lock();
        let oldest = state.waiting.first_key_value().map(|(&number, _)| number);
        if let Some(oldest) = oldest {
            state.remove(oldest);
        }
        oldest.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, number: u64) {
        let Some((source, _)) = self.waiting.remove(&number) else { return };
        if let Some(own) = self.by_source.get_mut(&source) {
            own.remove(&number);
            if own.is_empty() {
                self.by_source.remove(&source);
            }
        }
    }
}

impl LobbyPlace {
    /// Resolves when the connection must leave to make room.
    pub(crate) async fn evicted(&mut self) {
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for LobbyPlace {
    fn drop(&mut self) {
        self.lobby.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn source(text: &str) -> Source {
        Source::from(SocketAddr::new(text.parse().unwrap(), 1))
    }

    fn lobby(most: usize, most_per_source: usize) -> Arc<Lobby> {
        Lobby::new(&GatewayLimits { lobby: most, lobby_per_source: most_per_source, ..GatewayLimits::default() })
    }

    fn gone(place: &mut LobbyPlace) -> bool {
        place.evicted().now_or_never().is_some()
    }

    #[test]
    fn a_source_with_its_share_loses_its_own_oldest_once_the_lobby_is_full() {
        let lobby = lobby(4, 2);
        let (a, b) = (source("127.0.0.2"), source("127.0.0.3"));
        let (mut other, mut first, mut second) = (lobby.enter(b), lobby.enter(a), lobby.enter(a));
        let mut third = lobby.enter(a);
        assert!(!gone(&mut first), "there is room for all");
        let mut fourth = lobby.enter(a);
        assert!(gone(&mut first) && !gone(&mut second) && !gone(&mut third) && !gone(&mut fourth) && !gone(&mut other));
    }

    #[test]
    fn a_full_lobby_loses_the_oldest_of_all() {
        let lobby = lobby(2, 2);
        let (mut first, mut second) = (lobby.enter(source("10.0.0.1")), lobby.enter(source("10.0.0.2")));
        assert!(!gone(&mut first));
        let mut third = lobby.enter(source("10.0.0.3"));
        assert!(gone(&mut first) && !gone(&mut second) && !gone(&mut third));
    }

    #[test]
    fn the_oldest_can_be_sent_away_while_there_is_one() {
        let lobby = lobby(4, 4);
        let (mut first, mut second) = (lobby.enter(source("10.0.0.1")), lobby.enter(source("10.0.0.2")));
        assert!(lobby.evict_oldest());
        assert!(gone(&mut first) && !gone(&mut second));
        assert!(lobby.evict_oldest());
        assert!(gone(&mut second) && !lobby.evict_oldest());
    }

    #[test]
    fn who_leaves_makes_room_and_leaves_nothing_behind() {
        let lobby = lobby(1, 1);
        drop(lobby.enter(source("10.0.0.1")));
        let mut place = lobby.enter(source("10.0.0.1"));
        assert!(!gone(&mut place));
        drop(place);
        let state = lobby.lock();
        assert!(state.waiting.is_empty() && state.by_source.is_empty());
    }

    #[test]
    fn a_source_is_one_ipv4_address_or_one_ipv6_subscriber() {
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
    }
}
