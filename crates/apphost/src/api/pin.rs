//! `hardware.pin1` and its neighbours, on a simulated board.

use squirrel::{Throw, Value, View};

use super::Reply;
use crate::app::App;
use crate::board::{BoardPin, PINS, PinMode};

/// An analog reading at the supply's voltage.
const FULL_SCALE: f32 = 65_535.0;

impl App {
    /// `pin.configure(mode[, ..])`: an output's first value follows, an input's callback, PWM's period and duty.
    pub(super) fn pin_configure(&mut self, this: Value, arguments: &[Value]) -> Result<Reply, Throw> {
        let place = self.pin_place(this)?;
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let mode = match argument(0) {
            Value::Int(number) => PinMode::of(number),
            _ => None,
        };
        let mode = mode.ok_or_else(|| Throw::message("pin.configure: the simulated board has no such mode"))?;
        let (first, callback) = match mode {
            PinMode::DigitalOut | PinMode::AnalogOut => (argument(1), Value::Null),
            PinMode::PwmOut => (argument(2), Value::Null),
            PinMode::AnalogIn => (Value::Null, Value::Null),
            _ => (Value::Null, argument(1)),
        };
        let first = if first.is_null() { 0.0 } else { self.number("pin.configure", first)? as f32 };
        let callback = self.optional_function("pin.configure", callback)?;
        if let Some(pin) = self.board.pins.get_mut(place) {
            pin.mode = Some(mode);
            drive(pin, mode, first);
        }
        let old = match callback {
            Some(callback) => self.pin_callbacks.insert(place, callback),
            None => self.pin_callbacks.remove(&place),
        };
        self.forget(old);
        Ok(Value::Null.into())
    }

    /// `pin.read()`: 0 or 1 of a digital pin, 0 to 65535 of an analog one.
    pub(super) fn pin_read(&self, this: Value) -> Result<Reply, Throw> {
        let (pin, mode) = self.pin_of(this)?;
        let value = match mode {
            _ if mode.is_digital() => i32::from(pin.is_high()),
            _ => (pin.level() * FULL_SCALE).round() as i32,
        };
        Ok(Value::Int(value).into())
    }

    /// `pin.write(value)`: 0 or not of a digital pin, 0.0 to 1.0 of the others.
    pub(super) fn pin_write(&mut self, this: Value, value: Value) -> Result<Reply, Throw> {
        let (_, mode) = self.pin_of(this)?;
        let place = self.pin_place(this)?;
        if !mode.is_output() {
            return Err(Throw::message(format!(
                "pin.write: {} is not an output",
                PINS.get(place).unwrap_or(&"the pin")
            )));
        }
        let level = self.number("pin.write", value)? as f32;
        if let Some(pin) = self.board.pins.get_mut(place) {
            drive(pin, mode, level);
        }
        Ok(Value::Null.into())
    }

    /// `pin.disable()`
    pub(super) fn pin_disable(&mut self, this: Value) -> Result<Reply, Throw> {
        let place = self.pin_place(this)?;
        if let Some(pin) = self.board.pins.get_mut(place) {
            pin.mode = None;
        }
        let old = self.pin_callbacks.remove(&place);
        self.forget(old);
        Ok(Value::Null.into())
    }

    /// Puts a level on a pin; begins the pin's callback when that changes what a digital input reads.
    pub(crate) fn begin_pin(&mut self, name: &str, level: Option<f32>) -> bool {
        let Some(place) = crate::board::Board::place(name) else { return false };
        let high = |app: &Self| app.board.pins.get(place).is_some_and(BoardPin::is_high);
        let before = high(self);
        // The name was found already.
        let _ = self.board.show(name, level);
        let callback = self.pin_callbacks.get(&place).copied().filter(|_| high(self) != before);
        self.call(callback, &[]);
        callback.is_some()
    }

    fn pin_place(&self, this: Value) -> Result<usize, Throw> {
        match self.vm.heap().view(this) {
            View::Object(class, place) if Some(class) == self.api.pin => {
                Ok(usize::try_from(place).unwrap_or(usize::MAX))
            }
            _ => Err(Throw::message("a pin was expected")),
        }
    }

    fn pin_of(&self, this: Value) -> Result<(&BoardPin, PinMode), Throw> {
        let place = self.pin_place(this)?;
        let pin = self.board.pins.get(place).ok_or_else(|| Throw::message("the simulated board has no such pin"))?;
        let mode = pin
            .mode
            .ok_or_else(|| Throw::message(format!("{} is not configured", PINS.get(place).unwrap_or(&"the pin"))))?;
        Ok((pin, mode))
    }
}

fn drive(pin: &mut BoardPin, mode: PinMode, level: f32) {
    let digital = if level == 0.0 { 0.0 } else { 1.0 };
    pin.drive(if mode.is_digital() { digital } else { level });
}
