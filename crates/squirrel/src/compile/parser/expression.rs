//! Expressions, with the precedence of 3.0.4.

use super::{Parsed, Parser};
use crate::compile::ast::{Binary, Kind, Name, Node, Unary};
use crate::compile::lexer::Token;
use crate::compile::scope::{Declared, Found, Scalar};

/// The binary operators below `&&`, tightest level first.
const LEVELS: [&[(&str, Binary)]; 8] = [
    &[("*", Binary::Mul), ("/", Binary::Div), ("%", Binary::Mod)],
    &[("+", Binary::Add), ("-", Binary::Sub)],
    &[("<<", Binary::Shl), (">>", Binary::Shr), (">>>", Binary::UShr)],
    &[("<", Binary::Lt), ("<=", Binary::Le), (">", Binary::Gt), (">=", Binary::Ge)],
    &[("==", Binary::Eq), ("!=", Binary::Ne), ("<=>", Binary::Compare)],
    &[("&", Binary::BitAnd)],
    &[("^", Binary::BitXor)],
    &[("|", Binary::BitOr)],
];

fn compound(sign: &str) -> Option<Binary> {
    Some(match sign {
        "+=" => Binary::Add,
        "-=" => Binary::Sub,
        "*=" => Binary::Mul,
        "/=" => Binary::Div,
        "%=" => Binary::Mod,
        _ => return None,
    })
}

