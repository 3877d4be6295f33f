//! The app in a session: what is to run, and its pieces.

use std::sync::Arc;

use protocol::error::SendError;
use protocol::limits::LIMITS;

use super::{Done, Session, failed};
use crate::gateway::edge::Caller;
use crate::gateway::events::GatewayEventKind;
use crate::gateway::login::app_ref;
use crate::gateway::report::downloading;

impl Session {
    pub(super) fn want_app(&mut self, sha256: [u8; 32], offset: u32, caller: &Caller) {
        let Some(app) = self.app.filter(|app| app.sha256 == sha256) else { return self.tell_app() };
        if let Some(image) = self.image.clone() {
            return self.send_piece(&image, offset, caller);
        }
        let (store, bus, device) = (caller.edge.store.clone(), caller.edge.bus.clone(), self.report.device);
        let started = self.report.status(caller.edge.now(), &downloading(app.len));
        self.busy = Some(Box::pin(async move {
            if offset == 0 {
                bus.log(started).await;
            }
            match store.image(&sha256).await {
                Ok(image) => Done::Image { image, offset },
                Err(error) => failed(device, &error),
            }
        }));
    }

    pub(super) fn send_piece(&mut self, image: &Arc<[u8]>, offset: u32, caller: &Caller) {
        let Some(app) = self.app else { return };
        let start = (offset as usize).min(image.len());
        let end = start.saturating_add(LIMITS.chunk).min(image.len());
        let piece = &image[start..end];
        // An empty piece is not sendable; a device that asks beyond the end is told again what there is.
        if piece.is_empty() || self.machine.send_chunk(app.sha256, offset, piece).is_err() {
            return self.tell_app();
        }
        self.image = Some(Arc::clone(image)).filter(|image| end < image.len());
        if self.image.is_none() {
            caller.emit(|| GatewayEventKind::AppServed {
                device_id: self.id.to_string(),
                sha256: const_hex::encode(app.sha256),
                length: image.len() as u64,
                bytes: self.machine.app_bytes_sent(),
            });
        }
    }

    /// Tells the device what it is to run; when that finds no room, it is told when there is.
    pub(super) fn tell_app(&mut self) {
        let told = match self.app {
            Some(app) => self.machine.app_available(app_ref(app)),
            None => self.machine.app_removed(),
        };
        if told == Err(SendError::Full) {
            self.stale.get_or_insert(None);
            self.app = None;
        }
    }
}
