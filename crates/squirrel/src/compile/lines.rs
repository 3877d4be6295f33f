//! The comments that mean something: `#line` moves the place that errors show, `#require` asks for a library.

use super::{CompileError, LIBRARIES_MAX, Required, Source};

/// Files that `#line` may name in one program.
pub(crate) const FILES_MAX: usize = 1000;
/// `#line`s of one source that are honoured; later ones are comments.
const MARKS_MAX: usize = 100_000;

/// From this row of the text on, rows are those of another file.
#[derive(Debug)]
struct Mark {
    from: u32,
    row: u32,
    file: Vec<u8>,
}

/// What the comments of one source said.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    marks: Vec<Mark>,
    pub(crate) required: Vec<Required>,
}

impl Lines {
    /// Looks at a comment that begins here, in this row and column (from 0).
    pub(crate) fn read(&mut self, text: &[u8], row: u32, column: usize) {
        let line = text.split(|&b| b == b'\n').next().unwrap_or_default();
        if let Some(rest) = line.strip_prefix(b"#line ") {
            let (number, rest) = digits(rest.trim_ascii());
            if let Some(number) = number
                && self.marks.len() < MARKS_MAX
            {
                let file = quoted(rest.trim_ascii()).unwrap_or_default().to_vec();
                let file = if file.is_empty() { self.marks.last().map_or(file, |m| m.file.clone()) } else { file };
                self.marks.push(Mark { from: row + 1, row: number, file });
            }
        } else if let Some(rest) = line.strip_prefix(b"#require") {
            self.require(rest.trim_ascii(), row, column as u32 + 1);
        }
    }

    fn require(&mut self, rest: &[u8], row: u32, column: u32) {
        let text = String::from_utf8_lossy(quoted(rest).unwrap_or(rest)).into_owned();
        let (name, version) = text.rsplit_once(':').unwrap_or((&text, ""));
        let known = self.required.iter().any(|r| r.name == name && r.version == version);
        // One more than allowed is enough to be refused.
        if !known && self.required.len() <= LIBRARIES_MAX {
            self.required.push(Required { name: name.to_owned(), version: version.to_owned(), row, column });
        }
    }

    /// The row and file that errors show for a row of the text; no file: the source's own.
    pub(crate) fn shown(&self, row: u32) -> (u32, Option<&[u8]>) {
        let after = self.marks.partition_point(|m| m.from <= row);
        match after.checked_sub(1).map(|i| &self.marks[i]) {
            Some(m) => (m.row.saturating_add(row - m.from), Some(&m.file[..]).filter(|f| !f.is_empty())),
            None => (row, None),
        }
    }

    /// An error at this row and column of the text.
    pub(crate) fn error(&self, source: &Source<'_>, row: u32, column: u32, text: String) -> CompileError {
        let line = source.text.split(|&b| b == b'\n').nth(row.saturating_sub(1) as usize).unwrap_or_default();
        let source_line = String::from_utf8_lossy(line).trim_end().to_owned();
        let (row, file) = self.shown(row);
        let file = file.map_or_else(|| source.name.to_owned(), |f| String::from_utf8_lossy(f).into_owned());
        CompileError { file, row, column, text, source_line }
    }
}

fn digits(text: &[u8]) -> (Option<u32>, &[u8]) {
    let n = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..n]).ok().and_then(|s| s.parse().ok());
    (number, &text[n..])
}

fn quoted(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"\"")?;
    inner.iter().position(|&b| b == b'"').map(|end| &inner[..end])
}
