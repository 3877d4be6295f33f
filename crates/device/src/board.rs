//! The board of this device, kept over the restarts of its app; simulated from a data file where the program is built for that.

#[cfg(feature = "simulated-board")]
pub mod levels;
#[cfg(feature = "simulated-board")]
pub mod plan;
#[cfg(feature = "simulated-board")]
pub mod security;
#[cfg(feature = "simulated-board")]
pub mod simulated;
#[cfg(feature = "simulated-board")]
pub mod wave;

use std::path::Path;

use apphost::{Bench, Board};

use crate::events::DeviceEvent;
use crate::limits::Limits;

/// The board's file in the device's folder.
pub const BOARD_FILE: &str = "board.toml";

/// Why the board of a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The file cannot be read.
    #[error("{file}: the board cannot be read: {source}")]
    Read {
        /// Which file.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is no board.
    #[error("{file}: {why}")]
    Wrong {
        /// Which file.
        file: String,
        /// What is wrong and what is right.
        why: String,
    },
}

/// The board as the runtime holds it.
#[derive(Debug)]
pub struct DeviceBoard {
    #[cfg(feature = "simulated-board")]
    simulated: simulated::Simulated,
    #[cfg(feature = "simulated-board")]
    levels: levels::Levels,
    #[cfg(not(feature = "simulated-board"))]
    bench: Bench,
}

impl DeviceBoard {
    /// The board of the device in a folder.
    ///
    /// # Errors
    /// [`BoardError`].
    #[cfg(feature = "simulated-board")]
    pub fn open(dir: &Path, limits: &Limits) -> Result<DeviceBoard, BoardError> {
        let simulated = simulated::Simulated::new(plan::Plan::of(dir, limits)?);
        let levels = levels::Levels::watch(dir).map_err(|source| BoardError::Read {
            file: dir.join(levels::BOARD_FOLDER).display().to_string(),
            source,
        })?;
        Ok(DeviceBoard { simulated, levels })
    }

    /// A board with nothing wired to it.
    ///
    /// # Errors
    /// None.
    #[cfg(not(feature = "simulated-board"))]
    pub fn open(_dir: &Path, _limits: &Limits) -> Result<DeviceBoard, BoardError> {
        Ok(DeviceBoard { bench: Bench::default() })
    }

    /// The folders below the device's that are read while the board is at work.
    pub(crate) fn folders() -> &'static [&'static str] {
        #[cfg(feature = "simulated-board")]
        return &[levels::BOARD_FOLDER];
        #[cfg(not(feature = "simulated-board"))]
        return &[];
    }

    /// A board with nothing wired to it and nobody to change that.
    pub fn bare() -> Box<dyn Board> {
        Box::new(Bench::default())
    }

    /// The board for the next app.
    pub(crate) fn for_app(&self) -> Box<dyn Board> {
        #[cfg(feature = "simulated-board")]
        return Box::new(self.simulated.clone());
        #[cfg(not(feature = "simulated-board"))]
        return Box::new(self.bench.clone());
    }

    /// Whether the board changes by itself and is to be looked at now and then.
    pub(crate) fn moves(&self) -> bool {
        cfg!(feature = "simulated-board")
    }

    /// Looks at what changed since the last time: for those who watch.
    pub(crate) fn look(&mut self, at: f64) -> Vec<DeviceEvent> {
        #[cfg(feature = "simulated-board")]
        {
            let mut told: Vec<DeviceEvent> = Vec::new();
            for set in self.levels.changed() {
                if let Err(why) = self.simulated.set(&set) {
                    told.push(DeviceEvent::PinNotSet { pin: set.pin, why });
                }
            }
            told.extend(self.simulated.changes(at));
            told
        }
        #[cfg(not(feature = "simulated-board"))]
        {
            let _ = at;
            Vec::new()
        }
    }

    /// Whether one of these pins is high now.
    pub(crate) fn any_high(&self, pins: &[&'static str], at: f64) -> bool {
        let mut board = self.for_app();
        pins.iter().any(|pin| board.level(pin, at) >= 0.5)
    }
}
