//! Points in time as people write and read them.

use anyhow::{Result, anyhow};
use jiff::{Span, SpanRelativeTo, Timestamp};
use serde_json::Value;

/// Reads a time with a zone (`2026-01-31T08:00:00Z`), or how long ago it was (`90s`, `2h`, `3 days`).
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = text.parse::<Span>().ok().filter(|span| !span.is_negative());
    let ago = ago.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    ago.and_then(|ago| Timestamp::now().checked_sub(ago).ok())
        .ok_or_else(|| format!("{text:?} is no time: write 2026-01-31T08:00:00Z, or how long ago, such as 30m or 2h"))
}

/// A time as central writes it.
pub(crate) fn of(value: &Value) -> Result<Timestamp> {
    let text = value.as_str().ok_or_else(|| anyhow!("central sent no time"))?;
    text.parse().map_err(|_| anyhow!("central sent a time that cannot be read"))
}

/// To the second, in the zone of the server's logs.
pub(crate) fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long ago that was, in two units at most; the clocks of two machines may differ, so that the future is now.
pub(crate) fn since(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(time.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min")
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_ago() {
        assert_eq!(parse("2026-01-31T08:00:00Z").unwrap().as_second(), 1_769_846_400);
        assert_eq!(parse("2026-01-31T09:00:00+01:00").unwrap().as_second(), 1_769_846_400);
        let day = Timestamp::now().as_second() - parse("1 day").unwrap().as_second();
        assert!((86_399..=86_401).contains(&day), "{day}");
        let hour = Timestamp::now().as_second() - parse("1h").unwrap().as_second();
        assert!((3_599..=3_601).contains(&hour), "{hour}");
        for bad in ["", "yesterday", "2026-01-31", "-2h", "99999 years"] {
            assert!(parse(bad).unwrap_err().contains("write 2026-"), "{bad}");
        }
    }

    #[test]
    fn a_duration_has_two_units_at_most() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (ago, shown) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(since(Timestamp::from_second(1_000_000 - ago).unwrap(), now), shown);
        }
    }
}
