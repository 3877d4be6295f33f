//! The compiled image: a versioned byte form of a program, checked completely before it may run.

use super::op::{Bounds, Op};
use super::{CODE_MAX, Capture, Constant, Function, Program, line};

/// The first bytes of an image: a mark and the version of this format.
const MAGIC: &[u8; 6] = b"vsq\x00\x00\x02";
/// The longest image that is looked at.
const IMAGE_MAX: usize = 8 * 1024 * 1024;
/// The most functions of a program.
const FUNCTIONS_MAX: usize = u16::MAX as usize;

/// Why bytes are not an image that may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not made by this compiler, or by another version of it.
    #[error("this is not a compiled program of this version: compile the source again")]
    WrongVersion,
    /// Longer than any program may be.
    #[error("the compiled program is longer than {IMAGE_MAX} bytes")]
    TooLong,
    /// Ends too early.
    #[error("the compiled program is cut off")]
    Truncated,
    /// Bytes after the end.
    #[error("the compiled program has bytes after its end")]
    Trailing,
    /// Something in it refers to what does not exist.
    #[error("the compiled program is damaged: {0}")]
    Damaged(&'static str),
}

impl Program {
    /// The image of this program: what is stored, hashed and sent.
    pub fn to_image(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put(&mut out, self.strings.len());
        for s in &self.strings {
            put(&mut out, s.len());
            out.extend_from_slice(s);
        }
        put(&mut out, self.functions.len());
        for f in &self.functions {
            write_function(f, &mut out);
        }
        put(&mut out, self.mains.len());
        for &m in &self.mains {
            put(&mut out, m.into());
        }
        put(&mut out, self.files.len());
        for &f in &self.files {
            put(&mut out, f as usize);
        }
        out
    }

    /// Reads an image and checks all of it: every operand, jump, constant and name.
    ///
    /// # Errors
    /// When it is not an image of this version, or damaged in any way that matters.
    pub fn from_image(image: &[u8]) -> Result<Program, ImageError> {
        if image.len() > IMAGE_MAX {
            return Err(ImageError::TooLong);
        }
        let rest = image.strip_prefix(MAGIC).ok_or(ImageError::WrongVersion)?;
        let mut r = Reader(rest);
        let mut program = Program { strings: Vec::new(), functions: Vec::new(), mains: Vec::new(), files: Vec::new() };
        for _ in 0..r.count(1)? {
            let len = r.count(1)?;
            program.strings.push(r.bytes(len)?.into());
        }
        for _ in 0..r.count(8)? {
            program.functions.push(read_function(&mut r)?);
        }
        for _ in 0..r.count(4)? {
            program.mains.push(u16::try_from(r.number()?).map_err(|_| ImageError::Damaged("main function"))?);
        }
        program.files = r.list(4, Reader::number)?;
        if !r.0.is_empty() {
            return Err(ImageError::Trailing);
        }
        program.check()?;
        Ok(program)
    }

    /// Whether everything in it refers to what exists.
    pub(crate) fn check(&self) -> Result<(), ImageError> {
        if self.functions.len() > FUNCTIONS_MAX {
            return Err(ImageError::Damaged("too many functions"));
        }
        if !self.files.iter().all(|&f| (f as usize) < self.strings.len()) {
            return Err(ImageError::Damaged("file"));
        }
        for &m in &self.mains {
            let main = self.functions.get(m as usize).ok_or(ImageError::Damaged("main function"))?;
            if !main.captures.is_empty() || !main.defaults.is_empty() || main.generator {
                return Err(ImageError::Damaged("main function"));
            }
        }
        self.functions.iter().try_for_each(|f| self.check_function(f))
    }

    fn check_function(&self, f: &Function) -> Result<(), ImageError> {
        let string = |s: u32| (s as usize) < self.strings.len();
        if !string(f.source) || !f.name.is_none_or(string) || !f.parameters.iter().all(|&p| string(p)) {
            return Err(ImageError::Damaged("name"));
        }
        if !f.constants.iter().all(|c| !matches!(c, Constant::Str(s) if !string(*s))) {
            return Err(ImageError::Damaged("constant"));
        }
        let registers = f.registers as usize;
        if f.filled() > registers || registers > 256 || f.defaults.len() > f.parameters.len() || f.captures.len() > 256
        {
            return Err(ImageError::Damaged("registers"));
        }
        if f.code.len() > CODE_MAX {
            return Err(ImageError::Damaged("the code is too long"));
        }
        if !f.code.last().is_some_and(|op| op.ends()) {
            return Err(ImageError::Damaged("code runs over its end"));
        }
        if f.lines.iter().any(|&(_, l)| line::unpack(l).0 as usize > self.files.len()) {
            return Err(ImageError::Damaged("line"));
        }
        let (constants, outers) = (f.constants.len(), f.captures.len());
        let (inners, code) = (self.functions.len(), f.code.len());
        let mut bounds = Bounds { registers, constants, outers, inners, code, pc: 0 };
        for (pc, op) in f.code.iter().enumerate() {
            bounds.pc = pc;
            if !op.fits(&bounds) || !self.closure_fits(f, *op) || (matches!(op, Op::Yield(_)) && !f.generator) {
                return Err(ImageError::Damaged("instruction"));
            }
        }
        Ok(())
    }

