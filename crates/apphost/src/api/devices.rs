//! The names and numbers of everything in `hardware`.

use squirrel::{ClassId, Constant, HostCall, LibraryBuilder, Place, Throw, Value, View};

use super::{Reply, bus, uart};
use crate::app::App;
use crate::board::{I2C, PINS, PinMode, SPI, UART};
use crate::hardware::Hardware;

/// The numbers of these calls begin here, past those of every end.
pub(super) const FIRST: u32 = 1_000;

/// The classes of what is in `hardware`, pins apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HardwareClasses {
    pub(crate) i2c: ClassId,
    pub(crate) spi: ClassId,
    pub(crate) uart: ClassId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Call {
    FlashDisable = FIRST,
    FlashEnable,
    FlashErase,
    FlashRead,
    FlashSize,
    FlashWrite,
    I2cConfigure,
    I2cDisable,
    I2cError,
    I2cRead,
    I2cWrite,
    NoEffect,
    PinConfigure,
    PinDisable,
    PinRead,
    PinWrite,
    SamplerConfigure,
    SamplerReset,
    SamplerStart,
    SamplerStop,
    SpiConfigure,
    SpiDisable,
    SpiReadBlob,
    SpiReadString,
    SpiWrite,
    SpiWriteRead,
    UartConfigure,
    UartDisable,
    UartRead,
    UartReadBlob,
    UartReadString,
    UartWrite,
}

impl Call {
    const ALL: [Self; 32] = [
        Self::FlashDisable,
        Self::FlashEnable,
        Self::FlashErase,
        Self::FlashRead,
        Self::FlashSize,
        Self::FlashWrite,
        Self::I2cConfigure,
        Self::I2cDisable,
        Self::I2cError,
        Self::I2cRead,
        Self::I2cWrite,
        Self::NoEffect,
        Self::PinConfigure,
        Self::PinDisable,
        Self::PinRead,
        Self::PinWrite,
        Self::SamplerConfigure,
        Self::SamplerReset,
        Self::SamplerStart,
        Self::SamplerStop,
        Self::SpiConfigure,
        Self::SpiDisable,
        Self::SpiReadBlob,
        Self::SpiReadString,
        Self::SpiWrite,
        Self::SpiWriteRead,
        Self::UartConfigure,
        Self::UartDisable,
        Self::UartRead,
        Self::UartReadBlob,
        Self::UartReadString,
        Self::UartWrite,
    ];
}

/// Adds pins, buses and memory to `hardware`; the class of the pins and those of the rest.
pub(super) fn add(builder: &mut LibraryBuilder, hardware: Place) -> (ClassId, HardwareClasses) {
    let root = builder.root();
    for (name, number, _) in PinMode::ALL {
        builder.constant(root, name, Constant::Int(number));
    }
    for (name, number) in bus::CONSTANTS.into_iter().chain(uart::CONSTANTS) {
        builder.constant(root, name, Constant::Int(number));
    }
    let pin = class(builder, "pin", &PIN);
    let classes = HardwareClasses {
        i2c: class(builder, "i2c", &I2C_CALLS),
        spi: class(builder, "spi", &SPI_CALLS),
        uart: class(builder, "uart", &UART_CALLS),
    };
    let several = [(pin, &PINS[..]), (classes.i2c, &I2C[..]), (classes.spi, &SPI[..]), (classes.uart, &UART[..])];
    for (class, names) in several {
        for (name, place) in names.iter().zip(0..) {
            builder.object(hardware, name, class, place);
        }
    }
    for (name, calls) in [("spiflash", &FLASH[..]), ("sampler", &SAMPLER[..])] {
        let class = class(builder, name, calls);
        builder.object(hardware, name, class, 0);
    }
    (pin, classes)
}

