//! `format`, and numbers as C prints them.

use super::str_arg;
use crate::heap::Heap;
use crate::throw::Throw;
use crate::value::Value;

/// The greatest width and precision.
const WIDTH_MAX: usize = 99;

/// One conversion.
#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

pub(super) fn format(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let pattern = str_arg(heap, args, 1)?;
    let mut out = Vec::new();
    let mut rest = pattern;
    let mut next = 2;
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b != b'%' {
            out.push(b);
        } else if let Some((b'%', tail)) = rest.split_first().map(|(b, t)| (*b, t)) {
            out.push(b'%');
            rest = tail;
        } else {
            let spec = parse(&mut rest)?;
            let Some((&conversion, tail)) = rest.split_first() else { return Err(invalid()) };
            rest = tail;
            let Some(&arg) = args.get(next) else {
                return Err(Throw::message("not enough paramters for the given format string"));
            };
            next += 1;
            convert(heap, &spec, conversion, arg, &mut out)?;
        }
        heap.ensure(out.len())?;
    }
    heap.string_from(out)
}

fn invalid() -> Throw {
    Throw::message("invalid format")
}

fn parse(rest: &mut &[u8]) -> Result<Spec, Throw> {
    let mut spec = Spec::default();
    while let Some((&b, tail)) = rest.split_first() {
        match b {
            b'-' => spec.minus = true,
            b'+' => spec.plus = true,
            b' ' => spec.space = true,
            b'#' => spec.alternate = true,
            b'0' => spec.zero = true,
            _ => break,
        }
        *rest = tail;
    }
    spec.width = digits(rest)?.unwrap_or(0);
    if let Some((b'.', tail)) = rest.split_first().map(|(b, t)| (*b, t)) {
        *rest = tail;
        spec.precision = Some(digits(rest)?.unwrap_or(0));
    }
    Ok(spec)
}

fn digits(rest: &mut &[u8]) -> Result<Option<usize>, Throw> {
    let mut value = None;
    while let Some((&b, tail)) = rest.split_first()
        && b.is_ascii_digit()
    {
        let n = value.unwrap_or(0) * 10 + usize::from(b - b'0');
        if n > WIDTH_MAX {
            return Err(Throw::message("width format too long"));
        }
        value = Some(n);
        *rest = tail;
    }
    Ok(value)
}

fn convert(heap: &Heap, spec: &Spec, conversion: u8, arg: Value, out: &mut Vec<u8>) -> Result<(), Throw> {
    heap.work(1);
    let (sign, digits) = match conversion {
        b's' => {
            let Value::Str(s) = arg else { return Err(Throw::message("string expected for the specified format")) };
            heap.work(heap.str_bytes(s).len() / 64);
            let s = crate::vm::arith::c_string(heap.str_bytes(s));
            heap.ensure(out.len() + s.len())?;
            pad(spec, "", &s[..s.len().min(spec.precision.unwrap_or(s.len()))], false, out);
            return Ok(());
        }
        b'c' => {
            pad(spec, "", &[integer(arg)? as u8], false, out);
            return Ok(());
        }
        b'd' | b'i' => {
            let i = integer(arg)?;
            (sign(spec, i < 0), with_precision(i.unsigned_abs().to_string(), spec))
        }
        b'u' => ("", with_precision((integer(arg)? as u32).to_string(), spec)),
        b'o' | b'x' | b'X' => based(spec, conversion, integer(arg)? as u32),
        b'f' | b'e' | b'E' | b'g' | b'G' => {
            let (Value::Int(_) | Value::Float(_)) = arg else {
                return Err(Throw::message("float expected for the specified format"));
            };
            let f = f64::from(arg.to_float().unwrap_or_default());
            (sign(spec, f.is_sign_negative() && !f.is_nan()), float(spec, conversion, f.abs()))
        }
        _ => return Err(invalid()),
    };
    let zeros = !matches!(conversion, b'd' | b'i' | b'u' | b'o' | b'x' | b'X') || spec.precision.is_none();
    pad(spec, sign, digits.as_bytes(), zeros && spec.zero, out);
    Ok(())
}

