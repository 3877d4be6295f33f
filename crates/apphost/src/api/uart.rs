//! UARTs and flash memory: `hardware.uart..` and `hardware.spiflash`.

use squirrel::{Throw, Value};

use super::Reply;
use crate::app::App;
use crate::board::{Board, BusUse, FLASH_SECTOR, UART};
use crate::hardware::UartUse;

pub(super) const CONSTANTS: [(&str, i32); 10] = [
    ("PARITY_NONE", 0),
    ("PARITY_EVEN", 1),
    ("PARITY_ODD", 2),
    ("NO_CTSRTS", 1),
    ("NO_RX", 2),
    ("NO_TX", 4),
    ("TIMING_ENABLED", 8),
    ("SPIFLASH_PREVERIFY", 1),
    ("SPIFLASH_POSTVERIFY", 2),
    ("SPIFLASH_SECTOR_SIZE", FLASH_SECTOR as i32),
];

/// `spiflash.write` with `SPIFLASH_PREVERIFY` or `SPIFLASH_POSTVERIFY`: the bytes cannot be written as they are.
const VERIFY_FAILED: i32 = 2;

impl App {
    /// `uart.configure(baud, bits, parity, stop bits, flags[, callback])`: the baud rate.
    pub(super) fn uart_configure(&mut self, this: Value, arguments: &[Value]) -> Result<Reply, Throw> {
        let (place, port) = self.uart_port(this)?;
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let used = match [argument(0), argument(1), argument(2), argument(3)] {
            [
                Value::Int(baud @ 1..=10_000_000),
                Value::Int(bits @ 7..=8),
                Value::Int(parity @ 0..=2),
                Value::Int(stop @ 1..=2),
            ] => BusUse::Uart(baud.unsigned_abs(), bits as u8, parity as u8, stop as u8),
            _ => return Err(Throw::message("uart.configure: baud rate, bits, parity and stop bits were expected")),
        };
        let callback = self.optional_function("uart.configure", argument(5))?;
        let hardware = self.hardware("uart.configure")?;
        let there = hardware.board.configure_bus(port, Some(used));
        there.map_err(|_| Throw::message(format!("uart.configure: the board has no {port}")))?;
        let old = hardware.uarts.insert(place, UartUse { callback, told: 0 });
        hardware.moved = true;
        self.forget_value(old.and_then(|old| old.callback));
        Ok(argument(0).into())
    }

    /// `uart.disable()`
    pub(super) fn uart_disable(&mut self, this: Value) -> Result<Reply, Throw> {
        let (place, port) = self.uart_port(this)?;
        let hardware = self.hardware("uart.disable")?;
        let old = hardware.uarts.remove(&place);
        if old.is_some() {
            // It was there when it was configured.
            let _ = hardware.board.configure_bus(port, None);
        }
        self.forget_value(old.and_then(|old| old.callback));
        Ok(Value::Null.into())
    }

    /// `uart.write(byte, string or blob)`: how many bytes went out.
    pub(super) fn uart_write(&mut self, this: Value, data: Value) -> Result<Reply, Throw> {
        let (_, port) = self.uart_in_use(this)?;
        let bytes = match data {
            Value::Int(byte) => vec![byte as u8],
            data => self.sent_bytes("uart.write", data)?,
        };
        self.count_work(bytes.len());
        let hardware = self.hardware("uart.write")?;
        hardware.board.uart_write(port, &bytes);
        // On a loop-back they come back at once.
        hardware.moved = true;
        Ok(Value::Int(i32::try_from(bytes.len()).unwrap_or(i32::MAX)).into())
    }

    /// `uart.read()`: a byte, or -1 when none has come.
    pub(super) fn uart_read(&mut self, this: Value) -> Result<Reply, Throw> {
        let byte = self.uart_take(this, 1)?.first().map_or(-1, |byte| i32::from(*byte));
        Ok(Value::Int(byte).into())
    }

    /// `uart.readstring([count])`, `uart.readblob([count])`: what has come.
    pub(super) fn uart_read_all(&mut self, this: Value, count: Value, is_blob: bool) -> Result<Reply, Throw> {
        let most = if count.is_null() { FLASH_SECTOR } else { self.count("uart.read", count)? };
        let bytes = self.uart_take(this, most)?;
        Ok(self.vm.build(|heap| if is_blob { heap.blob(&bytes) } else { heap.string(&bytes) })?.into())
    }

