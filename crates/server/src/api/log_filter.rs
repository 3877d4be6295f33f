//! Which log lines a client asks for.

use jiff::Timestamp;

use super::error::ApiError;
use super::query::Filters;
use crate::store::LogFilter;

/// The longest text that is searched for, in characters.
const TEXT_CHARS: usize = 200;

/// Reads `filter[since]`, `filter[until]` (ISO 8601 with a zone), `filter[type]` and `filter[text]`.
pub(super) fn log_filter(filters: &mut Filters) -> Result<LogFilter, ApiError> {
    filters.only(&["since", "until", "type", "text"])?;
    let text = filters.text("text").filter(|text| !text.is_empty()).map(str::to_owned);
    if text.as_ref().is_some_and(|text| text.chars().count() > TEXT_CHARS) {
        return Err(ApiError::invalid(format!("filter[text] has at most {TEXT_CHARS} characters.")));
    }
    Ok(LogFilter {
        since_ms: moment(filters, "since")?,
        until_ms: moment(filters, "until")?,
        kind: filters.id("type"),
        text,
    })
}

fn moment(filters: &Filters, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = filters.text(name) else { return Ok(None) };
    let time: Timestamp = text.parse().map_err(|_| {
        ApiError::invalid(format!("filter[{name}] is a time with a zone, such as 2026-01-31T08:00:00.000Z."))
    })?;
    Ok(Some(time.as_millisecond()))
}
