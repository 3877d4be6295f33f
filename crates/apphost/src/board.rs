//! The hardware of a device app behind one small trait: [`Board`]; and a [`Bench`], a board in memory.

mod bench;

use std::fmt;

use thiserror::Error;

pub use bench::Bench;

/// The names of the pins, as properties of `hardware`.
pub const PINS: [&str; 31] = [
    "pin1", "pin2", "pin5", "pin6", "pin7", "pin8", "pin9", "pinA", "pinB", "pinC", "pinD", "pinE", "pinF", "pinG",
    "pinH", "pinJ", "pinK", "pinL", "pinM", "pinN", "pinP", "pinQ", "pinR", "pinS", "pinT", "pinU", "pinV", "pinW",
    "pinX", "pinY", "pinZ",
];
/// The names of the I2C buses, as properties of `hardware`.
pub const I2C: [&str; 8] = ["i2c0", "i2c12", "i2c89", "i2cAB", "i2cFG", "i2cJH", "i2cJK", "i2cQP"];
/// The names of the SPI buses, as properties of `hardware`.
pub const SPI: [&str; 8] = ["spi0", "spi189", "spi257", "spiAHSR", "spiBCAD", "spiEBCA", "spiGRFD", "spiLGDK"];
/// The names of the UARTs, as properties of `hardware`.
pub const UART: [&str; 10] =
    ["uart0", "uart1", "uart12", "uart1289", "uart57", "uart6E", "uartDCAB", "uartDM", "uartFG", "uartQRPW"];

/// What a pin is used for; the numbers are this product's own, scripts use the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinMode {
    /// Reads 0 or 1.
    DigitalIn,
    /// Reads 1 while nothing is wired to it.
    DigitalInPullup,
    /// Reads 0 while nothing is wired to it.
    DigitalInPulldown,
    /// As [`PinMode::DigitalInPulldown`]; going high ends deep sleep.
    DigitalInWakeup,
    /// Driven to 0 or 1.
    DigitalOut,
    /// Reads a share of the supply.
    AnalogIn,
    /// Driven to a share of the supply.
    AnalogOut,
    /// Driven by a duty cycle, which counts as its level.
    PwmOut,
}

impl PinMode {
    /// Names of constants, their numbers and what they mean.
    pub(crate) const ALL: [(&'static str, i32, Self); 10] = [
        ("DIGITAL_IN", 1, Self::DigitalIn),
        ("DIGITAL_IN_PULLUP", 2, Self::DigitalInPullup),
        ("DIGITAL_IN_PULLDOWN", 3, Self::DigitalInPulldown),
        ("DIGITAL_IN_WAKEUP", 4, Self::DigitalInWakeup),
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

    /// Whether the app drives the pin.
    pub fn is_output(self) -> bool {
        matches!(self, Self::DigitalOut | Self::AnalogOut | Self::PwmOut)
    }

    /// Whether it knows 0 and 1 only.
    pub fn is_digital(self) -> bool {
        !matches!(self, Self::AnalogIn | Self::AnalogOut | Self::PwmOut)
    }
}

/// What an app uses a bus for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusUse {
    /// Clock in hertz.
    I2c(u32),
    /// The flags of `spi.configure`, clock in kilohertz.
    Spi(i32, u32),
    /// Bits a second, bits of a word, parity (0 none, 1 even, 2 odd), stop bits.
    Uart(u32, u8, u8, u8),
}

/// The board has no such pin or bus, or it cannot be used like that.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the board has no such thing")]
pub struct NotThere;

/// Nothing at the address acknowledged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no device acknowledged its address")]
pub struct NoAcknowledge;

/// What an app can touch: pins, buses and flash memory, by the names they have in `hardware`. Calls return at once, or after as long as the
/// bus takes. A board outlives the apps that run on it.
pub trait Board: fmt::Debug + Send {
    /// The supply in volts, and the light on the board from 0 to 65535.
    fn supply(&mut self) -> (f32, u16);

    /// The app uses a pin like this from now on, or not any more.
    ///
    /// # Errors
    /// [`NotThere`].
    fn configure_pin(&mut self, pin: &str, mode: Option<PinMode>) -> Result<(), NotThere>;

