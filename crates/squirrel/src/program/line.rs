//! A line of a function's code: row, and the file when `#line` named one, in one number.

/// Bits that hold the row.
const ROW_BITS: u32 = 22;

/// A line from its file (0: the function's source; n: the program's file n - 1) and row.
#[cfg(feature = "compile")]
pub(crate) fn pack(file: u32, row: u32) -> u32 {
    file << ROW_BITS | row.min((1 << ROW_BITS) - 1)
}

/// File and row of a line.
pub(crate) fn unpack(line: u32) -> (u32, u32) {
    (line >> ROW_BITS, line & ((1 << ROW_BITS) - 1))
}