fn integer(arg: Value) -> Result<i32, Throw> {
    match arg {
        Value::Int(_) | Value::Float(_) => Ok(arg.to_int().unwrap_or_default()),
        _ => Err(Throw::message("integer expected for the specified format")),
    }
}

fn sign(spec: &Spec, negative: bool) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn with_precision(digits: String, spec: &Spec) -> String {
    match spec.precision {
        Some(0) if digits == "0" => String::new(),
        Some(n) => format!("{digits:0>n$}"),
        None => digits,
    }
}

fn based(spec: &Spec, conversion: u8, n: u32) -> (&'static str, String) {
    let (prefix, digits) = match conversion {
        b'o' => ("", format!("{n:o}")),
        b'x' => ("0x", format!("{n:x}")),
        _ => ("0X", format!("{n:X}")),
    };
    let digits = with_precision(digits, spec);
    match (spec.alternate, conversion) {
        (true, b'o') if !digits.starts_with('0') => ("", format!("0{digits}")),
        (true, b'x' | b'X') if n != 0 => (prefix, digits),
        _ => ("", digits),
    }
}

fn float(spec: &Spec, conversion: u8, f: f64) -> String {
    let precision = spec.precision.unwrap_or(6);
    let upper = conversion.is_ascii_uppercase();
    if !f.is_finite() {
        return special(f, upper);
    }
    match conversion.to_ascii_lowercase() {
        b'f' if spec.alternate && precision == 0 => format!("{f:.0}."),
        b'f' => format!("{f:.precision$}"),
        b'e' => scientific(f, precision, upper),
        _ => general(f, precision, spec.alternate, upper),
    }
}

fn special(f: f64, upper: bool) -> String {
    let text = match (f.is_nan(), f.is_sign_negative()) {
        (true, false) => "nan",
        (true, true) => "-nan",
        (false, false) => "inf",
        (false, true) => "-inf",
    };
    if upper { text.to_uppercase() } else { text.to_owned() }
}

/// `%e`: the exponent has a sign and at least two digits.
fn scientific(f: f64, precision: usize, upper: bool) -> String {
    let text = format!("{f:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (e, sign) = (if upper { 'E' } else { 'e' }, if exponent < 0 { '-' } else { '+' });
    format!("{digits}{e}{sign}{:02}", exponent.abs())
}

/// `%g`: `precision` significant digits, trailing zeros dropped, an exponent where it is shorter.
pub(crate) fn general(f: f64, precision: usize, keep_zeros: bool, upper: bool) -> String {
    if !f.is_finite() {
        return special(f, upper);
    }
    let precision = precision.max(1);
    let text = format!("{f:.*e}", precision - 1);
    let exponent: i32 = text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let trimmed = |s: String| {
        if keep_zeros || !s.contains('.') { s } else { s.trim_end_matches('0').trim_end_matches('.').to_owned() }
    };
    if exponent < -4 || exponent >= precision as i32 {
        let text = scientific(f, precision - 1, upper);
        let at = text.find(['e', 'E']).unwrap_or(text.len());
        let (digits, exponent) = text.split_at(at);
        return trimmed(digits.to_owned()) + exponent;
    }
    let decimals = usize::try_from(precision as i32 - 1 - exponent).unwrap_or(0);
    trimmed(format!("{f:.decimals$}"))
}

fn pad(spec: &Spec, sign: &str, body: &[u8], zeros: bool, out: &mut Vec<u8>) {
    let fill = spec.width.saturating_sub(sign.len() + body.len());
    if !spec.minus && !zeros {
        out.resize(out.len() + fill, b' ');
    }
    out.extend_from_slice(sign.as_bytes());
    if !spec.minus && zeros {
        out.resize(out.len() + fill, b'0');
    }
    out.extend_from_slice(body);
    if spec.minus {
        out.resize(out.len() + fill, b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_c_prints_them() {
        let g = |f: f32| general(f.into(), 6, false, false);
        let cases = [
            (1.0, "1"),
            (16_777_217.0, "1.67772e+07"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e-5, "1e-05"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.23457e+06"),
            (0.0, "0"),
            (f32::INFINITY, "inf"),
        ];
        for (f, text) in cases {
            assert_eq!(g(f), text);
        }
        assert_eq!(scientific(0.000_123, 2, true), "1.23E-04");
    }
}