    /// Whether the function that makes a closure has what the closure captures.
    fn closure_fits(&self, maker: &Function, op: Op) -> bool {
        let Op::Closure(_, inner) = op else { return true };
        let Some(made) = self.functions.get(inner.0 as usize) else { return false };
        let captures = made.captures.iter().all(|c| match *c {
            Capture::Register(r) => u16::from(r) < maker.registers,
            Capture::Outer(o) => (o as usize) < maker.captures.len(),
        });
        captures && made.defaults.iter().all(|&d| u16::from(d) < maker.registers)
    }
}

fn put(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
}

fn write_function(f: &Function, out: &mut Vec<u8>) {
    put(out, f.name.map_or(0, |n| n as usize + 1));
    put(out, f.source as usize);
    put(out, f.registers.into());
    out.push(u8::from(f.varargs) | u8::from(f.generator) << 1);
    put(out, f.parameters.len());
    f.parameters.iter().for_each(|&p| put(out, p as usize));
    put(out, f.defaults.len());
    out.extend_from_slice(&f.defaults);
    put(out, f.captures.len());
    for c in &f.captures {
        let (kind, n) = match *c {
            Capture::Register(r) => (0, r),
            Capture::Outer(o) => (1, o),
        };
        out.extend_from_slice(&[kind, n]);
    }
    put(out, f.constants.len());
    for c in &f.constants {
        write_constant(*c, out);
    }
    put(out, f.code.len());
    f.code.iter().for_each(|op| op.write(out));
    put(out, f.lines.len());
    for &(pc, line) in &f.lines {
        put(out, pc as usize);
        put(out, line as usize);
    }
}

fn write_constant(c: Constant, out: &mut Vec<u8>) {
    let (kind, bits) = match c {
        Constant::Null => (0, 0),
        Constant::Bool(b) => (1, u32::from(b)),
        Constant::Int(i) => (2, i as u32),
        Constant::Float(bits) => (3, bits),
        Constant::Str(s) => (4, s),
    };
    out.push(kind);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn read_constant(r: &mut Reader<'_>) -> Result<Constant, ImageError> {
    let kind = r.byte()?;
    let bits = r.number()?;
    match (kind, bits) {
        (0, 0) => Ok(Constant::Null),
        (1, 0 | 1) => Ok(Constant::Bool(bits == 1)),
        (2, _) => Ok(Constant::Int(bits as i32)),
        (3, _) => Ok(Constant::Float(bits)),
        (4, _) => Ok(Constant::Str(bits)),
        _ => Err(ImageError::Damaged("constant")),
    }
}

fn read_function(r: &mut Reader<'_>) -> Result<Function, ImageError> {
    let name = r.number()?.checked_sub(1);
    let source = r.number()?;
    let registers = u16::try_from(r.number()?).map_err(|_| ImageError::Damaged("registers"))?;
    let flags = r.byte()?;
    if flags > 3 {
        return Err(ImageError::Damaged("flags"));
    }
    let parameters = r.list(4, Reader::number)?;
    let defaults = r.list(1, Reader::byte)?;
    let captures = r.list(2, |r| match (r.byte()?, r.byte()?) {
        (0, n) => Ok(Capture::Register(n)),
        (1, n) => Ok(Capture::Outer(n)),
        _ => Err(ImageError::Damaged("capture")),
    })?;
    let constants = r.list(5, read_constant)?;
    let code = r.list(1, |r| {
        let op = Op::read(&mut r.0);
        op.ok_or(if r.0.len() < 8 { ImageError::Truncated } else { ImageError::Damaged("instruction") })
    })?;
    let lines = r.list(8, |r| Ok((r.number()?, r.number()?)))?;
    let (varargs, generator) = (flags & 1 != 0, flags & 2 != 0);
    Ok(Function { name, source, code, constants, lines, parameters, defaults, captures, registers, varargs, generator })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], ImageError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(ImageError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, ImageError> {
        Ok(self.bytes(1)?[0])
    }

    fn number(&mut self) -> Result<u32, ImageError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(ImageError::Truncated)?;
        self.0 = tail;
        Ok(u32::from_le_bytes(*head))
    }

    /// A count of things that take at least `least` bytes each.
    fn count(&mut self, least: usize) -> Result<usize, ImageError> {
        let n = self.number()? as usize;
        if n > self.0.len() / least { Err(ImageError::Truncated) } else { Ok(n) }
    }

    fn list<T>(
        &mut self,
        least: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, ImageError>,
    ) -> Result<Vec<T>, ImageError> {
        let n = self.count(least)?;
        (0..n).map(|_| item(self)).collect()
    }
}
