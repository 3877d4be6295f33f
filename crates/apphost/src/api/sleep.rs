//! Deep sleep of a device app, and the table that survives it.

use squirrel::{Throw, Value, View};

use super::Reply;
use crate::app::App;
use crate::limits::NESTING;
use crate::output::Until;
use crate::side::Side;
use crate::value::{Bounds, Format, decode_cbor, encode};

/// The longest sleep, milliseconds: 28 days.
const LONGEST_MS: f64 = 28.0 * 24.0 * 3_600_000.0;
const DAY_S: i64 = 86_400;

impl App {
    /// `imp.deepsleepfor(seconds)`, `server.sleepfor(seconds)`: the app is over, and begins again after that time.
    pub(super) fn sleep_for(&mut self, call: &str, seconds: Value) -> Result<Reply, Throw> {
        let ms = self.number(call, seconds)? * 1000.0;
        if !(0.0..=LONGEST_MS).contains(&ms) {
            return Err(Throw::message(format!("{call}: a device sleeps from 0 seconds to 28 days")));
        }
        // A 32-bit 0.2 is a little more than a fifth.
        self.fall_asleep(ms.round() as u64)
    }

    /// `imp.deepsleepuntil(hour, minute[, second[, weekday]])`, `server.sleepuntil(..)`: UTC; Sunday is 0.
    pub(super) fn sleep_to(&mut self, call: &str, arguments: &[Value]) -> Result<Reply, Throw> {
        let limits = [24, 60, 60, 7];
        let mut parts = [None; 4];
        for ((part, limit), argument) in parts.iter_mut().zip(limits).zip(arguments) {
            *part = match argument {
                Value::Null => None,
                Value::Int(number @ 0..) if *number < limit => Some(i64::from(*number)),
                _ => {
                    return Err(Throw::message(format!(
                        "{call}: an hour, a minute, a second and a weekday are expected"
                    )));
                }
            };
        }
        let [hour, minute, second, weekday] = parts;
        let of_day = hour.unwrap_or(0) * 3600 + minute.unwrap_or(0) * 60 + second.unwrap_or(0);
        self.fall_asleep(ms_until(self.now.unix_ms, of_day, weekday))
    }

    fn fall_asleep(&mut self, ms: u64) -> Result<Reply, Throw> {
        self.nv()?;
        self.sleep_until(Until::Time(ms));
        Ok(Reply::Wait)
    }

    /// What the root's `nv` holds, encoded; `None` when there is none.
    pub(crate) fn nv(&self) -> Result<Option<Vec<u8>>, Throw> {
        let Some(nv) = self.vm.global("nv").filter(|nv| matches!(self.vm.heap().view(*nv), View::Table(_))) else {
            return Ok(None);
        };
        let bounds = Bounds { bytes: self.limits.nv_bytes, nesting: NESTING };
        let encoded = encode(self.vm.heap(), nv, Format::Cbor, bounds);
        Ok(Some(encoded.map_err(|error| Throw::message(format!("nv: {error}")))?.bytes))
    }

    /// Puts what the app kept in `nv` before it slept into its root.
    pub(crate) fn restore_nv(&mut self) {
        let Side::Device(device) = &mut self.side else { return };
        let Some(bytes) = device.nv.take() else { return };
        let restored = self.vm.build(|heap| {
            let nv = decode_cbor(heap, &bytes, NESTING)?;
            let (root, name) = (heap.root(), heap.string(b"nv")?);
            heap.table_insert(root, name, nv)
        });
        // The host kept what this crate encoded, and a new app has the memory for it.
        debug_assert!(restored.is_ok(), "nv is restored");
    }
}

/// Milliseconds until that second of a day, and that day of the week, comes next.
fn ms_until(unix_ms: i64, of_day: i64, weekday: Option<i64>) -> u64 {
    let day_ms = DAY_S * 1000;
    let mut wait = (of_day * 1000 - unix_ms.rem_euclid(day_ms)).rem_euclid(day_ms);
    if let Some(weekday) = weekday {
        // The first of January 1970 was a Thursday.
        let then = (unix_ms.saturating_add(wait).div_euclid(day_ms) + 4).rem_euclid(7);
        wait += (weekday - then).rem_euclid(7) * day_ms;
    }
    u64::try_from(wait).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Friday, 15 January 2027, 08:00:00 UTC.
    const FRIDAY: i64 = 1_800_000_000_000;

    #[test]
    fn the_next_such_moment_is_today_tomorrow_or_on_its_weekday() {
        let hours = |hours: u64| hours * 3_600_000;
        assert_eq!(ms_until(FRIDAY, 9 * 3600, None), hours(1));
        assert_eq!(ms_until(FRIDAY, 7 * 3600, None), hours(23));
        assert_eq!(ms_until(FRIDAY, 8 * 3600, None), 0);
        assert_eq!(ms_until(FRIDAY, 9 * 3600, Some(5)), hours(1));
        assert_eq!(ms_until(FRIDAY, 7 * 3600, Some(5)), hours(7 * 24 - 1));
        assert_eq!(ms_until(FRIDAY, 9 * 3600, Some(0)), hours(2 * 24 + 1));
    }
}
