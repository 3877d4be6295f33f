//! A wire that can be cut: a TCP relay on loopback that stops forwarding without a word to either end, or breaks what is open.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::PATIENCE;

/// The relay; it works until the test's process ends.
pub(crate) struct FaultProxy {
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    open: Vec<TcpStream>,
    /// Bytes that went to the clients.
    delivered: u64,
    /// Where what is open breaks, and how many bytes after that again.
    breaks_at: Option<u64>,
    breaks_after: VecDeque<u64>,
}

impl State {
    fn next_break(&mut self) {
        self.breaks_at = self.breaks_after.pop_front().map(|bytes| self.delivered + bytes);
    }

    fn break_open(&mut self) {
        for stream in self.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Wire {
    /// Waits while the wire is cut.
    fn pass(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.is_cut).unwrap());
    }

    /// Hands bytes to the client, up to where the wire breaks.
    fn deliver(&self, to: &mut TcpStream, bytes: &[u8]) -> bool {
        let room = {
            let mut state = self.state.lock().unwrap();
            let left = state.breaks_at.map_or(u64::MAX, |at| at.saturating_sub(state.delivered));
            let room = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            state.delivered += room as u64;
            room
        };
        let went = to.write_all(&bytes[..room]).is_ok();
        let mut state = self.state.lock().unwrap();
        if state.breaks_at.is_some_and(|at| state.delivered >= at) {
            state.break_open();
            state.next_break();
            state.is_cut = state.breaks_at.is_none();
            self.changed.notify_all();
            return false;
        }
        went
    }
}

impl FaultProxy {
    /// Relays what comes to `listen` to `target`.
    pub(crate) fn start(listen: SocketAddr, target: SocketAddr) -> FaultProxy {
        let listener = TcpListener::bind(listen).unwrap_or_else(|error| panic!("{listen}: {error}"));
        let wire = Arc::new(Wire::default());
        let shared = Arc::clone(&wire);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                shared.pass();
                // Without a server there is nobody to talk to, and the client is hung up on.
                if let Ok(server) = TcpStream::connect(target) {
                    let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                    shared.state.lock().unwrap().open.extend(ends);
                    relay(&shared, &client, &server, |_, to, bytes| to.write_all(bytes).is_ok());
                    relay(&shared, &server, &client, Wire::deliver);
                }
            }
        });
        FaultProxy { wire }
    }

    /// Cuts the wire for this long. What is under way then arrives late, as it does after a real cut.
    pub(crate) fn cut(&self, time: Duration) {
        self.wire.state.lock().unwrap().is_cut = true;
        thread::sleep(time);
        self.mend();
    }

    /// Ends a cut.
    pub(crate) fn mend(&self) {
        self.wire.state.lock().unwrap().is_cut = false;
        self.wire.changed.notify_all();
    }

    /// Breaks every connection that is open.
    pub(crate) fn break_now(&self) {
        self.wire.state.lock().unwrap().break_open();
    }

    /// Breaks every connection that is open once so many more bytes have gone to the clients, again and again; with the last time the wire is
    /// cut.
    pub(crate) fn break_after(&self, bytes: &[u64]) {
        let mut state = self.wire.state.lock().unwrap();
        state.breaks_after = bytes.iter().copied().collect();
        state.next_break();
    }

    /// Waits until all of that has happened.
    pub(crate) fn broken(&self) {
        let state = self.wire.state.lock().unwrap();
        let waited = self.wire.changed.wait_timeout_while(state, PATIENCE, |state| state.breaks_at.is_some());
        assert!(!waited.unwrap().1.timed_out(), "too little came over the wire");
    }

    /// How many bytes went to the clients so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.wire.state.lock().unwrap().delivered
    }
}

/// Forwards one direction by `hand_over`, which says whether the wire goes on.
fn relay(
    wire: &Arc<Wire>,
    from: &TcpStream,
    to: &TcpStream,
    hand_over: impl Fn(&Wire, &mut TcpStream, &[u8]) -> bool + Send + 'static,
) {
    let (wire, mut from, mut to) = (Arc::clone(wire), from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        loop {
            let read = from.read(&mut bytes).unwrap_or(0);
            wire.pass();
            if read == 0 || !hand_over(&wire, &mut to, &bytes[..read]) {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
