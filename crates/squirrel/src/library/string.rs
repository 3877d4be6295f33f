//! Methods of strings, and the string functions of the root table.

use super::{LibraryBuilder, format, int_arg, range, str_arg, weakref, wrong_type};
use crate::heap::Heap;
use crate::throw::Throw;
use crate::value::{Type, Value};
use crate::vm::arith::c_string;

pub(super) fn add(b: &mut LibraryBuilder) {
    let t = Type::String;
    b.native(t, "len", 0..=0, |heap, args| Ok(Value::Int(str_arg(heap, args, 0)?.len() as i32)));
    b.native(t, "tointeger", 0..=0, |heap, args| {
        counted(heap, args)?.and_then(Value::to_int).map(Value::Int).ok_or_else(cannot_convert)
    });
    b.native(t, "tofloat", 0..=0, |heap, args| {
        counted(heap, args)?.and_then(Value::to_float).map(Value::Float).ok_or_else(cannot_convert)
    });
    b.native(t, "tostring", 0..=0, |_, args| Ok(args[0]));
    b.native(t, "slice", 1..=2, slice);
    b.native(t, "find", 1..=2, find);
    b.native(t, "tolower", 0..=0, |heap, args| mapped(heap, args, |c| c.to_ascii_lowercase()));
    b.native(t, "toupper", 0..=0, |heap, args| mapped(heap, args, |c| c.to_ascii_uppercase()));
    b.native(t, "weakref", 0..=0, weakref);
    let root = b.root();
    b.native(root, "format", 1..=255, format::format);
    b.native(root, "strip", 1..=1, |heap, args| stripped(heap, args, true, true));
    b.native(root, "lstrip", 1..=1, |heap, args| stripped(heap, args, true, false));
    b.native(root, "rstrip", 1..=1, |heap, args| stripped(heap, args, false, true));
    b.native(root, "split", 2..=2, split);
}

/// A string's number and its bytes.
fn text<'h>(heap: &'h Heap, args: &[Value], number: usize) -> Result<(u32, &'h [u8]), Throw> {
    match args.get(number).copied().unwrap_or_default() {
        Value::Str(id) => Ok((id, heap.str_bytes(id))),
        value => Err(wrong_type(number, value, "string")),
    }
}

/// The number that a string is; its length is charged.
fn counted(heap: &Heap, args: &[Value]) -> Result<Option<Value>, Throw> {
    let s = str_arg(heap, args, 0)?;
    heap.work(s.len() / 16);
    Ok(number(s))
}

fn cannot_convert() -> Throw {
    Throw::message("cannot convert the string")
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | 9..=13)
}

