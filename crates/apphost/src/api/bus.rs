//! The I2C and SPI buses: `hardware.i2c..` and `hardware.spi..`.

use squirrel::{Throw, Value, View};

use super::Reply;
use crate::app::App;
use crate::board::{BusUse, I2C, SPI};
use crate::hardware::Hardware;

/// `i2c.write` and `i2c.readerror`: nothing at the address acknowledged.
const NO_ACKNOWLEDGE: i32 = -2;
/// The same: the bus is not configured.
const NOT_ENABLED: i32 = -13;
/// The most bytes of one transfer.
const TRANSFER_BYTES: usize = 64 * 1024;

pub(super) const CONSTANTS: [(&str, i32); 14] = [
    ("CLOCK_SPEED_10_KHZ", 10_000),
    ("CLOCK_SPEED_50_KHZ", 50_000),
    ("CLOCK_SPEED_100_KHZ", 100_000),
    ("CLOCK_SPEED_400_KHZ", 400_000),
    ("CLOCK_IDLE_LOW", 0),
    ("CLOCK_1ST_EDGE", 0),
    ("MSB_FIRST", 0),
    ("CLOCK_IDLE_HIGH", 1),
    ("CLOCK_2ND_EDGE", 2),
    ("LSB_FIRST", 4),
    ("SIMPLEX_TX", 8),
    ("SIMPLEX_RX", 16),
    ("NO_SCLK", 32),
    ("USE_CS_L", 64),
];

impl App {
    /// `i2c.configure(speed)`
    pub(super) fn i2c_configure(&mut self, this: Value, speed: Value) -> Result<Reply, Throw> {
        let bus = self.i2c_bus(this)?;
        let hertz = match speed {
            Value::Int(hertz @ 1..) => hertz.unsigned_abs(),
            _ => return Err(Throw::message("i2c.configure: a clock speed was expected")),
        };
        self.bus_configure("i2c.configure", bus, BusUse::I2c(hertz))?;
        Ok(Value::Null.into())
    }

    fn bus_configure(&mut self, call: &str, bus: &'static str, used: BusUse) -> Result<(), Throw> {
        let hardware = self.hardware(call)?;
        let there = hardware.board.configure_bus(bus, Some(used));
        there.map_err(|_| Throw::message(format!("{call}: the board has no {bus}")))?;
        hardware.buses.insert(bus, ());
        hardware.i2c_errors.remove(bus);
        Ok(())
    }

    /// `i2c.disable()`, `spi.disable()`
    pub(super) fn bus_disable(&mut self, bus: &'static str) -> Result<Reply, Throw> {
        let hardware = self.hardware(bus)?;
        if hardware.buses.remove(bus).is_some() {
            // It was there when it was configured.
            let _ = hardware.board.configure_bus(bus, None);
        }
        Ok(Value::Null.into())
    }

    /// `i2c.write(address, data)`: 0, or an error.
    pub(super) fn i2c_write(&mut self, this: Value, address: Value, data: Value) -> Result<Reply, Throw> {
        let bus = self.i2c_bus(this)?;
        let address = self.i2c_address("i2c.write", address)?;
        let data = self.sent_bytes("i2c.write", data)?;
        let done = self.transfer(bus, address, &data, 0)?;
        Ok(Value::Int(done.map_or_else(|error| error, |_| 0)).into())
    }

    /// `i2c.read(address, register, count)`: a string, or null after an error.
    pub(super) fn i2c_read(
        &mut self,
        this: Value,
        address: Value,
        register: Value,
        count: Value,
    ) -> Result<Reply, Throw> {
        let bus = self.i2c_bus(this)?;
        let address = self.i2c_address("i2c.read", address)?;
        let register = if register.is_null() { Vec::new() } else { self.sent_bytes("i2c.read", register)? };
        let count = self.count("i2c.read", count)?;
        match self.transfer(bus, address, &register, count)? {
            Ok(bytes) => Ok(self.vm.build(|heap| heap.string(&bytes))?.into()),
            Err(_) => Ok(Value::Null.into()),
        }
    }

    /// `i2c.readerror()`: what the last transfer came to; 0 is no error.
    pub(super) fn i2c_error(&mut self, this: Value) -> Result<Reply, Throw> {
        let bus = self.i2c_bus(this)?;
        let error = self.hardware("i2c.readerror")?.i2c_errors.get(bus).copied().unwrap_or_default();
        Ok(Value::Int(error).into())
    }

