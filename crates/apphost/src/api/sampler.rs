//! `hardware.sampler`: samples of an analog pin, a buffer at a time.

use squirrel::{Throw, Value, View};

use super::Reply;
use crate::app::App;
use crate::board::PINS;
use crate::hardware::Sampler;

/// The most samples in a second.
const RATE_MOST: i32 = 100_000;
/// The shortest time that one buffer may take, milliseconds; a shorter one would call back without end.
const BUFFER_MS_LEAST: f64 = 1.0;
/// An analog sample at the supply's voltage.
const FULL_SCALE: f32 = 65_535.0;

impl App {
    /// `sampler.configure(pin, rate, buffers, callback)`: blobs, filled with 16-bit samples, lowest byte first.
    pub(super) fn sampler_configure(&mut self, arguments: &[Value]) -> Result<Reply, Throw> {
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let (pin, _) = self.pin_place(argument(0))?;
        let rate = match argument(1) {
            Value::Int(rate @ 1..=RATE_MOST) => rate.unsigned_abs(),
            _ => return Err(Throw::message(format!("sampler.configure: a rate is 1 to {RATE_MOST} Hz"))),
        };
        let buffers = match self.vm.heap().view(argument(2)) {
            View::Array(buffers) => buffers.to_vec(),
            _ => Vec::new(),
        };
        let long_enough = |buffer: &Value| match self.vm.heap().view(*buffer) {
            View::Blob(bytes) => buffer_ms(bytes.len(), rate) >= BUFFER_MS_LEAST,
            _ => false,
        };
        if buffers.len() < 2 || !buffers.iter().all(long_enough) {
            return Err(Throw::message("sampler.configure: two or more blobs of a millisecond or more were expected"));
        }
        self.expect_function("sampler.configure", argument(3))?;
        self.sampler_reset()?;
        let buffers = buffers.into_iter().map(|buffer| self.vm.pin(buffer)).collect();
        let callback = self.vm.pin(argument(3));
        self.hardware("sampler.configure")?.sampler =
            Some(Sampler { pin, rate, buffers, next: 0, callback, since: None });
        Ok(Value::Null.into())
    }

    /// `sampler.start()`
    pub(super) fn sampler_start(&mut self) -> Result<Reply, Throw> {
        let now = self.now.mono_ms as f64;
        let sampler = self.hardware("sampler.start")?.sampler.as_mut();
        let sampler = sampler.ok_or_else(|| Throw::message("sampler.start: it is not configured"))?;
        sampler.since.get_or_insert(now);
        Ok(Value::Null.into())
    }

    /// `sampler.stop()`: what the buffer in work has so far is given up.
    pub(super) fn sampler_stop(&mut self) -> Result<Reply, Throw> {
        if let Some(sampler) = &mut self.hardware("sampler.stop")?.sampler {
            sampler.since = None;
        }
        Ok(Value::Null.into())
    }

    /// `sampler.reset()`
    pub(super) fn sampler_reset(&mut self) -> Result<Reply, Throw> {
        if let Some(sampler) = self.hardware("sampler.reset")?.sampler.take() {
            for pin in sampler.buffers.into_iter().chain([sampler.callback]) {
                self.vm.unpin(pin);
            }
        }
        Ok(Value::Null.into())
    }

    /// When the buffer in work is full, milliseconds.
    pub(crate) fn sampler_due(&self) -> Option<u64> {
        let sampler = self.hardware.as_ref()?.sampler.as_ref()?;
        Some((sampler.since? + self.buffer_time(sampler)).ceil() as u64)
    }

    fn buffer_time(&self, sampler: &Sampler) -> f64 {
        let buffer = sampler.buffers.get(sampler.next).map(|pin| self.vm.pinned(*pin));
        let length = buffer.and_then(|buffer| self.vm.heap().blob_bytes(buffer)).map_or(0, <[u8]>::len);
        // The script may have shortened it since.
        buffer_ms(length, sampler.rate).max(BUFFER_MS_LEAST)
    }

    /// Hands a full buffer to the script.
    pub(crate) fn begin_samples(&mut self) -> bool {
        if self.sampler_due().is_none_or(|due| due > self.now.mono_ms) {
            return false;
        }
        let Some(sampler) = self.hardware.as_ref().and_then(|hardware| hardware.sampler.as_ref()) else { return false };
        let time = self.buffer_time(sampler);
        let Some(hardware) = self.hardware.as_mut() else { return false };
        let Some(sampler) = &mut hardware.sampler else { return false };
        let (Some(since), Some(name)) = (sampler.since, PINS.get(sampler.pin)) else { return false };
        let samples = (time * f64::from(sampler.rate) / 1000.0).round() as usize;
        let bytes: Vec<u8> = (0..samples)
            .map(|sample| {
                hardware.board.level(name, (since + sample as f64 * 1000.0 / f64::from(sampler.rate)) / 1000.0)
            })
            .flat_map(|level| ((level * FULL_SCALE).round() as u16).to_le_bytes())
            .collect();
        sampler.since = Some(since + time);
        sampler.next = (sampler.next + 1) % sampler.buffers.len().max(1);
        let callback = sampler.callback;
        self.count_work(bytes.len());
        match self.vm.build(|heap| heap.blob(&bytes)) {
            Ok(buffer) => {
                let length = Value::Int(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
                self.call(Some(callback), &[buffer, length]);
                true
            }
            Err(throw) => {
                self.refuse_input(throw);
                false
            }
        }
    }
}

fn buffer_ms(bytes: usize, rate: u32) -> f64 {
    (bytes / 2) as f64 * 1000.0 / f64::from(rate)
}