/// The number at the head of a string, as C reads it: a float when there is a point or an exponent anywhere.
fn number(s: &[u8]) -> Option<Value> {
    let s = c_string(s);
    let float = s.iter().any(|b| matches!(b, b'.' | b'e' | b'E'));
    let start = s.iter().position(|&b| !is_space(b)).unwrap_or(s.len());
    let s = &s[start..];
    let sign = usize::from(matches!(s.first(), Some(b'+' | b'-')));
    let digits = |from: usize| s[from.min(s.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(sign);
    let mut end = sign + whole;
    if !float {
        let text = std::str::from_utf8(&s[..end]).ok()?;
        if whole == 0 {
            return None;
        }
        let wide = text.parse::<i64>().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX });
        return Some(Value::Int(wide.clamp(i32::MIN.into(), i32::MAX.into()) as i32));
    }
    let mut fraction = 0;
    if s.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(s.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(s.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let text = std::str::from_utf8(&s[..end]).ok()?;
    Some(Value::Float(text.parse::<f64>().ok()? as f32))
}

fn slice(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let (id, s) = text(heap, args, 0)?;
    let range = range(args, s.len())?;
    if range.len() == s.len() {
        return Ok(args[0]);
    }
    heap.string_part(id, range, |b| *b)
}

fn find(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let (s, part) = (str_arg(heap, args, 0)?, str_arg(heap, args, 1)?);
    let start = if args.len() > 2 { int_arg(args, 2)? } else { 0 };
    let Some(from) = usize::try_from(start).ok().filter(|&n| n <= s.len()) else { return Ok(Value::Null) };
    let (s, part) = (&s[from..], c_string(part));
    // As `strstr`: nothing is found past a NUL.
    let found = memchr::memmem::find(s, part).filter(|&n| !s[..n].contains(&0));
    heap.work((found.unwrap_or(s.len()) + part.len()) / 32);
    Ok(found.map_or(Value::Null, |n| Value::Int((n + from) as i32)))
}

fn mapped(heap: &mut Heap, args: &[Value], f: fn(&u8) -> u8) -> Result<Value, Throw> {
    let (id, s) = text(heap, args, 0)?;
    let n = s.len();
    heap.work(n / 32);
    heap.string_part(id, 0..n, f)
}

fn stripped(heap: &mut Heap, args: &[Value], left: bool, right: bool) -> Result<Value, Throw> {
    let (id, s) = text(heap, args, 1)?;
    heap.work(s.len() / 32);
    let start = if left { s.iter().position(|&b| !is_space(b)).unwrap_or(s.len()) } else { 0 };
    let end = if right { s.iter().rposition(|&b| !is_space(b)).map_or(start, |n| n + 1) } else { s.len() };
    heap.string_part(id, start..end.max(start), |b| *b)
}

/// As `strtok` splits: empty fields are dropped.
fn split(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let (len, separators) = (str_arg(heap, args, 1)?.len(), c_string(str_arg(heap, args, 2)?));
    heap.work((len + separators.len()) / 32);
    let mut separates = [false; 256];
    separators.iter().for_each(|&b| separates[usize::from(b)] = true);
    let array = heap.array(Vec::new())?;
    let mut from = 0;
    let (id, _) = text(heap, args, 1)?;
    while let Some(part) = field(heap.str_bytes(id), from, &separates) {
        from = part.end;
        let item = heap.string_part(id, part, |b| *b)?;
        heap.array_push(array, item)?;
        heap.work(1);
    }
    Ok(array)
}

/// The next field that is not empty, as `strtok` sees it: it ends at a NUL.
fn field(s: &[u8], from: usize, separates: &[bool; 256]) -> Option<std::ops::Range<usize>> {
    let is_end = |b: &u8| *b == 0 || separates[usize::from(*b)];
    let rest = s.get(from..)?;
    let start = from + rest.iter().position(|b| *b == 0 || !is_end(b))?;
    let part = s.get(start..)?;
    let len = part.iter().position(is_end).unwrap_or(part.len());
    if len == 0 { None } else { Some(start..start + len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_at_a_nul_and_are_never_empty() {
        let mut separates = [false; 256];
        separates[usize::from(b',')] = true;
        let all = |s: &[u8]| {
            let next = |from: &mut usize| {
                let part = field(s, *from, &separates)?;
                *from = part.end;
                Some(part)
            };
            let mut from = 0;
            std::iter::from_fn(|| next(&mut from)).collect::<Vec<_>>()
        };
        assert_eq!(all(b"a,,bc,"), [0..1, 3..5]);
        assert_eq!(all(b",,a\0,b").first(), Some(&(2..3)));
        assert_eq!([b",,a\0,b".as_slice(), b"", b","].map(|s| all(s).len()), [1, 0, 0]);
    }

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        let int = |s: &str| number(s.as_bytes()).and_then(Value::to_int);
        assert_eq!(int("12abc"), Some(12));
        assert_eq!(int("  -7"), Some(-7));
        assert_eq!(int("0x1f"), Some(0));
        assert_eq!(int("1.9"), Some(1));
        assert_eq!(int("99999999999"), Some(i32::MAX));
        assert_eq!((int("abc"), int(""), int("-")), (None, None, None));
        assert_eq!(number(b"1e3"), Some(Value::Float(1000.0)));
        assert_eq!(number(b".5x"), Some(Value::Float(0.5)));
    }
}
