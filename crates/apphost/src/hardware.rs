//! What a device app uses of its board, and what of it calls back.

use std::collections::BTreeMap;

use squirrel::{Pin, Value};

use crate::app::App;
use crate::board::{Board, PINS, PinMode, UART};

/// A device app's hold on its board.
#[derive(Debug)]
pub(crate) struct Hardware {
    pub(crate) board: Box<dyn Board>,
    /// The pins that are configured, by their place in [`PINS`].
    pub(crate) pins: BTreeMap<usize, PinUse>,
    /// The I2C buses and SPI buses that are configured.
    pub(crate) buses: BTreeMap<&'static str, ()>,
    /// What the last transfer on an I2C bus came to.
    pub(crate) i2c_errors: BTreeMap<&'static str, i32>,
    /// The UARTs that are configured, by their place in [`UART`].
    pub(crate) uarts: BTreeMap<usize, UartUse>,
    pub(crate) flash_on: bool,
    pub(crate) sampler: Option<Sampler>,
    /// Something may have changed that the app wants to be told of.
    pub(crate) moved: bool,
}

/// A pin in use.
#[derive(Debug)]
pub(crate) struct PinUse {
    pub(crate) mode: PinMode,
    pub(crate) callback: Option<Pin>,
    /// What a digital input read when it was last looked at.
    pub(crate) high: bool,
}

/// A UART in use.
#[derive(Debug, Default)]
pub(crate) struct UartUse {
    pub(crate) callback: Option<Pin>,
    /// How many bytes waited when the app was last told.
    pub(crate) told: usize,
}

/// Samples taken at a steady rate, buffer by buffer.
#[derive(Debug)]
pub(crate) struct Sampler {
    pub(crate) pin: usize,
    pub(crate) rate: u32,
    pub(crate) buffers: Vec<Pin>,
    /// Which buffer is filled now.
    pub(crate) next: usize,
    pub(crate) callback: Pin,
    /// When the buffer that is filled now was begun, milliseconds; none while it is stopped.
    pub(crate) since: Option<f64>,
}

impl Hardware {
    pub(crate) fn new(board: Box<dyn Board>) -> Self {
        Self {
            board,
            pins: BTreeMap::new(),
            buses: BTreeMap::new(),
            i2c_errors: BTreeMap::new(),
            uarts: BTreeMap::new(),
            flash_on: false,
            sampler: None,
            moved: false,
        }
    }

    /// What a pin shows now: its level, and whether that is high.
    pub(crate) fn read(&mut self, place: usize, at: f64) -> (f32, bool) {
        let level = PINS.get(place).map_or(0.0, |name| self.board.level(name, at));
        (level, level >= 0.5)
    }

    fn changed_pin(&mut self, at: f64) -> Option<Pin> {
        let watched: Vec<usize> =
            self.pins.iter().filter(|(_, used)| used.callback.is_some()).map(|(place, _)| *place).collect();
        watched.into_iter().find_map(|place| {
            let (_, high) = self.read(place, at);
            let used = self.pins.get_mut(&place)?;
            let changed = std::mem::replace(&mut used.high, high) != high;
            used.callback.filter(|_| changed)
        })
    }

    fn received(&mut self) -> Option<Pin> {
        let Self { board, uarts, .. } = self;
        uarts.iter_mut().find_map(|(place, used)| {
            let waiting = board.uart_waiting(UART.get(*place)?);
            let more = waiting > used.told;
            used.told = waiting;
            used.callback.filter(|_| more)
        })
    }
}

impl App {
    /// When the board has something for the app next, milliseconds.
    pub(crate) fn hardware_due(&self) -> Option<u64> {
        let hardware = self.hardware.as_ref()?;
        if hardware.moved { Some(self.now.mono_ms) } else { self.sampler_due() }
    }

    /// Begins a callback of the board's, if one is due.
    pub(crate) fn begin_hardware(&mut self) -> bool {
        let at = self.seconds();
        let Some(hardware) = self.hardware.as_mut() else { return false };
        if hardware.moved {
            if let Some(callback) = hardware.changed_pin(at).or_else(|| hardware.received()) {
                self.call(Some(callback), &[]);
                return true;
            }
            hardware.moved = false;
        }
        self.begin_samples()
    }

    /// The clock that never goes back, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.now.mono_ms as f64 / 1000.0
    }

    /// The pins that end deep sleep when they go high.
    pub fn wakeup_pins(&self) -> Vec<&'static str> {
        let wakes = |used: &PinUse| used.mode == PinMode::DigitalInWakeup;
        let pins = self.hardware.iter().flat_map(|hardware| &hardware.pins);
        pins.filter(|(_, used)| wakes(used)).filter_map(|(place, _)| PINS.get(*place).copied()).collect()
    }

    /// Whether the app is called back when a pin or a UART of its board changes: then give [`crate::Input::BoardMoved`].
    pub fn watches_board(&self) -> bool {
        let used = |hardware: &Hardware| {
            hardware.pins.values().any(|used| used.callback.is_some())
                || hardware.uarts.values().any(|used| used.callback.is_some())
        };
        self.hardware.as_deref().is_some_and(used)
    }

    pub(crate) fn forget_value(&mut self, pin: Option<Pin>) {
        if let Some(pin) = pin {
            let _: Value = self.vm.unpin(pin);
        }
    }
}
