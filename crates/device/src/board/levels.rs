//! The file through which a person sets pins while the board runs. Nothing listens: the runtime looks at the file now and then.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The folder in the device's folder that holds the file and nothing else, so that a device which is locked down can be left that
/// one folder to read.
pub const BOARD_FOLDER: &str = "board";
/// The file's name in it.
const LEVELS_FILE: &str = "levels";
/// The most bytes of the file that are read.
const BYTES_MOST: u64 = 64 * 1024;

/// One pin, and what it is to show.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The pin's name.
    pub pin: String,
    /// In the pin's unit; `None` gives the pin back to its waveform.
    pub value: Option<f32>,
}

/// The file, as last seen.
#[derive(Debug)]
pub struct Levels {
    file: PathBuf,
    seen: String,
}

impl Levels {
    /// Watches the file of a device's folder. What it holds already counts as changed.
    ///
    /// # Errors
    /// The file's folder is missing and cannot be made.
    pub fn watch(dir: &Path) -> io::Result<Levels> {
        Ok(Levels { file: folder(dir)?.join(LEVELS_FILE), seen: String::new() })
    }

    /// The lines that are new since the last look. A file that is missing or unreadable changes nothing.
    pub fn changed(&mut self) -> Vec<Setting> {
        let Ok(text) = read(&self.file) else { return Vec::new() };
        if text == self.seen {
            return Vec::new();
        }
        let old = parse(&self.seen);
        let new = parse(&text);
        self.seen = text;
        new.into_iter().filter(|setting| !old.contains(setting)).collect()
    }
}

/// Writes one pin's setting into the file of a device's folder, the others stay. The running board sees it whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn set(dir: &Path, setting: &Setting) -> io::Result<()> {
    let folder = folder(dir)?;
    let file = folder.join(LEVELS_FILE);
    let mut settings = match read(&file) {
        Ok(text) => parse(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    settings.retain(|old| old.pin != setting.pin);
    settings.push(setting.clone());
    let line = |setting: &Setting| match setting.value {
        Some(value) => format!("{} {value}\n", setting.pin),
        None => format!("{} auto\n", setting.pin),
    };
    let text: String = settings.iter().map(line).collect();
    let new = folder.join(format!("{LEVELS_FILE}.new"));
    fs::write(&new, text)?;
    fs::rename(new, file)
}

fn folder(dir: &Path) -> io::Result<PathBuf> {
    let folder = dir.join(BOARD_FOLDER);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

fn read(file: &Path) -> io::Result<String> {
    if fs::metadata(file)?.len() > BYTES_MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read_to_string(file)
}

/// The lines that can be read; others are nobody's.
fn parse(text: &str) -> Vec<Setting> {
    let line = |line: &str| {
        let (pin, value) = line.trim().split_once(' ')?;
        let value = match value.trim() {
            "auto" => None,
            number => Some(number.parse().ok().filter(|value: &f32| value.is_finite())?),
        };
        Some(Setting { pin: pin.to_owned(), value })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(pin: &str, value: Option<f32>) -> Setting {
        Setting { pin: pin.to_owned(), value }
    }

    #[test]
    fn what_was_set_is_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut levels = Levels::watch(dir.path()).unwrap();
        assert_eq!(levels.changed(), []);
        set(dir.path(), &setting("pin1", Some(23.5))).unwrap();
        set(dir.path(), &setting("pin2", Some(-1.0))).unwrap();
        assert_eq!(levels.changed(), [setting("pin1", Some(23.5)), setting("pin2", Some(-1.0))]);
        assert_eq!(levels.changed(), []);
        set(dir.path(), &setting("pin1", None)).unwrap();
        assert_eq!(levels.changed(), [setting("pin1", None)]);
    }

    #[test]
    fn a_file_that_is_too_long_or_no_text_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut levels = Levels::watch(dir.path()).unwrap();
        fs::write(
            dir.path().join(BOARD_FOLDER).join(LEVELS_FILE),
            "\u{0}\npin1\npin1 x\npin1 NaN\npin1 1 2\n pin5 2 \n",
        )
        .unwrap();
        assert_eq!(levels.changed(), [setting("pin5", Some(2.0))]);
        fs::write(dir.path().join(BOARD_FOLDER).join(LEVELS_FILE), "pin1 1\n".repeat(10_000)).unwrap();
        assert_eq!(levels.changed(), []);
        fs::write(dir.path().join(BOARD_FOLDER).join(LEVELS_FILE), [0xff, 0xfe]).unwrap();
        assert_eq!(levels.changed(), []);
    }
}
