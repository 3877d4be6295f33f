//! A simulated board: waveforms on its inputs, outputs to look at, buses that answer from its data file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apphost::Bench;
use apphost::board::{Board, BusUse, Flash, NoAcknowledge, NotThere, PinMode};

use super::levels::Setting;
use super::plan::{Plan, PlanUart, Unit};
use crate::events::DeviceEvent;

/// The bytes that wait on one UART; more are lost, as on a real one.
pub const UART_BYTES: usize = 64 * 1024;

/// A board; all of its clones are the same.
#[derive(Clone, Debug)]
pub struct Simulated(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    plan: Plan,
    /// Levels, modes and what the app drives.
    bench: Bench,
    /// What people set, in the pins' units.
    set: BTreeMap<String, f32>,
    /// The register that each I2C device is at.
    at: BTreeMap<(&'static str, u8), u8>,
    waiting: BTreeMap<&'static str, VecDeque<u8>>,
    flash: Flash,
    /// What those who watch were told last.
    told: BTreeMap<&'static str, f32>,
}

impl State {
    /// Puts on a pin what it shows now.
    fn show(&self, pin: &str, at: f64) {
        let planned = self.plan.pins.get(pin);
        let wave = planned.and_then(|planned| planned.wave.as_ref());
        let value = self.set.get(pin).copied().or_else(|| wave.map(|wave| wave.at(at)));
        let level = value.map(|value| self.volts(pin, value) / self.plan.voltage);
        // Those who ask know the pin.
        let _ = self.bench.show(pin, level);
    }

    fn volts(&self, pin: &str, value: f32) -> f32 {
        match self.unit(pin) {
            Some(unit) => unit.volts_at_zero + value * unit.volts_per_unit,
            None => value,
        }
    }

    fn unit(&self, pin: &str) -> Option<&Unit> {
        self.plan.pins.get(pin).map(|planned| &planned.unit)
    }
}

impl Simulated {
    /// A board as planned, just switched on.
    pub fn new(plan: Plan) -> Simulated {
        let bench = Bench::default();
        bench.supply_with(plan.voltage, plan.light);
        let flash = Flash::new(plan.sectors);
        let (set, at, waiting, told) = Default::default();
        Simulated(Arc::new(Mutex::new(State { plan, bench, set, at, waiting, flash, told })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a pin show what a person wants.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn set(&self, setting: &Setting) -> Result<(), String> {
        let mut state = self.state();
        if state.bench.level_of(&setting.pin).is_err() {
            return Err("the board has no such pin".to_owned());
        }
        match setting.value {
            Some(value) => drop(state.set.insert(setting.pin.clone(), value)),
            None => drop(state.set.remove(&setting.pin)),
        }
        Ok(())
    }

    /// What those who watch have not been told: outputs that the app drives, inputs that people set. Waveforms are not told of, or they
    /// would be all there is to read.
    pub fn changes(&self, at: f64) -> Vec<DeviceEvent> {
        let mut state = self.state();
        let mut events = Vec::new();
        for pin in apphost::board::PINS {
            let Some(mode) = state.bench.mode_of(pin) else { continue };
            state.show(pin, at);
            let level = state.bench.level_of(pin).unwrap_or_default();
            if !mode.is_output() && !state.set.contains_key(pin) {
                state.told.remove(pin);
            } else if state.told.insert(pin, level).is_none_or(|told| told != level) {
                let volts = level * state.plan.voltage;
                let (value, unit) = match state.unit(pin) {
                    Some(unit) if !mode.is_output() => {
                        ((volts - unit.volts_at_zero) / unit.volts_per_unit, &*unit.name)
                    }
                    _ if mode.is_digital() => (if level >= 0.5 { 1.0 } else { 0.0 }, ""),
                    _ => (volts, "V"),
                };
                let (pin, unit) = (pin.to_owned(), unit.to_owned());
                events.push(DeviceEvent::Pin { pin, value, unit, driven: mode.is_output() });
            }
        }
        events
    }
}

impl Board for Simulated {
    fn supply(&mut self) -> (f32, u16) {
        self.state().bench.supply()
    }

    fn configure_pin(&mut self, pin: &str, mode: Option<PinMode>) -> Result<(), NotThere> {
        self.state().bench.configure_pin(pin, mode)
    }

    fn level(&mut self, pin: &str, at: f64) -> f32 {
        let state = self.state();
        state.show(pin, at);
        state.bench.level_of(pin).unwrap_or_default()
    }

    fn drive(&mut self, pin: &str, level: f32) {
        self.state().bench.drive(pin, level);
    }

    fn configure_bus(&mut self, bus: &str, used: Option<BusUse>) -> Result<(), NotThere> {
        let mut state = self.state();
        let State { plan, waiting, .. } = &mut *state;
        let is_there = match used {
            None => true,
            Some(BusUse::I2c(_)) => plan.i2c.keys().any(|(known, _)| *known == bus),
            Some(BusUse::Spi(..)) => plan.spi.contains_key(bus),
            Some(BusUse::Uart(..)) => match plan.uart.get_key_value(bus) {
                Some((port, PlanUart::Bytes(bytes))) => {
                    waiting.insert(port, bytes.iter().copied().collect());
                    true
                }
                Some((port, PlanUart::Loopback)) => {
                    waiting.insert(port, VecDeque::new());
                    true
                }
                None => false,
            },
        };
        if is_there { Ok(()) } else { Err(NotThere) }
    }

    fn i2c(&mut self, bus: &str, address: u8, write: &[u8], read: usize) -> Result<Vec<u8>, NoAcknowledge> {
        let mut state = self.state();
        let State { plan, at, .. } = &mut *state;
        let device = plan.i2c.iter_mut().find(|((known, at), _)| *known == bus && *at == address);
        let (name, registers) = device.ok_or(NoAcknowledge)?;
        let place = at.entry(*name).or_default();
        if let Some((register, values)) = write.split_first() {
            *place = *register;
            for value in values {
                registers.insert(*place, *value);
                *place = place.wrapping_add(1);
            }
        }
        let next = |_| {
            let value = registers.get(place).copied().unwrap_or(0xff);
            *place = place.wrapping_add(1);
            value
        };
        Ok((0..read).map(next).collect())
    }

    fn spi(&mut self, bus: &str, write: &[u8]) -> Vec<u8> {
        match self.state().plan.spi.get(bus) {
            Some(true) => write.to_vec(),
            _ => vec![0xff; write.len()],
        }
    }

    fn uart_write(&mut self, port: &str, bytes: &[u8]) {
        let mut state = self.state();
        let State { plan, waiting, .. } = &mut *state;
        if plan.uart.get(port) == Some(&PlanUart::Loopback)
            && let Some(waiting) = waiting.get_mut(port)
        {
            let room = UART_BYTES.saturating_sub(waiting.len());
            waiting.extend(bytes.iter().take(room));
        }
    }

    fn uart_waiting(&mut self, port: &str) -> usize {
        self.state().waiting.get(port).map_or(0, VecDeque::len)
    }

    fn uart_read(&mut self, port: &str, most: usize) -> Vec<u8> {
        let mut state = self.state();
        let Some(waiting) = state.waiting.get_mut(port) else { return Vec::new() };
        let count = most.min(waiting.len());
        waiting.drain(..count).collect()
    }

    fn flash_size(&mut self) -> usize {
        self.state().flash.bytes().len()
    }

    fn flash_read(&mut self, at: usize, count: usize) -> Option<Vec<u8>> {
        self.state().flash.bytes().get(at..at.checked_add(count)?).map(<[u8]>::to_vec)
    }

    fn flash_write(&mut self, at: usize, bytes: &[u8]) -> bool {
        self.state().flash.write(at, bytes)
    }

    fn flash_erase(&mut self, at: usize) -> bool {
        self.state().flash.erase(at)
    }
}
