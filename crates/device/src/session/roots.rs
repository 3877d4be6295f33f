//! What a session has to do with newer root metadata: it carries them to the parent, which judges.

use protocol::os::{ROOTS_ALONE, Trust};

use super::Session;

impl Session<'_> {
    /// The server has root metadata up to this version: what follows the device's own is asked for, where it demands any and can keep it.
    pub(super) fn root_available(&mut self, version: u64) {
        self.newest_root = version;
        let folder = &self.device.folder;
        if let Some(root) = folder.root.as_ref().filter(|root| root.version < version && !folder.store.is_diskless()) {
            // A session that has ended gives no answer, and the next one asks anew.
            let _ = self.machine.want_trust(ROOTS_ALONE, root.version, self.device.clock.now());
        }
    }

    /// Some of them have come; those that did not fit are asked for.
    pub(super) async fn roots_came(&mut self, trust: Trust) {
        if self.device.learn_roots(&trust).await {
            self.root_available(self.newest_root);
        }
    }
}
