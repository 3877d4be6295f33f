//! Functions and classes.

use super::{Parsed, Parser};
use crate::compile::ast::{ClassBody, ClassMember, Kind, Lambda, Name, Node, Stmt, StmtKind};
use crate::compile::lexer::Token;

/// The most parameters of a function.
const PARAMETERS_MAX: usize = 120;

impl Parser<'_> {
    /// `function(a) { }` or `@(a) expression`.
    pub(super) fn function_expression(&mut self) -> Parsed<Node> {
        let line = self.spot.place();
        let lambda = self.is("@");
        self.advance()?;
        self.function(None, lambda, line)
    }

    /// Parameters and body; `function` and the name are taken already.
    pub(super) fn function(&mut self, name: Option<Name>, lambda: bool, line: u32) -> Parsed<Node> {
        self.nested(|p| p.function_nested(name, lambda, line))
    }

    fn function_nested(&mut self, name: Option<Name>, lambda: bool, line: u32) -> Parsed<Node> {
        self.expect("(")?;
        let mut parameters = Vec::new();
        let mut defaults = Vec::new();
        let mut varargs = false;
        while !self.is(")") {
            if self.take("...")? {
                if !defaults.is_empty() {
                    return self.wrong("function with default parameters cannot have variable number of parameters");
                }
                varargs = true;
                break;
            }
            parameters.push(self.name()?);
            // A default is evaluated where the function is made, so it is read in the scope around.
            if self.take("=")? {
                defaults.push(self.expression()?);
            } else if !defaults.is_empty() {
                return self.wrong("expected '='");
            }
            if !self.take(",")? && !self.is(")") {
                return self.wrong("expected ')' or ','");
            }
        }
        if !self.is(")") {
            return self.wrong("expected ')'");
        }
        if parameters.len() > PARAMETERS_MAX {
            return self.wrong("too many parameters");
        }
        self.scopes.enter();
        for &parameter in &parameters {
            self.scopes.declare(parameter);
        }
        if varargs {
            let vargv = self.names.intern(b"vargv");
            self.scopes.declare(vargv);
        }
        // The bracket is taken inside the new scope, so that the first token of the body is read with it.
        self.advance()?;
        let body = self.function_body(lambda)?;
        let scope = self.scopes.leave();
        let lambda = Lambda {
            name,
            captured: scope.captured,
            parameters,
            defaults,
            varargs,
            generator: scope.generator,
            captures: scope.captures,
            body,
            last_line: self.last_row,
        };
        let deepest = lambda.defaults.iter().map(|d| d.depth).max().unwrap_or(0);
        self.node(line, deepest, Kind::Function(Box::new(lambda)))
    }

    fn function_body(&mut self, lambda: bool) -> Parsed<Vec<Stmt>> {
        let mut body = Vec::new();
        if lambda {
            let line = self.spot.place();
            let value = self.expression()?;
            body.push(Stmt { line, kind: StmtKind::Return(Some(value)) });
        } else {
            self.statement_into(&mut body)?;
        }
        Ok(body)
    }

    /// `function name(a) { }` or `constructor(a) { }` inside a table or class: its key and value.
    pub(super) fn method(&mut self) -> Parsed<(Node, Node)> {
        let line = self.spot.place();
        if !self.is_key("constructor") {
            self.advance()?;
        }
        let name = self.member_name()?;
        let key = Node { line, depth: 1, kind: Kind::Str(name) };
        Ok((key, self.function(Some(name), false, line)?))
    }

    /// What follows `class` and its name.
    pub(super) fn class_body(&mut self) -> Parsed<Node> {
        let line = self.spot.place();
        let base = if self.take_key("extends")? { Some(self.expression()?) } else { None };
        let attributes = if self.is("</") { Some(self.table("</", "/>")?) } else { None };
        self.expect("{")?;
        let mut members = Vec::new();
        while !self.take("}")? {
            members.push(self.nested(Self::class_member)?);
            self.take(";")?;
        }
        let deepest = members.iter().map(|m| m.value.depth.max(m.key.depth)).max().unwrap_or(0);
        let deepest = deepest.max(base.as_ref().map_or(0, |b| b.depth));
        self.node(line, deepest, Kind::Class(Box::new(ClassBody { base, attributes, members })))
    }

    fn class_member(&mut self) -> Parsed<ClassMember> {
        let attributes = if self.is("</") { Some(self.table("</", "/>")?) } else { None };
        let is_static = self.take_key("static")?;
        let (key, value) = match self.spot.token {
            Token::Key("function" | "constructor") => self.method()?,
            Token::Sign("[") => self.computed_slot()?,
            _ => {
                let line = self.spot.place();
                let name = self.name()?;
                self.expect("=")?;
                (Node { line, depth: 1, kind: Kind::Str(name) }, self.expression()?)
            }
        };
        Ok(ClassMember { key, value, attributes, is_static })
    }
}
