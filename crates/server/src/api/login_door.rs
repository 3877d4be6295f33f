//! The door in front of password hashing: how often a source may try, and how many hashes are computed at one time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::hashes::sha256;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits::Limits;

/// Counts tries and hands out turns.
pub(super) struct LoginDoor {
    tries: Mutex<HashMap<Key, Tries>>,
    turns: Semaphore,
    waiting: Semaphore,
    per_user: u32,
    per_source: u32,
    window: Duration,
    remembered: usize,
}

/// A source (an IPv6 one with its whole /64), alone or together with the user it tries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Source(IpAddr),
    User(IpAddr, [u8; 32]),
}

#[derive(Clone, Copy)]
struct Tries {
    count: u32,
    since: Instant,
}

/// A turn at the hashing of passwords.
pub(super) struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

/// Too many tries, or too many others waiting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl LoginDoor {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            tries: Mutex::default(),
            turns: Semaphore::new(limits.logins_at_once.max(1)),
            waiting: Semaphore::new(limits.logins_at_once.max(1) + limits.logins_waiting),
            per_user: limits.login_tries,
            per_source: limits.login_tries_per_source,
            window: limits.login_window,
            remembered: limits.login_sources.max(2),
        }
    }

    /// Counts a try before it is made, so that tries at the same time do not slip through, and waits for a turn.
    pub(super) async fn enter(&self, source: IpAddr, user: &str) -> Result<Turn<'_>, Refused> {
        let keys = keys_of(source, user);
        self.count(source, keys)?;
        // A try that gets no turn has told nobody anything: it does not count.
        let Ok(place) = self.waiting.try_acquire() else {
            self.take_back(keys);
            return Err(Refused);
        };
        let turn = self.turns.acquire().await.map_err(|_| Refused)?;
        Ok(Turn { _turn: turn, _place: place })
    }

    /// The password was right: the user's failures from there are forgotten, and this was no failure of the source.
    pub(super) fn succeeded(&self, source: IpAddr, user: &str) {
        let [of_source, of_user] = keys_of(source, user);
        let mut tries = self.lock();
        tries.remove(&of_user);
        if let Some(tries) = tries.get_mut(&of_source) {
            tries.count = tries.count.saturating_sub(1);
        }
    }

    fn count(&self, source: IpAddr, keys: [Key; 2]) -> Result<(), Refused> {
        let now = Instant::now();
        let mut tries = self.lock();
        if tries.len() + keys.len() > self.remembered {
            tries.retain(|_, tries| now.duration_since(tries.since) < self.window);
        }
        if tries.len() + keys.len() > self.remembered {
            // Whoever has so many addresses is not stopped by counting; the bounded hashing still slows all down.
            tries.clear();
        }
        let most = [self.per_source, self.per_user];
        for (key, most) in keys.into_iter().zip(most) {
            let tries = tries.get(&key).filter(|tries| now.duration_since(tries.since) < self.window);
            if tries.is_some_and(|tries| tries.count >= most) {
                return Err(Refused);
            }
        }
        for (key, most) in keys.into_iter().zip(most) {
            let entry = tries.entry(key).or_insert(Tries { count: 0, since: now });
            if now.duration_since(entry.since) >= self.window {
                *entry = Tries { count: 0, since: now };
            }
            entry.count += 1;
            // Said once, with the last try that passes: who goes on trying does not fill the log.
            if entry.count == most {
                tracing::warn!(%source, "many logins failed; more from there are turned away for a while");
            }
        }
        Ok(())
    }

    fn take_back(&self, keys: [Key; 2]) {
        let mut tries = self.lock();
        for key in keys {
            if let Some(tries) = tries.get_mut(&key) {
                tries.count = tries.count.saturating_sub(1);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Tries>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys_of(source: IpAddr, user: &str) -> [Key; 2] {
    let source = match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    };
    [Key::Source(source), Key::User(source, sha256(user.as_bytes()))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;

    fn door() -> LoginDoor {
        LoginDoor::new(&Limits { login_tries: 3, login_tries_per_source: 5, login_sources: 64, ..LIMITS })
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn the_third_try_passes_and_the_fourth_does_not() {
        let door = door();
        for _ in 0..3 {
            assert!(door.enter(v4(1), "me").await.is_ok());
        }
        assert!(door.enter(v4(1), "me").await.is_err());
        assert!(door.enter(v4(2), "me").await.is_ok(), "another source is not locked out");
    }

    #[tokio::test]
    async fn changing_the_user_does_not_help() {
        let door = door();
        for user in ["a", "b", "c", "d", "e"] {
            assert!(door.enter(v4(1), user).await.is_ok());
        }
        assert!(door.enter(v4(1), "f").await.is_err());
    }

    #[tokio::test]
    async fn an_ipv6_source_is_its_network() {
        let door = door();
        for host in 0..5 {
            assert!(door.enter(format!("2001:db8::{host}").parse().unwrap(), &host.to_string()).await.is_ok());
        }
        assert!(door.enter("2001:db8::ffff".parse().unwrap(), "f").await.is_err());
        assert!(door.enter("2001:db8:0:1::1".parse().unwrap(), "f").await.is_ok());
    }

    #[tokio::test]
    async fn a_success_forgets_the_failures() {
        let door = door();
        for _ in 0..20 {
            assert!(door.enter(v4(1), "me").await.is_ok());
            door.succeeded(v4(1), "me");
        }
    }

    #[tokio::test]
    async fn never_remembers_more_than_its_bound() {
        let door = door();
        for last in 0..=255 {
            assert!(door.enter(v4(last), "me").await.is_ok());
            assert!(door.lock().len() <= 64);
        }
    }

    #[tokio::test]
    async fn no_more_wait_for_a_turn_than_its_bound() {
        let door = LoginDoor::new(&Limits { logins_at_once: 1, logins_waiting: 0, ..LIMITS });
        let turn = door.enter(v4(1), "me").await.unwrap();
        assert!(door.enter(v4(1), "me").await.is_err());
        drop(turn);
        assert!(door.enter(v4(1), "me").await.is_ok());
    }
}
