//! What a slot's file holds: the OS image, encrypted again under a key that exists for this one write on this one device.
//!
//! Chunks as in the vault (AES-128-GCM in STREAM form, 64 KiB), without a header: what identifies the write is in the control
//! record, and its hash is authenticated with each chunk. So a slot opens only with the record it was written for.

use std::io;

use keys::chunks::{BadChunk, ChunkKey, Refused, TAG_BYTES};
use keys::hashes::sha256;
use keys::storage::{PurposeKey, StorageKeyError};

use super::control::{Content, Slot};
use crate::storage::Disk;

/// Plain bytes in each chunk but the last. Part of the format.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Why a slot cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// There is no such file.
    #[error("{} is missing", .0.file())]
    Missing(Slot),
    /// It ends before its last chunk, or was changed, or another device or another write made it.
    #[error("{} was changed: chunk {chunk} is not what this device wrote there", .slot.file())]
    Changed {
        /// Which slot.
        slot: Slot,
        /// Which chunk, from 0.
        chunk: u32,
    },
    /// The image is empty or too long.
    #[error("an OS image of {0} bytes is not stored")]
    Length(u64),
    /// The disk refused.
    #[error("{}: {source}", .slot.file())]
    Disk {
        /// Which slot.
        slot: Slot,
        /// What the operating system said.
        source: io::Error,
    },
    /// The cryptographic library refused; nothing from outside can cause it.
    #[error(transparent)]
    Key(#[from] StorageKeyError),
    /// As above.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// One write of a slot: its key, and what each chunk is bound to.
#[derive(Debug)]
struct Sealed {
    slot: Slot,
    key: ChunkKey,
    aad: [u8; 32],
    length: u64,
}

/// Writes a slot from a chunk on.
#[derive(Debug)]
pub(crate) struct SlotWriter<'d, D: Disk> {
    disk: &'d mut D,
    file: D::File,
    sealed: Sealed,
    position: u32,
}

/// Reads a slot from its beginning.
#[derive(Debug)]
pub(crate) struct SlotReader<'d, D: Disk> {
    disk: &'d D,
    file: D::File,
    sealed: Sealed,
    position: u32,
    chunk: Vec<u8>,
}

impl Sealed {
    fn new(slot: Slot, content: &Content, key: &PurposeKey) -> Result<Sealed, SlotError> {
        let length = content.length;
        if length == 0 || u32::try_from(length.div_ceil(CHUNK as u64)).is_err() {
            return Err(SlotError::Length(length));
        }
        let manifest = sha256(&content.manifest);
        let parts =
            [b"vouch/slot/1".as_slice(), slot.file().as_bytes(), &*content.salt, &manifest, &length.to_be_bytes()];
        Ok(Sealed { slot, key: key.write_key(&content.salt)?, aad: sha256(&parts.concat()), length })
    }

    /// The plain bytes of the chunk at this position, and whether it is the last; `None` behind the end.
    fn shape(&self, position: u32) -> Option<(usize, bool)> {
        let left = self.length.checked_sub(u64::from(position) * CHUNK as u64).filter(|left| *left > 0)?;
        let plain = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        Some((plain, left <= CHUNK as u64))
    }

    fn at(position: u32) -> u64 {
        u64::from(position) * (CHUNK + TAG_BYTES) as u64
    }

    fn disk(&self, source: io::Error) -> SlotError {
        SlotError::Disk { slot: self.slot, source }
    }

    fn changed(&self, chunk: u32) -> SlotError {
        SlotError::Changed { slot: self.slot, chunk }
    }
}

impl<'d, D: Disk> SlotWriter<'d, D> {
    /// Begins to write at chunk `from`; at 0 the slot is emptied first.
    pub(crate) fn begin(
        disk: &'d mut D,
        slot: Slot,
        content: &Content,
        key: &PurposeKey,
        from: u32,
    ) -> Result<SlotWriter<'d, D>, SlotError> {
        let sealed = Sealed::new(slot, content, key)?;
        let opened = if from == 0 {
            // Its name must last before any progress in it is believed.
            disk.create(slot.file()).and_then(|file| disk.sync_folder().map(|()| file))
        } else {
            disk.open(slot.file())
        };
        let file = opened.map_err(|source| sealed.disk(source))?;
        Ok(SlotWriter { disk, file, sealed, position: from })
    }

    /// How many chunks were written.
    pub(crate) fn position(&self) -> u32 {
        self.position
    }

    /// The plain bytes of the chunk at a position, and whether it is the last; `None` behind the end.
    pub(crate) fn shape(&self, position: u32) -> Option<(usize, bool)> {
        self.sealed.shape(position)
    }

    /// Encrypts and writes the next chunk, whose plain bytes are taken from the buffer.
    pub(crate) fn write(&mut self, chunk: &mut Vec<u8>) -> Result<(), SlotError> {
        let shape = self.sealed.shape(self.position).filter(|(plain, _)| *plain == chunk.len());
        let (_, last) = shape.ok_or(SlotError::Length(self.sealed.length))?;
        self.sealed.key.seal(self.position, last, &self.sealed.aad, chunk)?;
        let written = self.disk.write_at(&mut self.file, Sealed::at(self.position), chunk);
        written.map_err(|source| self.sealed.disk(source))?;
        self.position += 1;
        Ok(())
    }

    /// Returns how many chunks would survive a power cut now: all that were written.
    pub(crate) fn sync(&mut self) -> Result<u32, SlotError> {
        self.disk.sync(&self.file).map_err(|source| self.sealed.disk(source))?;
        Ok(self.position)
    }
}

impl<'d, D: Disk> SlotReader<'d, D> {
    pub(crate) fn open(
        disk: &'d D,
        slot: Slot,
        content: &Content,
        key: &PurposeKey,
    ) -> Result<SlotReader<'d, D>, SlotError> {
        let sealed = Sealed::new(slot, content, key)?;
        let file = disk.look(slot.file()).map_err(|source| sealed.disk(source))?.ok_or(SlotError::Missing(slot))?;
        Ok(SlotReader { disk, file, sealed, position: 0, chunk: vec![0; CHUNK + TAG_BYTES] })
    }

    /// The next chunk, checked and decrypted; `None` behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, SlotError> {
        let Some((plain, last)) = self.sealed.shape(self.position) else { return Ok(None) };
        let room = self.chunk.get_mut(..plain + TAG_BYTES).ok_or(SlotError::Length(self.sealed.length))?;
        let read = self.disk.read_at(&self.file, Sealed::at(self.position), room);
        let (position, sealed) = (self.position, &self.sealed);
        if read.map_err(|source| sealed.disk(source))? < room.len() {
            return Err(sealed.changed(position));
        }
        self.position += 1;
        let opened = sealed.key.open(position, last, &sealed.aad, room);
        opened.map(Some).map_err(|BadChunk| sealed.changed(position))
    }
}
