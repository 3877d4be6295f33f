//! Tokens to tree: precedence climbing for expressions, one function for each statement.

mod expression;
mod function;
mod statement;

use std::collections::HashMap;

use super::ast::{Kind, Lambda, Name, Node};
use super::lexer::{Lexer, Spot, Token, Wrong};
use super::lines::Lines;
use super::scope::{Declared, Scopes};
use super::{CompileError, Source};

/// How deep source may be nested: blocks, brackets, functions.
const NESTING_MAX: usize = 150;
/// How deep a tree may be: chains of operators and members count as well.
const DEPTH_MAX: u16 = 1000;

/// What all sources of a program share.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) strings: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, Name>,
    pub(crate) constants: HashMap<Name, Declared>,
}

impl Names {
    pub(crate) fn intern(&mut self, bytes: &[u8]) -> Name {
        if let Some(&n) = self.numbers.get(bytes) {
            return n;
        }
        let n = self.strings.len() as Name;
        self.strings.push(bytes.into());
        self.numbers.insert(bytes.into(), n);
        n
    }
}

pub(crate) struct Parser<'a> {
    lexer: Lexer<'a>,
    spot: Spot,
    /// The place of the token before.
    last_row: u32,
    names: &'a mut Names,
    scopes: Scopes,
    nesting: usize,
}

type Parsed<T> = Result<T, Wrong>;

/// Reads one source into its main function.
pub(crate) fn parse(source: &Source<'_>, names: &mut Names) -> Result<(Lambda, Lines), CompileError> {
    let spot = Spot { token: Token::End, row: 1, column: 1, first: true };
    let (lexer, scopes) = (Lexer::new(source.text), Scopes::default());
    let mut parser = Parser { lexer, last_row: spot.place(), spot, names, scopes, nesting: 0 };
    let main = parser.main();
    let lines = parser.lexer.lines;
    match main {
        Ok(lambda) => Ok((lambda, lines)),
        Err((row, column, text)) => Err(lines.error(source, row, column, text)),
    }
}

impl Parser<'_> {
    fn main(&mut self) -> Parsed<Lambda> {
        self.advance()?;
        self.scopes.enter();
        let vargv = self.names.intern(b"vargv");
        self.scopes.declare(vargv);
        let mut body = Vec::new();
        while self.spot.token != Token::End {
            self.statement_into(&mut body)?;
        }
        let scope = self.scopes.leave();
        if scope.generator {
            return self.wrong("yield outside of a function");
        }
        Ok(Lambda {
            name: Some(self.names.intern(b"main")),
            captured: scope.captured,
            parameters: Vec::new(),
            defaults: Vec::new(),
            varargs: true,
            generator: false,
            captures: Vec::new(),
            body,
            last_line: self.spot.place(),
        })
    }

    fn advance(&mut self) -> Parsed<Token> {
        let next = self.lexer.next()?;
        self.last_row = self.spot.place();
        Ok(std::mem::replace(&mut self.spot, next).token)
    }

    fn wrong<T>(&self, text: impl Into<String>) -> Parsed<T> {
        Err((self.spot.row, self.spot.column, text.into()))
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.spot.token, Token::Sign(s) if s == sign)
    }

    fn is_key(&self, key: &str) -> bool {
        matches!(self.spot.token, Token::Key(k) if k == key)
    }

    /// Takes a sign when it is next.
    fn take(&mut self, sign: &str) -> Parsed<bool> {
        let there = self.is(sign);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    fn take_key(&mut self, key: &str) -> Parsed<bool> {
        let there = self.is_key(key);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.take(sign)? { Ok(()) } else { self.wrong(format!("expected '{sign}'")) }
    }

    fn expect_key(&mut self, key: &str) -> Parsed<()> {
        if self.take_key(key)? { Ok(()) } else { self.wrong(format!("expected '{key}'")) }
    }

    fn name(&mut self) -> Parsed<Name> {
        let bytes = match &self.spot.token {
            Token::Name(bytes) => bytes.clone(),
            _ => return self.wrong("expected 'IDENTIFIER'"),
        };
        self.advance()?;
        Ok(self.names.intern(&bytes))
    }

    /// A name after a dot or `function`: `constructor` is allowed.
    fn member_name(&mut self) -> Parsed<Name> {
        if self.take_key("constructor")? {
            return Ok(self.names.intern(b"constructor"));
        }
        self.name()
    }

    /// Whether a statement may end before the next token.
    fn at_end(&self) -> bool {
        self.spot.first || self.is(";") || self.is("}") || self.spot.token == Token::End
    }

    fn end_of_statement(&mut self) -> Parsed<()> {
        if self.take(";")? || self.at_end() {
            return Ok(());
        }
        self.wrong("end of statement expected (; or lf)")
    }

    /// Runs `read` one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= NESTING_MAX {
            return self.wrong("nested too deep");
        }
        self.nesting += 1;
        let result = read(self);
        self.nesting -= 1;
        result
    }

    fn leaf(&self, kind: Kind) -> Node {
        Node { line: self.spot.place(), depth: 1, kind }
    }

    /// A node over others, which has the depth of the deepest and one more.
    fn node(&self, line: u32, below: u16, kind: Kind) -> Parsed<Node> {
        if below >= DEPTH_MAX {
            return self.wrong("expression too complex");
        }
        Ok(Node { line, depth: below + 1, kind })
    }
}
