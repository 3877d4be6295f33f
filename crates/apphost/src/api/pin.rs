//! `hardware.pin1` and its neighbours.

use squirrel::{Throw, Value};

use super::Reply;
use crate::app::App;
use crate::board::{PINS, PinMode};
use crate::hardware::PinUse;

/// An analog reading at the supply's voltage.
const FULL_SCALE: f32 = 65_535.0;

impl App {
    /// `pin.configure(mode[, ..])`: an output's first value follows, an input's callback, PWM's period and duty.
    pub(super) fn pin_configure(&mut self, this: Value, arguments: &[Value]) -> Result<Reply, Throw> {
        let (place, name) = self.pin_place(this)?;
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let mode = match argument(0) {
            Value::Int(number) => PinMode::of(number),
            _ => None,
        };
        let mode = mode.ok_or_else(|| Throw::message("pin.configure: there is no such mode"))?;
        let (first, callback) = match mode {
            PinMode::DigitalOut | PinMode::AnalogOut => (argument(1), Value::Null),
            PinMode::PwmOut => (argument(2), Value::Null),
            PinMode::AnalogIn => (Value::Null, Value::Null),
            _ => (Value::Null, argument(1)),
        };
        let first = if first.is_null() { 0.0 } else { self.number("pin.configure", first)? as f32 };
        let callback = self.optional_function("pin.configure", callback)?;
        let at = self.seconds();
        let hardware = self.hardware("pin.configure")?;
        let there = hardware.board.configure_pin(name, Some(mode));
        there.map_err(|_| Throw::message(format!("pin.configure: the board has no {name}")))?;
        if mode.is_output() {
            hardware.board.drive(name, driven(mode, first));
        }
        let (_, high) = hardware.read(place, at);
        let old = hardware.pins.insert(place, PinUse { mode, callback, high });
        self.forget_value(old.and_then(|old| old.callback));
        Ok(Value::Null.into())
    }

    /// `pin.read()`: 0 or 1 of a digital pin, 0 to 65535 of an analog one.
    pub(super) fn pin_read(&mut self, this: Value) -> Result<Reply, Throw> {
        let (place, _, mode) = self.pin_in_use(this)?;
        let at = self.seconds();
        let (level, high) = self.hardware("pin.read")?.read(place, at);
        let value = if mode.is_digital() { i32::from(high) } else { (level * FULL_SCALE).round() as i32 };
        Ok(Value::Int(value).into())
    }

    /// `pin.write(value)`: 0 or not of a digital pin, 0.0 to 1.0 of the others.
    pub(super) fn pin_write(&mut self, this: Value, value: Value) -> Result<Reply, Throw> {
        let (_, name, mode) = self.pin_in_use(this)?;
        if !mode.is_output() {
            return Err(Throw::message(format!("pin.write: {name} is not an output")));
        }
        let level = self.number("pin.write", value)? as f32;
        self.hardware("pin.write")?.board.drive(name, driven(mode, level));
        Ok(Value::Null.into())
    }

    /// `pin.disable()`
    pub(super) fn pin_disable(&mut self, this: Value) -> Result<Reply, Throw> {
        let (place, name) = self.pin_place(this)?;
        let hardware = self.hardware("pin.disable")?;
        let old = hardware.pins.remove(&place);
        if old.is_some() {
            // It was there when it was configured.
            let _ = hardware.board.configure_pin(name, None);
        }
        self.forget_value(old.and_then(|old| old.callback));
        Ok(Value::Null.into())
    }

    pub(super) fn pin_place(&self, this: Value) -> Result<(usize, &'static str), Throw> {
        self.place(this, self.api.pin, &PINS).ok_or_else(|| Throw::message("a pin was expected"))
    }

    fn pin_in_use(&mut self, this: Value) -> Result<(usize, &'static str, PinMode), Throw> {
        let (place, name) = self.pin_place(this)?;
        let mode = self.hardware("pin")?.pins.get(&place).map(|used| used.mode);
        let mode = mode.ok_or_else(|| Throw::message(format!("{name} is not configured")))?;
        Ok((place, name, mode))
    }
}

fn driven(mode: PinMode, level: f32) -> f32 {
    match (mode.is_digital(), level == 0.0 || level.is_nan()) {
        (true, is_low) => f32::from(u8::from(!is_low)),
        (false, _) => level,
    }
}
