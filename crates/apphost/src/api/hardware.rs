//! `hardware`: who the device is and how long it has been running.

use squirrel::{Throw, Value};

use super::Reply;
use crate::app::App;
use crate::side::Side;

impl App {
    /// `hardware.getdeviceid()`
    pub(super) fn device_id(&mut self) -> Result<Reply, Throw> {
        let Side::Device(device) = &self.side else { return Err(Throw::message("only a device has this")) };
        Ok(self.vm.build(|heap| heap.string(device.device_id.as_bytes()))?.into())
    }

    /// `imp.getmacaddress()`: no interface's own, but one for each device, in the form of a locally administered address.
    pub(super) fn mac_address(&mut self) -> Result<Reply, Throw> {
        let Side::Device(device) = &self.side else { return Err(Throw::message("only a device has this")) };
        let address = format!("02{}", device.device_id.get(..10).unwrap_or_default());
        Ok(self.vm.build(|heap| heap.string(address.as_bytes()))?.into())
    }

    /// `hardware.wakereason()`
    pub(super) fn wake_reason(&self) -> Reply {
        Value::Int(i32::from(self.wake.code())).into()
    }

    /// `hardware.voltage()`: volts.
    pub(super) fn voltage(&mut self) -> Reply {
        Value::Float(self.supply().0).into()
    }

    /// `hardware.lightlevel()`: 0 to 65535.
    pub(super) fn light_level(&mut self) -> Reply {
        Value::Int(i32::from(self.supply().1)).into()
    }

    fn supply(&mut self) -> (f32, u16) {
        self.hardware.as_mut().map(|hardware| hardware.board.supply()).unwrap_or_default()
    }

    /// `hardware.millis()`: since some start, wrapping at 32 bits.
    pub(super) fn millis(&self) -> Reply {
        Value::Int(self.now.mono_ms as i32).into()
    }

    /// `hardware.micros()`: since some start, wrapping at 32 bits; as fine as the host's clock.
    pub(super) fn micros(&self) -> Reply {
        Value::Int(self.now.mono_ms.wrapping_mul(1000) as i32).into()
    }
}
