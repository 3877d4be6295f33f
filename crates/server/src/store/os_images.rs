//! The encrypted OS images: files in the server's folder, read in pieces, of which the last used ones are kept in memory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keys::hashes::random;
use protocol::limits::LIMITS as WIRE;

use super::Store;
use super::cache::Cache;

/// The folder of the images in the server's folder.
pub const OS_IMAGES_FOLDER: &str = "os-images";
/// How the name of a file begins that is still being written.
const UNFINISHED: &str = "unfinished-";

/// Pieces by image and offset.
type Pieces = Cache<([u8; 32], u32), Arc<[u8]>>;

/// Where the images are, and what was read of them lately.
pub(super) struct OsImages {
    folder: PathBuf,
    pieces: Mutex<Pieces>,
}

/// A file that is being written; it is removed unless it becomes an image.
#[derive(Debug)]
pub struct NewOsImage {
    file: File,
    path: PathBuf,
    folder: PathBuf,
}

impl OsImages {
    /// Those in the folder of a server. What was being written when it ended is removed.
    pub(super) fn open(dir: &Path, cache_bytes: usize) -> io::Result<Self> {
        let folder = dir.join(OS_IMAGES_FOLDER);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder, pieces: Mutex::new(Cache::new(cache_bytes)) })
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// A new file for an encrypted image. It blocks, as its methods do.
    ///
    /// # Errors
    /// The system's.
    pub fn new_os_image(&self) -> io::Result<NewOsImage> {
        let folder = self.0.os_images.folder.clone();
        let path = folder.join(format!("{UNFINISHED}{}", const_hex::encode(random::<8>())));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(NewOsImage { file, path, folder })
    }

    /// A piece of an image if it is in memory: from `offset` to the next multiple of a piece's length.
    fn os_piece_at_hand(&self, image: &[u8; 32], offset: u32) -> Option<Arc<[u8]>> {
        self.0.os_images.pieces().get(&(*image, offset))
    }

    /// The same from the disk, empty beyond the end of the image.
    ///
    /// # Errors
    /// The system's.
    pub async fn os_piece(&self, image: [u8; 32], offset: u32) -> io::Result<Arc<[u8]>> {
        if let Some(piece) = self.os_piece_at_hand(&image, offset) {
            return Ok(piece);
        }
        let path = self.0.os_images.folder.join(const_hex::encode(image));
        let piece: Arc<[u8]> = tokio::task::spawn_blocking(move || read_piece(&path, offset)).await??.into();
        // Pieces that begin elsewhere are asked for once, after a cut.
        if u64::from(offset) % WIRE.chunk as u64 == 0 {
            self.0.os_images.pieces().put((image, offset), Arc::clone(&piece), piece.len());
        }
        Ok(piece)
    }
}

fn read_piece(path: &Path, offset: u32) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let (len, offset, chunk) = (file.metadata()?.len(), u64::from(offset), WIRE.chunk as u64);
    let end = ((offset / chunk).saturating_add(1) * chunk).min(len);
    let mut piece = vec![0; usize::try_from(end.saturating_sub(offset)).unwrap_or(0)];
    file.read_exact_at(&mut piece, offset)?;
    Ok(piece)
}

impl NewOsImage {
    /// Appends bytes.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Opens what was written so far, to be read from its beginning.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Makes it the image of this name, durably; one that is there already has the same bytes and is replaced.
    ///
    /// # Errors
    /// The system's.
    pub fn keep(self, image: &[u8; 32]) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, self.folder.join(const_hex::encode(image)))?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for NewOsImage {
    fn drop(&mut self) {
        // After it was kept there is nothing at this path any more.
        let _ = fs::remove_file(&self.path);
    }
}
