//! A board in memory, whose pins somebody else shows levels on and reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Board, BusUse, NoAcknowledge, NotThere, PINS, PinMode};

/// Pins in memory; all of its clones are the same board. It has no buses.
#[derive(Clone, Debug, Default)]
pub struct Bench(Arc<Mutex<Pins>>);

#[derive(Debug)]
struct Pins {
    voltage: f32,
    light: u16,
    pins: BTreeMap<&'static str, BenchPin>,
}

impl Default for Pins {
    fn default() -> Self {
        Self { voltage: 3.3, light: 0, pins: BTreeMap::new() }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct BenchPin {
    mode: Option<PinMode>,
    /// From 0, ground, to 1, the supply; `None` while nothing is wired to it.
    shown: Option<f32>,
    driven: f32,
}

impl BenchPin {
    fn level(self) -> f32 {
        match self.mode {
            Some(mode) if mode.is_output() => self.driven,
            Some(PinMode::DigitalInPullup) => self.shown.unwrap_or(1.0),
            _ => self.shown.unwrap_or(0.0),
        }
    }
}

impl Bench {
    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the supply, in volts, and the light on the board.
    pub fn supply_with(&self, voltage: f32, light: u16) {
        let mut pins = self.pins();
        (pins.voltage, pins.light) = (voltage, light);
    }

    /// Puts a level on a pin from outside, or with `None` takes the wire off. What is no level between 0 and 1 is the nearest one.
    ///
    /// # Errors
    /// There is no pin of this name.
    pub fn show(&self, pin: &str, level: Option<f32>) -> Result<(), NotThere> {
        let name = named(pin)?;
        self.pins().pins.entry(name).or_default().shown = level.map(within);
        Ok(())
    }

    /// The level on a pin now, whoever drives it.
    ///
    /// # Errors
    /// There is no pin of this name.
    pub fn level_of(&self, pin: &str) -> Result<f32, NotThere> {
        Ok(self.pins().pins.get(named(pin)?).copied().unwrap_or_default().level())
    }

    /// What the app uses a pin for.
    pub fn mode_of(&self, pin: &str) -> Option<PinMode> {
        self.pins().pins.get(pin)?.mode
    }
}

fn named(pin: &str) -> Result<&'static str, NotThere> {
    PINS.into_iter().find(|name| *name == pin).ok_or(NotThere)
}

fn within(level: f32) -> f32 {
    if level.is_nan() { 0.0 } else { level.clamp(0.0, 1.0) }
}

impl Board for Bench {
    fn supply(&mut self) -> (f32, u16) {
        let pins = self.pins();
        (pins.voltage, pins.light)
    }

    fn configure_pin(&mut self, pin: &str, mode: Option<PinMode>) -> Result<(), NotThere> {
        let name = named(pin)?;
        self.pins().pins.entry(name).or_default().mode = mode;
        Ok(())
    }

    fn level(&mut self, pin: &str, _at: f64) -> f32 {
        self.level_of(pin).unwrap_or(0.0)
    }

    fn drive(&mut self, pin: &str, level: f32) {
        if let Ok(name) = named(pin) {
            self.pins().pins.entry(name).or_default().driven = within(level);
        }
    }

    fn configure_bus(&mut self, _bus: &str, _used: Option<BusUse>) -> Result<(), NotThere> {
        Err(NotThere)
    }

    fn i2c(&mut self, _bus: &str, _address: u8, _write: &[u8], _read: usize) -> Result<Vec<u8>, NoAcknowledge> {
        Err(NoAcknowledge)
    }

    fn spi(&mut self, _bus: &str, write: &[u8]) -> Vec<u8> {
        vec![0xff; write.len()]
    }

    fn uart_write(&mut self, _port: &str, _bytes: &[u8]) {}

    fn uart_waiting(&mut self, _port: &str) -> usize {
        0
    }

    fn uart_read(&mut self, _port: &str, _most: usize) -> Vec<u8> {
        Vec::new()
    }

    fn flash_size(&mut self) -> usize {
        0
    }

    fn flash_read(&mut self, _at: usize, _count: usize) -> Option<Vec<u8>> {
        None
    }

    fn flash_write(&mut self, _at: usize, _bytes: &[u8]) -> bool {
        false
    }

    fn flash_erase(&mut self, _at: usize) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_stay_between_ground_and_supply() {
        let board = Bench::default();
        for (shown, level) in [(0.25, 0.25), (-1.0, 0.0), (2.0, 1.0), (f32::NAN, 0.0), (f32::INFINITY, 1.0)] {
            board.show("pin1", Some(shown)).unwrap();
            assert_eq!(board.level_of("pin1"), Ok(level));
        }
        assert_eq!(board.show("pin3", Some(1.0)), Err(NotThere));
        assert_eq!(board.level_of(""), Err(NotThere));
    }

    #[test]
    fn a_pull_up_holds_a_pin_that_nothing_is_wired_to() {
        let mut board = Bench::default();
        board.configure_pin("pin1", Some(PinMode::DigitalInPullup)).unwrap();
        assert_eq!(board.level_of("pin1"), Ok(1.0));
        board.show("pin1", Some(0.0)).unwrap();
        assert_eq!(board.level_of("pin1"), Ok(0.0));
    }

    #[test]
    fn the_app_drives_an_output_whatever_is_shown() {
        let mut board = Bench::default();
        board.configure_pin("pin1", Some(PinMode::DigitalOut)).unwrap();
        board.show("pin1", Some(1.0)).unwrap();
        assert_eq!(board.level_of("pin1"), Ok(0.0));
        board.drive("pin1", 1.0);
        assert_eq!(board.level_of("pin1"), Ok(1.0));
    }
}
