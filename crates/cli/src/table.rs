//! A table for people: columns as wide as what stands in them, cut at the width of a terminal.

use anyhow::Result;
use serde_json::{Value, json};

use crate::output::{Output, Tone, paint};

/// What stands between two columns.
const GAP: &str = "  ";

/// One field.
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A text in the terminal's own colour; none is shown as a dash.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: one_line(text.into()), tone: None }
    }

    /// A text that means something.
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone: Some(tone), ..Self::plain(text) }
    }
}

fn one_line(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text.replace(['\n', '\t'], " ") }
}

/// Rows under a head.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The lines, the head first; none longer than `width` characters.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let longest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
            cells.chain(self.head.get(column).map(|head| head.len())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(longest).collect();
        let head = self.head.iter().map(|head| Cell::toned(Tone::Strong, *head)).collect();
        std::iter::once(&head).chain(&self.rows).map(|row| line(row, &widths, width.unwrap_or(usize::MAX))).collect()
    }
}

/// Prints what central has of something: for scripts as it sent it, for people as a table, or in a sentence that there is none.
pub(crate) fn list(
    output: &Output,
    entries: &[Value],
    none: &str,
    table: impl FnOnce() -> Result<Table>,
) -> Result<()> {
    if output.is_json() {
        output.json_line(&json!(entries));
    } else if entries.is_empty() {
        output.say(none);
    } else {
        table()?.lines(None).iter().for_each(|line| output.say(line));
    }
    Ok(())
}

fn line(row: &[Cell], widths: &[usize], mut room: usize) -> String {
    let mut line = String::new();
    for (place, (cell, width)) in row.iter().zip(widths).enumerate() {
        let gap = if place == 0 { "" } else { GAP };
        let Some(left) = room.checked_sub(gap.len()).filter(|left| *left > 0) else { break };
        // The last column needs no spaces behind it.
        let pad = if place + 1 == row.len() { 0 } else { *width };
        let text: String = format!("{:<pad$}", cell.text).chars().take(left).collect();
        room = left - text.chars().count();
        line.push_str(gap);
        line.push_str(&cell.tone.map_or(text.clone(), |tone| paint(tone, &text)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["A", "LONG", "C"]);
        table.add(vec![Cell::plain("first"), Cell::plain("ü"), Cell::plain("x")]);
        table.add(vec![Cell::plain(""), Cell::plain("two\nlines"), Cell::plain("y")]);
        table
    }

    #[test]
    fn columns_stand_under_each_other_and_a_row_stays_one_line() {
        let lines = table().lines(None);
        assert_eq!(lines[1..], ["first  ü          x", "-      two lines  y"]);
        assert!(lines[0].contains("LONG"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        assert_eq!(table().lines(Some(10))[1..], ["first  ü  ", "-      two"]);
        assert_eq!(table().lines(Some(7))[1..], ["first", "-    "]);
        assert_eq!(table().lines(Some(1))[1..], ["f", "-"]);
    }
}
