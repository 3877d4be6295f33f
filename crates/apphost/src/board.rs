//! A simulated board: what the host shows on its pins, and what the app drives.

/// The names of the pins, as properties of `hardware`.
pub(crate) const PINS: [&str; 31] = [
    "pin1", "pin2", "pin5", "pin6", "pin7", "pin8", "pin9", "pinA", "pinB", "pinC", "pinD", "pinE", "pinF", "pinG",
    "pinH", "pinJ", "pinK", "pinL", "pinM", "pinN", "pinP", "pinQ", "pinR", "pinS", "pinT", "pinU", "pinV", "pinW",
    "pinX", "pinY", "pinZ",
];

/// What a pin is used for; the numbers are this product's own, scripts use the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinMode {
    DigitalIn,
    DigitalInPullup,
    DigitalInPulldown,
    DigitalOut,
    AnalogIn,
    AnalogOut,
    PwmOut,
}

impl PinMode {
    /// Names of constants, their numbers and what they mean.
    pub(crate) const ALL: [(&'static str, i32, Self); 10] = [
        ("DIGITAL_IN", 1, Self::DigitalIn),
        ("DIGITAL_IN_PULLUP", 2, Self::DigitalInPullup),
        ("DIGITAL_IN_PULLDOWN", 3, Self::DigitalInPulldown),
        ("DIGITAL_IN_WAKEUP", 4, Self::DigitalInPulldown),
        ("DIGITAL_OUT", 5, Self::DigitalOut),
        ("DIGITAL_OUT_OD", 6, Self::DigitalOut),
        ("DIGITAL_OUT_OD_PULLUP", 7, Self::DigitalOut),
        ("ANALOG_IN", 8, Self::AnalogIn),
        ("ANALOG_OUT", 9, Self::AnalogOut),
        ("PWM_OUT", 10, Self::PwmOut),
    ];

    pub(crate) fn of(number: i32) -> Option<Self> {
        Self::ALL.iter().find(|(_, of, _)| *of == number).map(|(_, _, mode)| *mode)
    }

    pub(crate) fn is_output(self) -> bool {
        matches!(self, Self::DigitalOut | Self::AnalogOut | Self::PwmOut)
    }

    pub(crate) fn is_digital(self) -> bool {
        matches!(self, Self::DigitalIn | Self::DigitalInPullup | Self::DigitalInPulldown | Self::DigitalOut)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BoardPin {
    pub(crate) mode: Option<PinMode>,
    /// From 0, ground, to 1, the supply; `None` while nothing is wired to it.
    shown: Option<f32>,
    driven: f32,
}

/// There is no pin of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulated board has no such pin")]
pub struct NoSuchPin;

/// The pins of a simulated board and its supply. Levels go from 0.0 (ground) to 1.0 (the supply).
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// `hardware.voltage()`, volts.
    pub voltage: f32,
    /// `hardware.lightlevel()`, 0 to 65535.
    pub light: u16,
    pub(crate) pins: Vec<BoardPin>,
}

impl Default for Board {
    /// Supplied with 3.3 V, in the dark, nothing wired to any pin.
    fn default() -> Self {
        Self { voltage: 3.3, light: 0, pins: vec![BoardPin::default(); PINS.len()] }
    }
}

impl Board {
    /// A board without pins, which an agent has.
    pub(crate) fn none() -> Self {
        Self { pins: Vec::new(), ..Self::default() }
    }

    /// Puts a level on a pin from outside, or with `None` takes the wire off. What is no level between 0 and 1 is the nearest one.
    ///
    /// # Errors
    /// There is no pin of this name.
    pub fn show(&mut self, pin: &str, level: Option<f32>) -> Result<(), NoSuchPin> {
        let pin = Self::place(pin).and_then(|place| self.pins.get_mut(place)).ok_or(NoSuchPin)?;
        pin.shown = level.map(|level| if level.is_nan() { 0.0 } else { level.clamp(0.0, 1.0) });
        Ok(())
    }

    /// The level on a pin now, whoever drives it.
    ///
    /// # Errors
    /// There is no pin of this name.
    pub fn level(&self, pin: &str) -> Result<f32, NoSuchPin> {
        Self::place(pin).and_then(|place| self.pins.get(place)).map(BoardPin::level).ok_or(NoSuchPin)
    }

    pub(crate) fn place(pin: &str) -> Option<usize> {
        PINS.iter().position(|name| *name == pin)
    }
}

impl BoardPin {
    pub(crate) fn level(&self) -> f32 {
        match self.mode {
            Some(mode) if mode.is_output() => self.driven,
            Some(PinMode::DigitalInPullup) => self.shown.unwrap_or(1.0),
            _ => self.shown.unwrap_or(0.0),
        }
    }

    pub(crate) fn is_high(&self) -> bool {
        self.level() >= 0.5
    }

    pub(crate) fn drive(&mut self, level: f32) {
        self.driven = if level.is_nan() { 0.0 } else { level.clamp(0.0, 1.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_stay_between_ground_and_supply() {
        let mut board = Board::default();
        for (shown, level) in [(0.25, 0.25), (-1.0, 0.0), (2.0, 1.0), (f32::NAN, 0.0), (f32::INFINITY, 1.0)] {
            board.show("pin1", Some(shown)).unwrap();
            assert_eq!(board.level("pin1"), Ok(level));
        }
        assert_eq!(board.show("pin3", Some(1.0)), Err(NoSuchPin));
        assert_eq!(board.level(""), Err(NoSuchPin));
    }

    #[test]
    fn a_pull_up_holds_a_pin_that_nothing_is_wired_to() {
        let mut board = Board::default();
        board.pins[0].mode = Some(PinMode::DigitalInPullup);
        assert!(board.pins[0].is_high());
        board.show("pin1", Some(0.0)).unwrap();
        assert!(!board.pins[0].is_high());
    }

    #[test]
    fn the_app_drives_an_output_whatever_is_shown() {
        let mut board = Board::default();
        board.pins[0].mode = Some(PinMode::DigitalOut);
        board.show("pin1", Some(1.0)).unwrap();
        assert_eq!(board.level("pin1"), Ok(0.0));
        board.pins[0].drive(1.0);
        assert_eq!(board.level("pin1"), Ok(1.0));
    }

    #[test]
    fn each_mode_has_a_number_of_its_own() {
        for (_, number, mode) in PinMode::ALL {
            assert_eq!(PinMode::of(number), Some(mode));
            assert_eq!(PinMode::ALL.iter().filter(|(_, other, _)| *other == number).count(), 1);
        }
        assert_eq!(PinMode::of(0), None);
    }
}
