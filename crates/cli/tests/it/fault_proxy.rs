//! A wire that can be cut: a TCP relay on loopback that stops forwarding, in both directions, without a word to either end.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// The relay; it works until the test's process ends.
pub(crate) struct FaultProxy {
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    is_cut: Mutex<bool>,
    mended: Condvar,
}

impl Wire {
    /// Waits while the wire is cut.
    fn pass(&self) {
        let is_cut = self.is_cut.lock().unwrap();
        drop(self.mended.wait_while(is_cut, |is_cut| *is_cut).unwrap());
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
                    relay(&shared, &client, &server);
                    relay(&shared, &server, &client);
                }
            }
        });
        FaultProxy { wire }
    }

    /// Cuts the wire for this long. What is under way then arrives late, as it does after a real cut.
    pub(crate) fn cut(&self, time: Duration) {
        *self.wire.is_cut.lock().unwrap() = true;
        thread::sleep(time);
        *self.wire.is_cut.lock().unwrap() = false;
        self.wire.mended.notify_all();
    }
}

fn relay(wire: &Arc<Wire>, from: &TcpStream, to: &TcpStream) {
    let (wire, mut from, mut to) = (Arc::clone(wire), from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        loop {
            let read = from.read(&mut bytes).unwrap_or(0);
            wire.pass();
            if read == 0 || to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