    fn transfer(
        &mut self,
        bus: &'static str,
        address: u8,
        write: &[u8],
        read: usize,
    ) -> Result<Result<Vec<u8>, i32>, Throw> {
        self.count_work(write.len() + read);
        let hardware = self.hardware(bus)?;
        let Hardware { board, buses, i2c_errors, .. } = hardware;
        let done = match buses.contains_key(bus) {
            true => board.i2c(bus, address, write, read).map_err(|_| NO_ACKNOWLEDGE),
            false => Err(NOT_ENABLED),
        };
        i2c_errors.insert(bus, done.as_ref().err().copied().unwrap_or_default());
        Ok(done)
    }

    /// Scripts write the 7 bits of an address above the bit for reading.
    fn i2c_address(&self, call: &str, address: Value) -> Result<u8, Throw> {
        match address {
            Value::Int(address @ 0..=255) => Ok((address >> 1) as u8),
            _ => Err(Throw::message(format!("{call}: a device's address of 8 bits was expected"))),
        }
    }

    /// `spi.configure(flags, kilohertz)`: the rate.
    pub(super) fn spi_configure(&mut self, this: Value, flags: Value, rate: Value) -> Result<Reply, Throw> {
        let bus = self.spi_bus(this)?;
        let Value::Int(flags) = flags else { return Err(Throw::message("spi.configure: flags were expected")) };
        let rate = self.number("spi.configure", rate)?;
        if !(1.0..=100_000.0).contains(&rate) {
            return Err(Throw::message("spi.configure: a rate is 1 to 100000 kHz"));
        }
        self.bus_configure("spi.configure", bus, BusUse::Spi(flags, rate as u32))?;
        Ok(Value::Int(rate as i32).into())
    }

    /// `spi.write(data)`: how many bytes went out. `spi.writeread(data)`: what came back, in the type of `data`.
    pub(super) fn spi_write(&mut self, this: Value, data: Value, reads: bool) -> Result<Reply, Throw> {
        let is_blob = matches!(self.vm.heap().view(data), View::Blob(_));
        let sent = self.sent_bytes("spi.write", data)?;
        let came = self.spi_exchange(this, &sent)?;
        if !reads {
            return Ok(Value::Int(i32::try_from(sent.len()).unwrap_or(i32::MAX)).into());
        }
        Ok(self.vm.build(|heap| if is_blob { heap.blob(&came) } else { heap.string(&came) })?.into())
    }

    /// `spi.readstring(count)`, `spi.readblob(count)`
    pub(super) fn spi_read(&mut self, this: Value, count: Value, is_blob: bool) -> Result<Reply, Throw> {
        let sent = vec![0; self.count("spi.read", count)?];
        let came = self.spi_exchange(this, &sent)?;
        Ok(self.vm.build(|heap| if is_blob { heap.blob(&came) } else { heap.string(&came) })?.into())
    }

    fn spi_exchange(&mut self, this: Value, sent: &[u8]) -> Result<Vec<u8>, Throw> {
        let bus = self.spi_bus(this)?;
        self.count_work(sent.len());
        let hardware = self.hardware(bus)?;
        if hardware.buses.contains_key(bus) {
            Ok(hardware.board.spi(bus, sent))
        } else {
            Err(Throw::message(format!("{bus} is not configured")))
        }
    }

    pub(super) fn i2c_bus(&self, this: Value) -> Result<&'static str, Throw> {
        let bus = self.api.hardware.and_then(|classes| self.place(this, Some(classes.i2c), &I2C));
        bus.map(|(_, name)| name).ok_or_else(|| Throw::message("an I2C bus was expected"))
    }

    pub(super) fn spi_bus(&self, this: Value) -> Result<&'static str, Throw> {
        let bus = self.api.hardware.and_then(|classes| self.place(this, Some(classes.spi), &SPI));
        bus.map(|(_, name)| name).ok_or_else(|| Throw::message("an SPI bus was expected"))
    }

    /// A number of bytes to transfer.
    pub(super) fn count(&self, call: &str, count: Value) -> Result<usize, Throw> {
        let count = match count {
            Value::Int(count) => usize::try_from(count).ok().filter(|count| *count <= TRANSFER_BYTES),
            _ => None,
        };
        count.ok_or_else(|| Throw::message(format!("{call}: 0 to {TRANSFER_BYTES} bytes were expected")))
    }

    /// The bytes of a string or blob to transfer.
    pub(super) fn sent_bytes(&self, call: &str, data: Value) -> Result<Vec<u8>, Throw> {
        match self.vm.heap().bytes_of(data) {
            Some(bytes) if bytes.len() <= TRANSFER_BYTES => Ok(bytes.to_vec()),
            Some(_) => Err(Throw::message(format!("{call}: at most {TRANSFER_BYTES} bytes go at once"))),
            None => Err(Throw::message(format!("{call}: a string or a blob was expected"))),
        }
    }
}