    /// The level of a pin, from 0.0 (ground) to 1.0 (the supply), at that second of the clock that never goes back.
    fn level(&mut self, pin: &str, at: f64) -> f32;

    /// Drives an output.
    fn drive(&mut self, pin: &str, level: f32);

    /// The app uses a bus like this from now on, or not any more.
    ///
    /// # Errors
    /// [`NotThere`].
    fn configure_bus(&mut self, bus: &str, used: Option<BusUse>) -> Result<(), NotThere>;

    /// Writes to a device on an I2C bus, then reads from it; either may be nothing. `address` has 7 bits.
    ///
    /// # Errors
    /// [`NoAcknowledge`].
    fn i2c(&mut self, bus: &str, address: u8, write: &[u8], read: usize) -> Result<Vec<u8>, NoAcknowledge>;

    /// Exchanges bytes on an SPI bus: as many come back as went out.
    fn spi(&mut self, bus: &str, write: &[u8]) -> Vec<u8>;

    /// Sends bytes.
    fn uart_write(&mut self, port: &str, bytes: &[u8]);

    /// How many bytes have come.
    fn uart_waiting(&mut self, port: &str) -> usize;

    /// Takes bytes that have come, at most so many.
    fn uart_read(&mut self, port: &str, most: usize) -> Vec<u8>;

    /// The bytes of the flash memory that is the app's own; 0 when there is none.
    fn flash_size(&mut self) -> usize;

    /// Reads flash memory; `None` beyond its end.
    fn flash_read(&mut self, at: usize, count: usize) -> Option<Vec<u8>>;

    /// Clears bits of flash memory; false when they lie outside.
    fn flash_write(&mut self, at: usize, bytes: &[u8]) -> bool;

    /// Erases the sector that begins there; false when none does.
    fn flash_erase(&mut self, at: usize) -> bool;
}

/// NOR flash memory in RAM: erased to ones by the sector, written by clearing bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    bytes: Vec<u8>,
}

/// The bytes of one sector.
pub const FLASH_SECTOR: usize = 4096;

impl Flash {
    /// Erased memory of so many whole sectors.
    pub fn new(sectors: usize) -> Self {
        Self { bytes: vec![0xff; sectors.saturating_mul(FLASH_SECTOR)] }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Clears bits; false when they lie outside.
    #[must_use]
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> bool {
        let Some(place) = at.checked_add(bytes.len()).and_then(|end| self.bytes.get_mut(at..end)) else { return false };
        for (kept, new) in place.iter_mut().zip(bytes) {
            *kept &= new;
        }
        true
    }

    /// Sets all bits of the sector that begins there; false when none does.
    #[must_use]
    pub fn erase(&mut self, at: usize) -> bool {
        let end = at.checked_add(FLASH_SECTOR).filter(|_| at.is_multiple_of(FLASH_SECTOR));
        let Some(sector) = end.and_then(|end| self.bytes.get_mut(at..end)) else { return false };
        sector.fill(0xff);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_a_number_of_its_own() {
        for (_, number, _) in PinMode::ALL {
            assert!(PinMode::of(number).is_some());
            assert_eq!(PinMode::ALL.iter().filter(|(_, other, _)| *other == number).count(), 1);
        }
        assert_eq!(PinMode::of(0), None);
    }

    #[test]
    fn flash_is_written_by_clearing_bits_and_erased_by_the_sector() {
        let mut flash = Flash::new(2);
        assert!(flash.write(4094, &[0xf0, 0x0f]) && flash.write(4094, &[0x3c]));
        assert_eq!(flash.bytes().get(4093..4097), Some(&[0xff, 0x30, 0x0f, 0xff][..]));
        assert!(flash.erase(0) && !flash.erase(1) && !flash.erase(8192));
        assert_eq!(flash, Flash::new(2));
        assert!(flash.write(8191, &[0]) && !flash.write(8191, &[0, 0]) && !flash.write(usize::MAX, &[0, 0]));
    }
}