    fn uart_take(&mut self, this: Value, most: usize) -> Result<Vec<u8>, Throw> {
        let (place, port) = self.uart_in_use(this)?;
        self.count_work(most);
        let hardware = self.hardware("uart.read")?;
        let bytes = hardware.board.uart_read(port, most);
        if let Some(used) = hardware.uarts.get_mut(&place) {
            used.told = used.told.saturating_sub(bytes.len());
        }
        Ok(bytes)
    }

    fn uart_port(&self, this: Value) -> Result<(usize, &'static str), Throw> {
        let port = self.api.hardware.and_then(|classes| self.place(this, Some(classes.uart), &UART));
        port.ok_or_else(|| Throw::message("a UART was expected"))
    }

    fn uart_in_use(&mut self, this: Value) -> Result<(usize, &'static str), Throw> {
        let (place, port) = self.uart_port(this)?;
        if self.hardware(port)?.uarts.contains_key(&place) {
            Ok((place, port))
        } else {
            Err(Throw::message(format!("{port} is not configured")))
        }
    }

    /// `spiflash.enable()`, `spiflash.disable()`
    pub(super) fn flash_enable(&mut self, on: bool) -> Result<Reply, Throw> {
        let hardware = self.hardware("spiflash")?;
        if on && hardware.board.flash_size() == 0 {
            return Err(Throw::message("spiflash.enable: the board has no flash memory"));
        }
        hardware.flash_on = on;
        Ok(Value::Null.into())
    }

    /// `spiflash.size()`: bytes.
    pub(super) fn flash_size(&mut self) -> Result<Reply, Throw> {
        let size = self.hardware("spiflash.size")?.board.flash_size();
        Ok(Value::Int(i32::try_from(size).unwrap_or(i32::MAX)).into())
    }

    /// `spiflash.read(address, count)`: a blob.
    pub(super) fn flash_read(&mut self, at: Value, count: Value) -> Result<Reply, Throw> {
        let (at, count) = (self.flash_place("spiflash.read", at)?, self.count("spiflash.read", count)?);
        self.count_work(count);
        let bytes = self.flash("spiflash.read")?.flash_read(at, count);
        let bytes = bytes.ok_or_else(|| Throw::message("spiflash.read: it ends before that"))?;
        Ok(self.vm.build(|heap| heap.blob(&bytes))?.into())
    }

    /// `spiflash.write(address, data[, verify])`: 0, or 2 when it was to be verified and bits cannot be set.
    pub(super) fn flash_write(&mut self, at: Value, data: Value, verify: Value) -> Result<Reply, Throw> {
        let at = self.flash_place("spiflash.write", at)?;
        let bytes = self.sent_bytes("spiflash.write", data)?;
        self.count_work(bytes.len());
        let flash = self.flash("spiflash.write")?;
        let place = flash.flash_read(at, bytes.len());
        let place = place.ok_or_else(|| Throw::message("spiflash.write: it ends before that"))?;
        let fits = place.iter().zip(&bytes).all(|(kept, new)| kept & new == *new);
        let before = matches!(verify, Value::Int(flags) if flags & 1 != 0);
        let written = (fits || !before) && flash.flash_write(at, &bytes);
        let checked = matches!(verify, Value::Int(1..));
        Ok(Value::Int(if checked && !(fits && written) { VERIFY_FAILED } else { 0 }).into())
    }

    /// `spiflash.erasesector(address)`
    pub(super) fn flash_erase(&mut self, at: Value) -> Result<Reply, Throw> {
        let at = self.flash_place("spiflash.erasesector", at)?;
        self.count_work(FLASH_SECTOR);
        if self.flash("spiflash.erasesector")?.flash_erase(at) {
            Ok(Value::Null.into())
        } else {
            Err(Throw::message(format!("spiflash.erasesector: sectors begin at multiples of {FLASH_SECTOR}")))
        }
    }

    fn flash_place(&self, call: &str, at: Value) -> Result<usize, Throw> {
        match at {
            Value::Int(at @ 0..) => Ok(at.unsigned_abs() as usize),
            _ => Err(Throw::message(format!("{call}: an address was expected"))),
        }
    }

    fn flash(&mut self, call: &str) -> Result<&mut dyn Board, Throw> {
        let hardware = self.hardware(call)?;
        if hardware.flash_on {
            Ok(hardware.board.as_mut())
        } else {
            Err(Throw::message(format!("{call}: spiflash is not enabled")))
        }
    }
}
