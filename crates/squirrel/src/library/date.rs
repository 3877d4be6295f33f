//! `time`, `clock` and `date`, from the clock that the host sets; always UTC.

use super::{LibraryBuilder, int_arg};
use crate::heap::Heap;
use crate::throw::Throw;
use crate::value::Value;

pub(super) fn add(b: &mut LibraryBuilder) {
    let root = b.root();
    b.native(root, "time", 0..=0, |heap, _| Ok(Value::Int(heap.clock.unix_ms.div_euclid(1000) as i32)));
    b.native(root, "clock", 0..=0, |heap, _| Ok(Value::Float(heap.clock.mono_us as f32 / 1e6)));
    b.native(root, "date", 0..=2, date);
}

/// Year, month (1-12) and day of the days since 1970, by the calendar's 400-year cycle.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day of the year from 0.
fn year_day(year: i64, month: i64, day: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let index = usize::try_from(month - 1).unwrap_or_default();
    before.get(index).copied().unwrap_or_default() + day - 1 + i64::from(leap && month > 2)
}

fn date(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let (seconds, usec) = if args.len() > 1 {
        (i64::from(int_arg(args, 1)?), 0)
    } else {
        (heap.clock.unix_ms.div_euclid(1000), heap.clock.unix_ms.rem_euclid(1000) * 1000)
    };
    let days = seconds.div_euclid(86_400);
    let left = seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let known = (2000..2100).contains(&year);
    let table = heap.table(10)?;
    let slots = [
        ("sec", left % 60),
        ("min", left / 60 % 60),
        ("hour", left / 3600),
        ("day", day),
        ("month", month - 1),
        ("year", year),
        ("wday", (days + 4).rem_euclid(7)),
        ("yday", year_day(year, month, day)),
        ("time", seconds),
        ("usec", usec),
    ];
    for (name, value) in slots {
        let key = heap.string(name.as_bytes())?;
        heap.table_insert(table, key, Value::Int(if known { value as i32 } else { 0 }))?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_780), (2026, 11, 23));
        assert_eq!(year_day(2000, 3, 1), 60);
        assert_eq!(year_day(2001, 12, 31), 364);
    }
}
