//! Tree to register code.

mod access;
mod condition;
mod expression;
mod statement;

use std::collections::HashMap;

use super::ast::{Lambda, Name, Source, StmtKind};
use super::lexer::row_of;
use crate::program::op::{Ahead, Behind, Konst, Op, Outer, Reg};
use crate::program::{CODE_MAX, Capture, Constant, Function, Program};

/// A function may use this many registers.
const REGISTERS_MAX: u16 = 255;
/// Jumps forward, to be pointed at a place that is not known yet.
type Jumps = Vec<usize>;
/// Place and text of what is wrong.
type Wrong = (u32, String);
type Made<T> = Result<T, Wrong>;

/// A loop or switch that `break` leaves.
#[derive(Debug, Default)]
struct Breakable {
    is_loop: bool,
    breaks: Jumps,
    continues: Jumps,
    /// `try`s that were open at its start.
    traps: u8,
}

/// Generates one function.
struct Generator<'p> {
    program: &'p mut Program,
    lambda: &'p Lambda,
    f: Function,
    constants: HashMap<(u8, u32), u16>,
    /// The register of each variable.
    vars: Vec<u8>,
    /// The first register that is free.
    next: u16,
    breakables: Vec<Breakable>,
    traps: u8,
    line: u32,
    /// The variable's register that an assignment is about to write: nothing else may write it before.
    assigning: Option<Reg>,
}

/// Generates a main function and all functions in it; its number.
pub(super) fn generate(lambda: &Lambda, file: Name, program: &mut Program) -> Made<u16> {
    let mut g = Generator::new(lambda, file, program);
    g.function()?;
    let f = g.f;
    add(program, f, lambda.last_line)
}

fn add(program: &mut Program, f: Function, line: u32) -> Made<u16> {
    let number = u16::try_from(program.functions.len()).map_err(|_| (line, "too many functions".to_owned()))?;
    program.functions.push(f);
    Ok(number)
}

impl<'p> Generator<'p> {
    fn new(lambda: &'p Lambda, file: Name, program: &'p mut Program) -> Self {
        let capture = |c: &Source| match *c {
            Source::Local(var) => Capture::Register(var as u8),
            Source::Outer(o) => Capture::Outer(o),
        };
        let f = Function {
            name: lambda.name,
            source: file,
            parameters: lambda.parameters.clone(),
            varargs: lambda.varargs,
            generator: lambda.generator,
            captures: lambda.captures.iter().map(capture).collect(),
            registers: 1,
            ..Function::default()
        };
        let vars = vec![0; lambda.captured.len()];
        let breakables = Vec::new();
        Generator {
            program,
            lambda,
            f,
            constants: HashMap::new(),
            vars,
            next: 1,
            breakables,
            traps: 0,
            line: 0,
            assigning: None,
        }
    }

    fn function(&mut self) -> Made<()> {
        let filled = self.lambda.parameters.len() + usize::from(self.lambda.varargs);
        for var in 0..filled {
            let r = self.reg()?;
            self.vars[var] = r.0;
            if self.lambda.captured[var] {
                self.emit(Op::Box(r));
            }
        }
        let lambda = self.lambda;
        self.line = lambda.body.first().map_or(lambda.last_line, |s| s.line);
        self.statements(&lambda.body)?;
        self.line = lambda.last_line;
        if !self.f.code.last().is_some_and(|op| op.ends()) || self.is_target(self.f.code.len()) {
            self.emit(Op::ReturnNull());
        }
        if self.f.code.len() > CODE_MAX {
            return self.wrong("the function is too long");
        }
        Ok(())
    }

    /// Whether a jump goes to this place; the end of the code is asked once a function.
    fn is_target(&self, place: usize) -> bool {
        self.f.code.iter().any(|op| op.target() == Some(place as u32))
    }

    fn wrong<T>(&self, text: &str) -> Made<T> {
        Err((self.line, text.to_owned()))
    }

    fn emit(&mut self, op: Op) -> usize {
        let pc = self.f.code.len();
        let row = row_of(self.line);
        if self.f.lines.last().is_none_or(|&(_, line)| line != row) {
            self.f.lines.push((pc as u32, row));
        }
        self.f.code.push(op);
        pc
    }

    fn reg(&mut self) -> Made<Reg> {
        if self.next >= REGISTERS_MAX {
            return self.wrong("the function has too many local variables or its expression is too long");
        }
        let r = Reg(self.next as u8);
        self.next += 1;
        self.f.registers = self.f.registers.max(self.next);
        Ok(r)
    }

    fn constant(&mut self, c: Constant) -> Made<Konst> {
        let key = match c {
            Constant::Null => (0, 0),
            Constant::Bool(b) => (1, u32::from(b)),
            Constant::Int(i) => (2, i as u32),
            Constant::Float(bits) => (3, bits),
            Constant::Str(s) => (4, s),
        };
        if let Some(&k) = self.constants.get(&key) {
            return Ok(Konst(k));
        }
        let Ok(k) = u16::try_from(self.f.constants.len()) else {
            return self.wrong("the function has too many constants");
        };
        self.f.constants.push(c);
        self.constants.insert(key, k);
        Ok(Konst(k))
    }

    fn name(&mut self, name: Name) -> Made<Konst> {
        self.constant(Constant::Str(name))
    }

    fn here(&self) -> u32 {
        self.f.code.len() as u32
    }

    /// Points jumps at the next instruction.
    fn land(&mut self, jumps: Jumps) {
        let here = Ahead(self.here());
        for at in jumps {
            if let Some(t) = self.f.code[at].target_mut() {
                *t = here;
            }
        }
    }

    fn jump(&mut self) -> usize {
        self.emit(Op::Jump(Ahead(0)))
    }

    fn loop_to(&mut self, top: u32) {
        self.emit(Op::Loop(Behind(top)));
    }

    fn variable(&self, var: usize) -> (Reg, bool) {
        (Reg(self.vars[var]), self.lambda.captured[var])
    }

    /// A variable's register, at its declaration.
    fn declare(&mut self, var: usize) -> Made<Reg> {
        let r = self.reg()?;
        self.vars[var] = r.0;
        Ok(r)
    }

    /// Code of an inner function; its captured registers are known here.
    fn inner(&mut self, lambda: &Lambda, defaults: Vec<u8>) -> Made<u16> {
        let mut inner = Generator::new(lambda, self.f.source, self.program);
        for (capture, source) in inner.f.captures.iter_mut().zip(&lambda.captures) {
            if let Source::Local(var) = *source {
                *capture = Capture::Register(self.vars[var]);
            }
        }
        inner.f.defaults = defaults;
        inner.function()?;
        let f = inner.f;
        add(self.program, f, lambda.last_line)
    }

    fn outer(o: u8) -> Outer {
        Outer(o)
    }

    fn ends_code(kind: &StmtKind) -> bool {
        matches!(kind, StmtKind::Return(_) | StmtKind::Throw(_) | StmtKind::Break | StmtKind::Continue)
    }
}
