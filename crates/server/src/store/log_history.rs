//! Log lines as they are read again: by time, kind and text.

use keys::public::SpkiHash;
use sqlx::{FromRow, QueryBuilder, Sqlite};

use super::{Listed, Page, Store, StoreError, row};
use crate::fleet::{LogEntry, LogType};

/// Which log lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Written at this time or later, Unix milliseconds, by the writer's clock.
    pub since_ms: Option<i64>,
    /// Written before this time, Unix milliseconds.
    pub until_ms: Option<i64>,
    /// Of this kind.
    pub kind: Option<LogType>,
    /// With this text somewhere in the line; small and capital letters of ASCII count as the same.
    pub text: Option<String>,
}

#[derive(FromRow)]
struct Row {
    at_ms: i64,
    kind: String,
    production: i64,
    line: String,
}

impl Store {
    /// A device's log lines, the one written down last first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn logs(&self, device: SpkiHash, filter: &LogFilter, page: Page) -> Result<Listed<LogEntry>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT at_ms, kind, production, line FROM logs WHERE spki = ");
        query.push_bind(device.as_bytes().to_vec());
        if let Some(since) = filter.since_ms {
            query.push(" AND at_ms >= ").push_bind(since);
        }
        if let Some(until) = filter.until_ms {
            query.push(" AND at_ms < ").push_bind(until);
        }
        if let Some(kind) = filter.kind {
            query.push(" AND kind = ").push_bind(kind.as_str());
        }
        if let Some(text) = &filter.text {
            query.push(" AND lower(line) LIKE ").push_bind(containing(text)).push(" ESCAPE '!'");
        }
        query.push(" ORDER BY number DESC LIMIT ").push_bind(page.limit());
        query.push(" OFFSET ").push_bind(page.offset());
        let rows = query.build_query_as::<Row>().fetch_all(self.readers()).await?;
        let entry = |row: Row| -> Result<LogEntry, StoreError> {
            Ok(LogEntry {
                device,
                at_ms: row.at_ms,
                kind: row::text("logs.kind", &row.kind)?,
                production: row.production != 0,
                text: row.line.into(),
            })
        };
        Ok(page.listed(rows.into_iter().map(entry).collect::<Result<_, _>>()?))
    }
}

/// The pattern for a text anywhere in a line, in which nothing stands for anything but itself.
fn containing(text: &str) -> String {
    let mut pattern = "%".to_owned();
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_searched_text_stands_for_itself() {
        assert_eq!(containing("Aa"), "%aa%");
        assert_eq!(containing("100%_!"), "%100!%!_!!%");
        assert_eq!(containing(""), "%%");
    }
}
