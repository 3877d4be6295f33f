//! What a vault is handed to keep its files in.

use std::io;

/// Whole small files under plain names. One vault at a time works with a storage.
pub trait Storage {
    /// The content under this name, cut off after `most` + 1 bytes; `None` when there is nothing under it.
    ///
    /// # Errors
    /// When what is there cannot be read.
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>>;

    /// Puts this content under the name. When it returns, the new content is there even if power goes; if power goes
    /// before, either the old or the new content is there, whole.
    ///
    /// # Errors
    /// When that could not be done: then, too, either the old or the new content is there.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
}
