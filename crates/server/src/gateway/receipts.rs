//! What a session has given to the journal for its device and not yet told the device of: it is told once it is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use keys::public::SpkiHash;
use protocol::report::RingId;

use crate::store::{Receipt, ReportRing};

/// The most that waits for the journal; nothing more is taken from the device meanwhile. As many full messages as a device keeps lines.
const WAITING: usize = 32;

/// Which report it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    Logs,
    Diary,
}

/// The number that follows a report, and when the report is durable.
pub(super) struct Waiting {
    pub(super) what: Reported,
    pub(super) next: u64,
    pub(super) receipt: Receipt,
}

/// The reports of one session, in their order. Holds no memory while none waits.
#[derive(Default)]
pub(super) struct Receipts {
    ring: Option<Arc<ReportRing>>,
    waiting: VecDeque<Waiting>,
}

impl Receipts {
    /// The ring that a report names.
    pub(super) fn ring(&mut self, device: SpkiHash, id: RingId) -> Arc<ReportRing> {
        match &self.ring {
            Some(ring) if ring.id == id => Arc::clone(ring),
            _ => Arc::clone(self.ring.insert(Arc::new(ReportRing::new(device, id)))),
        }
    }

    /// One more to wait for.
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING
    }

    /// The next report that is durable; nothing when it never will be. Waits for ever while there is none. May be dropped while waiting.
    pub(super) async fn next(&mut self) -> Option<(Reported, u64)> {
        let Some(Waiting { what, next, receipt }) = self.waiting.front_mut() else {
            return std::future::pending().await;
        };
        let kept = receipt.await.is_ok().then_some((*what, *next));
        self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        kept
    }
}