impl Parser<'_> {
    /// Expressions separated by commas; the last is the value.
    pub(super) fn comma(&mut self) -> Parsed<Node> {
        let mut left = self.expression()?;
        while self.is(",") {
            let line = self.spot.place();
            self.advance()?;
            let right = self.expression()?;
            let below = left.depth.max(right.depth);
            left = self.node(line, below, Kind::Comma(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    pub(super) fn expression(&mut self) -> Parsed<Node> {
        self.nested(Self::assignment)
    }

    fn assignment(&mut self) -> Parsed<Node> {
        let target = self.or()?;
        let line = self.spot.place();
        let Token::Sign(sign) = self.spot.token else { return Ok(target) };
        if sign == "?" {
            return self.ternary(target);
        }
        if !matches!(sign, "=" | "<-") && compound(sign).is_none() {
            return Ok(target);
        }
        match target.kind {
            Kind::Member(..) | Kind::Index(..) | Kind::Free(_) => {}
            Kind::Local(_) | Kind::Outer(_) if sign != "<-" => {}
            Kind::Local(_) | Kind::Outer(_) => return self.wrong("can't 'create' a local slot"),
            _ => return self.wrong("can't assign expression"),
        }
        self.advance()?;
        let value = self.expression()?;
        let below = target.depth.max(value.depth);
        let (target, value) = (Box::new(target), Box::new(value));
        let kind = match (sign, compound(sign)) {
            (_, Some(op)) => Kind::Compound(op, target, value),
            ("<-", _) => Kind::NewSlot(target, value),
            _ => Kind::Assign(target, value),
        };
        self.node(line, below, kind)
    }

    fn ternary(&mut self, condition: Node) -> Parsed<Node> {
        let line = self.spot.place();
        self.advance()?;
        let yes = self.expression()?;
        self.expect(":")?;
        let no = self.expression()?;
        let below = condition.depth.max(yes.depth).max(no.depth);
        self.node(line, below, Kind::Ternary(Box::new(condition), Box::new(yes), Box::new(no)))
    }

    fn or(&mut self) -> Parsed<Node> {
        let mut left = self.and()?;
        while self.is("||") {
            let line = self.spot.place();
            self.advance()?;
            let right = self.nested(Self::or)?;
            let below = left.depth.max(right.depth);
            left = self.node(line, below, Kind::Or(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    /// `&&`, and on the same level, as 3.0.4 has it, `in` and `instanceof`.
    fn and(&mut self) -> Parsed<Node> {
        let mut left = self.binary(LEVELS.len())?;
        loop {
            let line = self.spot.place();
            let op = match self.spot.token {
                Token::Sign("&&") => None,
                Token::Key("in") => Some(Binary::In),
                Token::Key("instanceof") => Some(Binary::InstanceOf),
                _ => return Ok(left),
            };
            self.advance()?;
            let right = if op.is_none() { self.nested(Self::and)? } else { self.binary(LEVELS.len())? };
            let below = left.depth.max(right.depth);
            let (l, r) = (Box::new(left), Box::new(right));
            let kind = match op {
                Some(op) => Kind::Binary(op, l, r),
                None => Kind::And(l, r),
            };
            left = self.node(line, below, kind)?;
        }
    }

    /// Operators of the first `levels` levels.
    fn binary(&mut self, levels: usize) -> Parsed<Node> {
        let mut left = self.prefix()?;
        while let Some((level, op)) = self.operator(levels) {
            let line = self.spot.place();
            self.advance()?;
            let right = if level == 0 { self.prefix()? } else { self.nested(|p| p.binary(level))? };
            let below = left.depth.max(right.depth);
            left = self.node(line, below, Kind::Binary(op, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn operator(&self, levels: usize) -> Option<(usize, Binary)> {
        let Token::Sign(sign) = self.spot.token else { return None };
        let find = |(level, ops): (usize, &&[(&str, Binary)])| {
            ops.iter().find(|(s, _)| *s == sign).map(|&(_, op)| (level, op))
        };
        LEVELS[..levels].iter().enumerate().find_map(find)
    }

    /// A prefix operator, or an operand with what follows it.
    fn prefix(&mut self) -> Parsed<Node> {
        let line = self.spot.place();
        let op = match self.spot.token {
            Token::Sign("-") => Unary::Neg,
            Token::Sign("!") => Unary::Not,
            Token::Sign("~") => Unary::BitNot,
            Token::Key("typeof") => Unary::Typeof,
            Token::Key("resume") => Unary::Resume,
            Token::Key("clone") => Unary::Clone,
            Token::Key("delete") => Unary::Delete,
            Token::Sign(step @ ("++" | "--")) => return self.step_before(if step == "++" { 1 } else { -1 }),
            _ => return self.postfix(),
        };
        self.advance()?;
        let operand = self.nested(Self::prefix)?;
        let kind = match (op, operand.kind) {
            (Unary::Neg, Kind::Int(i)) => Kind::Int(i.wrapping_neg()),
            (Unary::Neg, Kind::Float(f)) => Kind::Float(-f),
            (Unary::BitNot, Kind::Int(i)) => Kind::Int(!i),
            (Unary::Delete, kind) if !matches!(kind, Kind::Member(..) | Kind::Index(..) | Kind::Free(_)) => {
                return self.wrong("can't delete an expression");
            }
            (op, kind) => Kind::Unary(op, Box::new(Node { kind, ..operand })),
        };
        self.node(line, operand.depth, kind)
    }

    fn step_before(&mut self, change: i32) -> Parsed<Node> {
        let line = self.spot.place();
        self.advance()?;
        let target = self.nested(Self::prefix)?;
        self.check_steppable(&target)?;
        self.node(line, target.depth, Kind::Step(change, false, Box::new(target)))
    }

    fn check_steppable(&self, target: &Node) -> Parsed<()> {
        match target.kind {
            Kind::Member(..) | Kind::Index(..) | Kind::Free(_) | Kind::Local(_) | Kind::Outer(_) => Ok(()),
            _ => self.wrong("can't '++' or '--' an expression"),
        }
    }

    fn postfix(&mut self) -> Parsed<Node> {
        let mut left = self.operand()?;
        loop {
            let line = self.spot.place();
            let below = left.depth;
            match self.spot.token {
                Token::Sign(".") => {
                    self.advance()?;
                    let name = self.member_name()?;
                    left = self.node(line, below, Kind::Member(Box::new(left), name))?;
                }
                Token::Sign("[") if self.spot.first => {
                    return self.wrong("cannot brake deref/or comma needed after [exp]=exp slot declaration");
                }
                Token::Sign("[") => {
                    self.advance()?;
                    let index = self.comma()?;
                    self.expect("]")?;
                    let below = below.max(index.depth);
                    left = self.node(line, below, Kind::Index(Box::new(left), Box::new(index)))?;
                }
                Token::Sign(step @ ("++" | "--")) if !self.spot.first => {
                    self.check_steppable(&left)?;
                    self.advance()?;
                    let change = if step == "++" { 1 } else { -1 };
                    return self.node(line, below, Kind::Step(change, true, Box::new(left)));
                }
                Token::Sign("(") => {
                    let (args, deepest) = self.arguments()?;
                    left = self.node(line, below.max(deepest), Kind::Call(Box::new(left), args))?;
                }
                _ => return Ok(left),
            }
        }
    }

    fn arguments(&mut self) -> Parsed<(Vec<Node>, u16)> {
        self.advance()?;
        let mut args = Vec::new();
        let mut deepest = 0;
        while !self.take(")")? {
            let arg = self.expression()?;
            deepest = deepest.max(arg.depth);
            args.push(arg);
            self.take(",")?;
        }
        Ok((args, deepest))
    }

    fn operand(&mut self) -> Parsed<Node> {
        let line = self.spot.place();
        match &self.spot.token {
            Token::Sign("[") => return self.array(),
            Token::Sign("{") => return self.table("{", "}"),
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.nested(Self::comma)?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("@") | Token::Key("function") => return self.function_expression(),
            Token::Key("class") => {
                self.advance()?;
                return self.class_body();
            }
            Token::Sign("::") => {
                self.advance()?;
                let root = self.leaf(Kind::Root);
                let name = self.member_name()?;
                return self.node(line, 1, Kind::Member(Box::new(root), name));
            }
            Token::Name(_) => return self.variable(),
            _ => {}
        }
        let kind = match self.spot.token.clone() {
            Token::Str(bytes) => Kind::Str(self.names.intern(&bytes)),
            Token::Int(i) => Kind::Int(i),
            Token::Float(f) => Kind::Float(f),
            Token::Key("null") => Kind::Null,
            Token::Key("true") => Kind::Bool(true),
            Token::Key("false") => Kind::Bool(false),
            Token::Key("this") => Kind::This,
            Token::Key("base") => Kind::Base,
            Token::Key("constructor") => Kind::Free(self.names.intern(b"constructor")),
            _ => return self.wrong("expression expected"),
        };
        let node = self.leaf(kind);
        self.advance()?;
        Ok(node)
    }

    fn variable(&mut self) -> Parsed<Node> {
        let line = self.spot.place();
        let leaf = |kind| Node { line, depth: 1, kind };
        let name = self.name()?;
        match self.scopes.find(name) {
            None => return self.wrong("too many free variables"),
            Some(Found::Local(var)) => return Ok(leaf(Kind::Local(var))),
            Some(Found::Outer(outer)) => return Ok(leaf(Kind::Outer(outer))),
            Some(Found::Nothing) => {}
        }
        let scalar = match self.names.constants.get(&name) {
            None => return Ok(leaf(Kind::Free(name))),
            Some(Declared::Scalar(scalar)) => *scalar,
            Some(Declared::Enum(entries)) => {
                let entries = entries.clone();
                self.expect(".")?;
                let entry = self.name()?;
                match entries.get(&entry) {
                    Some(scalar) => *scalar,
                    None => return self.wrong(format!("invalid constant [{}.{}]", self.show(name), self.show(entry))),
                }
            }
        };
        Ok(leaf(match scalar {
            Scalar::Int(i) => Kind::Int(i),
            Scalar::Float(f) => Kind::Float(f),
            Scalar::Str(s) => Kind::Str(s),
        }))
    }

    pub(super) fn show(&self, name: Name) -> String {
        self.names.strings.get(name as usize).map_or_else(String::new, |s| String::from_utf8_lossy(s).into_owned())
    }

    fn array(&mut self) -> Parsed<Node> {
        let line = self.spot.place();
        self.advance()?;
        let mut items = Vec::new();
        let mut deepest = 0;
        while !self.take("]")? {
            let item = self.expression()?;
            deepest = deepest.max(item.depth);
            items.push(item);
            self.take(",")?;
        }
        self.node(line, deepest, Kind::Array(items))
    }

    /// A table between these signs: `{ }`, or `</ />` for attributes.
    pub(super) fn table(&mut self, open: &str, close: &str) -> Parsed<Node> {
        let line = self.spot.place();
        self.expect(open)?;
        let mut slots = Vec::new();
        let mut deepest = 0;
        while !self.take(close)? {
            let (key, value) = self.nested(Self::slot)?;
            deepest = deepest.max(value.depth).max(key.depth);
            slots.push((key, value));
            self.take(",")?;
        }
        self.node(line, deepest, Kind::Table(slots))
    }

    fn slot(&mut self) -> Parsed<(Node, Node)> {
        let (key, separator) = match self.spot.token.clone() {
            Token::Key("function" | "constructor") => return self.method(),
            Token::Sign("[") => return self.computed_slot(),
            Token::Str(bytes) => {
                let name = self.names.intern(&bytes);
                let key = self.leaf(Kind::Str(name));
                self.advance()?;
                (key, ":")
            }
            _ => {
                let line = self.spot.place();
                let name = self.name()?;
                (Node { line, depth: 1, kind: Kind::Str(name) }, "=")
            }
        };
        self.expect(separator)?;
        Ok((key, self.expression()?))
    }

    /// `[key] = value`
    pub(super) fn computed_slot(&mut self) -> Parsed<(Node, Node)> {
        self.expect("[")?;
        let key = self.comma()?;
        self.expect("]")?;
        self.expect("=")?;
        Ok((key, self.expression()?))
    }
}
