//! Prints what happens on a thread of its own: a reader that stops reading holds up nothing else.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// How long the last lines may take to be read when everything else has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A thread that prints.
pub(crate) struct Printer {
    ended: Receiver<()>,
}

impl Printer {
    /// Prints what `next` waits for, until it gives nothing.
    pub(crate) fn start<T>(
        mut next: impl FnMut() -> Option<T> + Send + 'static,
        print: impl Fn(T) + Send + 'static,
    ) -> Printer {
        let (alive, ended) = channel();
        thread::spawn(move || {
            while let Some(what) = next() {
                print(what);
            }
            drop(alive);
        });
        Printer { ended }
    }

    /// Waits until everything is printed, or nobody reads it.
    pub(crate) fn finish(self) {
        let _ = self.ended.recv_timeout(LAST_WORDS);
    }
}