type Entry = (&'static str, u8, u8, Call);

const PIN: [Entry; 4] = [
    ("configure", 1, 4, Call::PinConfigure),
    ("disable", 0, 0, Call::PinDisable),
    ("read", 0, 0, Call::PinRead),
    ("write", 1, 1, Call::PinWrite),
];
const I2C_CALLS: [Entry; 5] = [
    ("configure", 1, 1, Call::I2cConfigure),
    ("disable", 0, 0, Call::I2cDisable),
    ("read", 3, 3, Call::I2cRead),
    ("readerror", 0, 0, Call::I2cError),
    ("write", 2, 2, Call::I2cWrite),
];
const SPI_CALLS: [Entry; 7] = [
    ("chipselect", 0, 1, Call::NoEffect),
    ("configure", 2, 2, Call::SpiConfigure),
    ("disable", 0, 0, Call::SpiDisable),
    ("readblob", 1, 1, Call::SpiReadBlob),
    ("readstring", 1, 1, Call::SpiReadString),
    ("write", 1, 1, Call::SpiWrite),
    ("writeread", 1, 1, Call::SpiWriteRead),
];
const UART_CALLS: [Entry; 9] = [
    ("configure", 5, 6, Call::UartConfigure),
    ("disable", 0, 0, Call::UartDisable),
    ("flush", 0, 0, Call::NoEffect),
    ("read", 0, 0, Call::UartRead),
    ("readblob", 0, 1, Call::UartReadBlob),
    ("readstring", 0, 1, Call::UartReadString),
    ("setrxfifosize", 1, 1, Call::NoEffect),
    ("settxfifosize", 1, 1, Call::NoEffect),
    ("write", 1, 1, Call::UartWrite),
];
const FLASH: [Entry; 6] = [
    ("disable", 0, 0, Call::FlashDisable),
    ("enable", 0, 0, Call::FlashEnable),
    ("erasesector", 1, 1, Call::FlashErase),
    ("read", 2, 2, Call::FlashRead),
    ("size", 0, 0, Call::FlashSize),
    ("write", 2, 3, Call::FlashWrite),
];
const SAMPLER: [Entry; 4] = [
    ("configure", 4, 5, Call::SamplerConfigure),
    ("reset", 0, 0, Call::SamplerReset),
    ("start", 0, 0, Call::SamplerStart),
    ("stop", 0, 0, Call::SamplerStop),
];

fn class(builder: &mut LibraryBuilder, name: &str, calls: &[Entry]) -> ClassId {
    let class = builder.class(name);
    for (name, least, most, call) in calls {
        builder.host_fn(class, name, *least..=*most, *call as u32);
    }
    class
}

impl App {
    /// Does what the script asked its board for.
    pub(super) fn answer_hardware(&mut self, call: &HostCall) -> Result<Reply, Throw> {
        let known = call.id.checked_sub(FIRST).and_then(|index| Call::ALL.get(index as usize));
        let Some(function) = known else { return Err(Throw::message("no such function on this end")) };
        let this = call.this;
        let arg = |index: usize| call.args.get(index).copied().unwrap_or_default();
        match function {
            Call::FlashDisable => self.flash_enable(false),
            Call::FlashEnable => self.flash_enable(true),
            Call::FlashErase => self.flash_erase(arg(0)),
            Call::FlashRead => self.flash_read(arg(0), arg(1)),
            Call::FlashSize => self.flash_size(),
            Call::FlashWrite => self.flash_write(arg(0), arg(1), arg(2)),
            Call::I2cConfigure => self.i2c_configure(this, arg(0)),
            Call::I2cDisable => self.i2c_bus(this).and_then(|bus| self.bus_disable(bus)),
            Call::I2cError => self.i2c_error(this),
            Call::I2cRead => self.i2c_read(this, arg(0), arg(1), arg(2)),
            Call::I2cWrite => self.i2c_write(this, arg(0), arg(1)),
            Call::NoEffect => Ok(Value::Null.into()),
            Call::PinConfigure => self.pin_configure(this, &call.args),
            Call::PinDisable => self.pin_disable(this),
            Call::PinRead => self.pin_read(this),
            Call::PinWrite => self.pin_write(this, arg(0)),
            Call::SamplerConfigure => self.sampler_configure(&call.args),
            Call::SamplerReset => self.sampler_reset(),
            Call::SamplerStart => self.sampler_start(),
            Call::SamplerStop => self.sampler_stop(),
            Call::SpiConfigure => self.spi_configure(this, arg(0), arg(1)),
            Call::SpiDisable => self.spi_bus(this).and_then(|bus| self.bus_disable(bus)),
            Call::SpiReadBlob => self.spi_read(this, arg(0), true),
            Call::SpiReadString => self.spi_read(this, arg(0), false),
            Call::SpiWrite => self.spi_write(this, arg(0), false),
            Call::SpiWriteRead => self.spi_write(this, arg(0), true),
            Call::UartConfigure => self.uart_configure(this, &call.args),
            Call::UartDisable => self.uart_disable(this),
            Call::UartRead => self.uart_read(this),
            Call::UartReadBlob => self.uart_read_all(this, arg(0), true),
            Call::UartReadString => self.uart_read_all(this, arg(0), false),
            Call::UartWrite => self.uart_write(this, arg(0)),
        }
    }

    /// The board of this device; an agent has none.
    pub(super) fn hardware(&mut self, call: &str) -> Result<&mut Hardware, Throw> {
        self.hardware.as_deref_mut().ok_or_else(|| Throw::message(format!("{call}: only a device has this")))
    }

    /// Which of several objects of a class this is.
    pub(super) fn place(
        &self,
        this: Value,
        class: Option<ClassId>,
        names: &[&'static str],
    ) -> Option<(usize, &'static str)> {
        match self.vm.heap().view(this) {
            View::Object(found, handle) if Some(found) == class => {
                let place = usize::try_from(handle).ok()?;
                Some((place, *names.get(place)?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_by_its_number() {
        for (index, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, index + FIRST as usize);
        }
    }
}
