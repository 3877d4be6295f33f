//! Statements.

use std::collections::HashMap;

use super::{Parsed, Parser};
use crate::compile::ast::{Kind, Name, Node, Stmt, StmtKind};
use crate::compile::lexer::Token;
use crate::compile::scope::{Declared, Scalar};

impl Parser<'_> {
    /// Reads one statement; `local a, b` makes several.
    pub(super) fn statement_into(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        self.nested(|p| p.statement_nested(out))
    }

    /// A statement that is the body of another, in a scope of its own.
    fn body(&mut self) -> Parsed<Stmt> {
        let line = self.spot.place();
        let mark = self.scopes.open();
        let mut out = Vec::new();
        self.statement_into(&mut out)?;
        self.scopes.close(mark);
        Ok(match out.len() {
            1 => out.remove(0),
            _ => Stmt { line, kind: StmtKind::Block(out) },
        })
    }

    fn statement_nested(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        let line = self.spot.place();
        let key = match self.spot.token {
            Token::Sign(";") => {
                self.advance()?;
                return Ok(());
            }
            Token::Sign("{") => {
                let kind = StmtKind::Block(self.block()?);
                out.push(Stmt { line, kind });
                return Ok(());
            }
            Token::Key(key) => key,
            _ => "",
        };
        let kind = match key {
            "local" => return self.local(out),
            "if" => self.if_statement()?,
            "while" => self.while_statement()?,
            "do" => self.do_statement()?,
            "for" => self.for_statement()?,
            "foreach" => self.foreach_statement()?,
            "switch" => self.switch_statement()?,
            "try" => self.try_statement()?,
            "function" => self.function_statement()?,
            "class" => self.class_statement()?,
            "const" => self.const_statement()?,
            "enum" => self.enum_statement()?,
            _ => {
                let kind = self.simple(key)?;
                self.end_of_statement()?;
                kind
            }
        };
        out.push(Stmt { line, kind });
        Ok(())
    }

    /// The statements that end like an expression.
    fn simple(&mut self, key: &str) -> Parsed<StmtKind> {
        if !matches!(key, "break" | "continue" | "return" | "yield" | "throw") {
            return Ok(StmtKind::Expr(self.comma()?));
        }
        self.advance()?;
        Ok(match key {
            "break" => StmtKind::Break,
            "continue" => StmtKind::Continue,
            "throw" => StmtKind::Throw(self.comma()?),
            _ => {
                let value = if self.at_end() { None } else { Some(self.comma()?) };
                if key == "return" {
                    return Ok(StmtKind::Return(value));
                }
                self.scopes.yields();
                StmtKind::Yield(value)
            }
        })
    }

    fn block(&mut self) -> Parsed<Vec<Stmt>> {
        self.expect("{")?;
        let mark = self.scopes.open();
        let mut out = Vec::new();
        while !self.is("}") {
            if self.spot.token == Token::End {
                return self.wrong("expected '}'");
            }
            self.statement_into(&mut out)?;
        }
        self.scopes.close(mark);
        self.advance()?;
        Ok(out)
    }

    fn local(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        let line = self.spot.place();
        self.advance()?;
        if self.take_key("function")? {
            let name = self.name()?;
            let function = self.function(Some(name), false, line)?;
            let var = self.scopes.declare(name);
            out.push(Stmt { line, kind: StmtKind::Local(var, Some(function)) });
            return self.end_after_body();
        }
        self.local_variables(out)?;
        self.end_of_statement()
    }

    fn local_variables(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        loop {
            let line = self.spot.place();
            let name = self.name()?;
            let init = if self.take("=")? { Some(self.expression()?) } else { None };
            let var = self.scopes.declare(name);
            out.push(Stmt { line, kind: StmtKind::Local(var, init) });
            if !self.take(",")? {
                return Ok(());
            }
        }
    }

    /// After a body in braces a semicolon may follow.
    fn end_after_body(&mut self) -> Parsed<()> {
        self.take(";")?;
        Ok(())
    }

    fn condition(&mut self) -> Parsed<Node> {
        self.expect("(")?;
        let condition = self.comma()?;
        self.expect(")")?;
        Ok(condition)
    }

    fn if_statement(&mut self) -> Parsed<StmtKind> {
        let mut arms = Vec::new();
        loop {
            self.advance()?;
            let condition = self.condition()?;
            arms.push((condition, self.body()?));
            if !self.take_key("else")? {
                return Ok(StmtKind::If(arms, None));
            }
            if !self.is_key("if") {
                return Ok(StmtKind::If(arms, Some(Box::new(self.body()?))));
            }
        }
    }

    fn while_statement(&mut self) -> Parsed<StmtKind> {
        self.advance()?;
        let condition = self.condition()?;
        Ok(StmtKind::While(condition, Box::new(self.body()?)))
    }

    fn do_statement(&mut self) -> Parsed<StmtKind> {
        self.advance()?;
        let body = self.body()?;
        self.expect_key("while")?;
        let condition = self.condition()?;
        self.end_after_body()?;
        Ok(StmtKind::DoWhile(Box::new(body), condition))
    }

    fn for_statement(&mut self) -> Parsed<StmtKind> {
        let mark = self.scopes.open();
        self.advance()?;
        self.expect("(")?;
        let mut first = Vec::new();
        let line = self.spot.place();
        if self.take_key("local")? {
            self.local_variables(&mut first)?;
        } else if !self.is(";") {
            first.push(Stmt { line, kind: StmtKind::Expr(self.comma()?) });
        }
        self.expect(";")?;
        let condition = if self.is(";") { None } else { Some(self.comma()?) };
        self.expect(";")?;
        let step = if self.is(")") { None } else { Some(self.comma()?) };
        self.expect(")")?;
        let body = Box::new(self.body()?);
        self.scopes.close(mark);
        Ok(StmtKind::For(first, condition, step, body))
    }

    fn foreach_statement(&mut self) -> Parsed<StmtKind> {
        self.advance()?;
        self.expect("(")?;
        let mut names = vec![self.name()?];
        if self.take(",")? {
            names.push(self.name()?);
        }
        self.expect_key("in")?;
        let container = self.expression()?;
        self.expect(")")?;
        let mark = self.scopes.open();
        let key = if names.len() == 2 { Some(self.scopes.declare(names[0])) } else { None };
        let value = self.scopes.declare(names[names.len() - 1]);
        let body = Box::new(self.body()?);
        self.scopes.close(mark);
        Ok(StmtKind::Foreach(key, value, container, body))
    }

    fn switch_statement(&mut self) -> Parsed<StmtKind> {
        self.advance()?;
        let value = self.condition()?;
        self.expect("{")?;
        let mut cases = Vec::new();
        while self.take_key("case")? {
            let case = self.expression()?;
            self.expect(":")?;
            cases.push((case, self.case_body()?));
        }
        let mut default = None;
        if self.take_key("default")? {
            self.expect(":")?;
            default = Some(self.case_body()?);
        }
        self.expect("}")?;
        Ok(StmtKind::Switch(value, cases, default))
    }

    fn case_body(&mut self) -> Parsed<Vec<Stmt>> {
        let mark = self.scopes.open();
        let mut out = Vec::new();
        while !self.is("}") && !self.is_key("case") && !self.is_key("default") {
            if self.spot.token == Token::End {
                return self.wrong("expected '}'");
            }
            self.statement_into(&mut out)?;
        }
        self.scopes.close(mark);
        Ok(out)
    }

    fn try_statement(&mut self) -> Parsed<StmtKind> {
        self.advance()?;
        let body = self.body()?;
        self.expect_key("catch")?;
        self.expect("(")?;
        let name = self.name()?;
        self.expect(")")?;
        let mark = self.scopes.open();
        let var = self.scopes.declare(name);
        let handler = self.body()?;
        self.scopes.close(mark);
        Ok(StmtKind::Try(Box::new(body), var, Box::new(handler)))
    }

    /// `function a::b() { }`: a new slot.
    fn function_statement(&mut self) -> Parsed<StmtKind> {
        let line = self.spot.place();
        self.advance()?;
        let node = |kind| Node { line, depth: 2, kind };
        let mut name = self.member_name()?;
        let mut target = node(Kind::Free(name));
        let mut first = true;
        while self.take("::")? {
            let object = if first { node(Kind::Member(Box::new(node(Kind::This)), name)) } else { target };
            first = false;
            name = self.member_name()?;
            target = self.node(line, object.depth, Kind::Member(Box::new(object), name))?;
        }
        let function = self.function(Some(name), false, line)?;
        self.end_after_body()?;
        let below = function.depth.max(target.depth);
        let kind = Kind::NewSlot(Box::new(target), Box::new(function));
        Ok(StmtKind::Expr(self.node(line, below, kind)?))
    }

    fn class_statement(&mut self) -> Parsed<StmtKind> {
        let line = self.spot.place();
        self.advance()?;
        if self.is("{") || self.is_key("extends") || self.is("</") {
            let class = self.class_body()?;
            self.end_after_body()?;
            return Ok(StmtKind::Expr(class));
        }
        let target = self.class_name()?;
        let class = self.class_body()?;
        self.end_after_body()?;
        let below = class.depth.max(target.depth);
        let kind = Kind::NewSlot(Box::new(target), Box::new(class));
        Ok(StmtKind::Expr(self.node(line, below, kind)?))
    }

    /// `a`, `a.b.c`, `::a` or `a[k]` after `class`.
    fn class_name(&mut self) -> Parsed<Node> {
        let target = self.expression()?;
        match target.kind {
            Kind::Member(..) | Kind::Index(..) | Kind::Free(_) => Ok(target),
            Kind::Local(_) | Kind::Outer(_) => {
                self.wrong("cannot create a class in a local with the syntax(class <local>)")
            }
            _ => self.wrong("invalid class name"),
        }
    }

    fn scalar(&mut self) -> Parsed<Scalar> {
        let minus = self.take("-")?;
        let scalar = match (self.spot.token.clone(), minus) {
            (Token::Int(i), false) => Scalar::Int(i),
            (Token::Int(i), true) => Scalar::Int(i.wrapping_neg()),
            (Token::Float(f), false) => Scalar::Float(f),
            (Token::Float(f), true) => Scalar::Float(-f),
            (Token::Str(bytes), false) => Scalar::Str(self.names.intern(&bytes)),
            _ => return self.wrong("scalar expected : integer,float or string"),
        };
        self.advance()?;
        Ok(scalar)
    }

    fn const_statement(&mut self) -> Parsed<StmtKind> {
        self.advance()?;
        let name = self.name()?;
        self.expect("=")?;
        let scalar = self.scalar()?;
        self.names.constants.insert(name, Declared::Scalar(scalar));
        self.end_of_statement()?;
        Ok(StmtKind::Empty)
    }

    fn enum_statement(&mut self) -> Parsed<StmtKind> {
        self.advance()?;
        let name = self.name()?;
        self.expect("{")?;
        let mut entries: HashMap<Name, Scalar> = HashMap::new();
        let mut next = 0_i32;
        while !self.take("}")? {
            let entry = self.name()?;
            let value = if self.take("=")? {
                self.scalar()?
            } else {
                next = next.wrapping_add(1);
                Scalar::Int(next.wrapping_sub(1))
            };
            entries.insert(entry, value);
            self.take(",")?;
        }
        self.names.constants.insert(name, Declared::Enum(entries));
        self.end_after_body()?;
        Ok(StmtKind::Empty)
    }
}
