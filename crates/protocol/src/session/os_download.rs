//! An OS image on its way to the device, with a few questions under way at once, and the answers about it that are awaited.

use std::collections::BTreeMap;

use crate::codec::{CodecError, at_most};
use crate::limits::Limits;

/// What a device is fetching for an OS update in one session: at most one image and one key, and metadata, also of an app.
#[derive(Debug, Default)]
pub(super) struct OsFetching {
    image: Option<Image>,
    key: Option<Asked>,
    /// Whose metadata is awaited, until when.
    trust: BTreeMap<[u8; 32], u64>,
    received: u64,
}

#[derive(Debug)]
struct Image {
    name: [u8; 32],
    len: u32,
    /// The byte that comes next.
    next: u32,
    /// From which byte on to ask next: a multiple of the piece, or the end.
    ask: u32,
    /// When the next piece must be here, in milliseconds of the monotonic clock.
    deadline: u64,
}

#[derive(Debug)]
struct Asked {
    name: [u8; 32],
    deadline: u64,
}

impl OsFetching {
    /// Begins at byte `from`; an image being fetched is given up.
    pub(super) fn begin(&mut self, name: [u8; 32], len: u32, from: u32, deadline: u64) {
        self.image = (from < len).then_some(Image { name, len, next: from, ask: from, deadline });
    }

    /// The next question to send now: which image, from which byte on.
    pub(super) fn question(&mut self, limits: &Limits) -> Option<([u8; 32], u32)> {
        let image = self.image.as_mut()?;
        let piece = piece(limits);
        let under_way = image.ask.div_ceil(piece).saturating_sub(image.next / piece);
        if image.ask >= image.len || (image.ask > image.next && under_way >= limits.os_window) {
            return None;
        }
        let offset = image.ask;
        image.ask = end_of_piece(offset, piece, image.len);
        Some((image.name, offset))
    }

    /// Takes a piece and says whether it is the one that comes next; any other is late mail of an earlier question.
    pub(super) fn take(
        &mut self,
        name: [u8; 32],
        offset: u32,
        data: &[u8],
        deadline: u64,
        limits: &Limits,
    ) -> Result<bool, CodecError> {
        let Some(image) = self.image.as_mut().filter(|image| image.name == name && image.next == offset) else {
            return Ok(false);
        };
        let end = end_of_piece(offset, piece(limits), image.len);
        at_most("a piece of an OS image, counted to its end", data.len(), (end - offset) as usize)?;
        if data.len() < (end - offset) as usize {
            return Err(CodecError::Meaningless("a piece of an OS image that is cut short"));
        }
        image.next = end;
        image.deadline = deadline;
        self.received = self.received.saturating_add(data.len() as u64);
        if image.next == image.len {
            self.image = None;
        }
        Ok(true)
    }

    pub(super) fn await_key(&mut self, name: [u8; 32], deadline: u64) {
        self.key = Some(Asked { name, deadline });
    }

    pub(super) fn await_trust(&mut self, name: [u8; 32], deadline: u64) {
        self.trust.insert(name, deadline);
    }

    /// Whether this key was asked for; it is not any more.
    pub(super) fn take_key(&mut self, name: [u8; 32]) -> bool {
        self.key.take_if(|asked| asked.name == name).is_some()
    }

    /// Whether this metadata was asked for; it is not any more.
    pub(super) fn take_trust(&mut self, name: [u8; 32]) -> bool {
        self.trust.remove(&name).is_some()
    }

    /// Gives up what belongs to an image that is not to be installed any more.
    pub(super) fn keep_only(&mut self, name: Option<[u8; 32]>) {
        self.image.take_if(|image| Some(image.name) != name);
        self.key.take_if(|asked| Some(asked.name) != name);
    }

    /// Nothing was read for a while, so each answer under way gets its whole time again.
    pub(super) fn postpone(&mut self, deadline: u64) {
        let asked = self.key.iter_mut().map(|asked| &mut asked.deadline).chain(self.trust.values_mut());
        asked.chain(self.image.iter_mut().map(|image| &mut image.deadline)).for_each(|due| *due = deadline);
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let asked = self.key.iter().map(|asked| asked.deadline).chain(self.trust.values().copied());
        asked.chain(self.image.iter().map(|image| image.deadline)).min()
    }

    /// The bytes of OS images that came.
    pub(super) fn received(&self) -> u64 {
        self.received
    }
}

/// The length of a piece, which fits: it is far shorter than a frame.
fn piece(limits: &Limits) -> u32 {
    u32::try_from(limits.chunk).unwrap_or(u32::MAX).max(1)
}

/// Where the piece ends that begins at `offset`.
fn end_of_piece(offset: u32, piece: u32, len: u32) -> u32 {
    (offset / piece).saturating_add(1).saturating_mul(piece).min(len)
}
