//! Expressions into registers.

use super::{Generator, Made};
use crate::compile::ast::{Binary, ClassBody, Kind, Lambda, Node, Unary};
use crate::program::Constant;
use crate::program::op::{Inner, Op, Reg};

impl Generator<'_> {
    /// The register that holds the value: the variable's own, or a new one.
    pub(super) fn operand(&mut self, node: &Node) -> Made<Reg> {
        match node.kind {
            Kind::Local(var) if !self.variable(var).1 => Ok(self.variable(var).0),
            Kind::This => Ok(Reg(0)),
            _ => {
                let r = self.reg()?;
                self.compute(node, r)?;
                Ok(r)
            }
        }
    }

    /// The value into this register, which is written last when it is a variable's.
    pub(super) fn compute(&mut self, node: &Node, a: Reg) -> Made<()> {
        let mark = self.next;
        self.line = node.line;
        self.place_in(node, a)?;
        self.next = mark;
        Ok(())
    }

    fn place_in(&mut self, node: &Node, a: Reg) -> Made<()> {
        match &node.kind {
            Kind::Null => self.just(Op::Null(a)),
            Kind::Bool(b) => self.just(Op::Bool(a, *b)),
            Kind::Int(i) => self.just(Op::Int(a, *i)),
            Kind::Float(f) => self.load(a, Constant::Float(f.to_bits())),
            Kind::Str(s) => self.load(a, Constant::Str(*s)),
            Kind::This => self.just(Op::Move(a, Reg(0))),
            Kind::Base => self.just(Op::Base(a)),
            Kind::Root => self.just(Op::Root(a)),
            Kind::Local(var) => match self.variable(*var) {
                (r, true) => self.just(Op::GetBox(a, r)),
                (r, false) if r == a => Ok(()),
                (r, false) => self.just(Op::Move(a, r)),
            },
            Kind::Outer(o) => self.just(Op::GetOuter(a, Self::outer(*o))),
            Kind::Free(name) => {
                let k = self.name(*name)?;
                self.just(Op::GetSelf(a, k))
            }
            Kind::Member(object, name) => self.member(a, object, *name, node.line),
            Kind::Index(object, key) => {
                let b = self.operand(object)?;
                let c = self.operand(key)?;
                self.line = node.line;
                self.just(Op::Get(a, b, c))
            }
            Kind::Call(callee, args) => {
                let (f, n) = self.prepare(callee, args, node.line)?;
                self.just(Op::Call(a, f, n))
            }
            Kind::Unary(op, operand) => self.unary(a, *op, operand, node.line),
            Kind::Binary(op, l, r) => self.binary(a, *op, l, r, node.line),
            Kind::And(l, r) => self.logic(a, l, r, false),
            Kind::Or(l, r) => self.logic(a, l, r, true),
            Kind::Ternary(c, yes, no) => self.ternary(a, c, yes, no),
            Kind::Comma(l, r) => {
                self.effect(l)?;
                self.compute(r, a)
            }
            Kind::Assign(..) | Kind::NewSlot(..) | Kind::Compound(..) | Kind::Step(..) => {
                self.assignment(node, Some(a))
            }
            Kind::Array(items) => self.array(a, items),
            Kind::Table(slots) => self.table(a, slots),
            Kind::Function(lambda) => self.closure(a, lambda),
            Kind::Class(body) => self.class(a, body, node.line),
        }
    }

    /// The expression for what it does; its value is not wanted.
    pub(super) fn effect(&mut self, node: &Node) -> Made<()> {
        self.line = node.line;
        let mark = self.next;
        match node.kind {
            Kind::Assign(..) | Kind::NewSlot(..) | Kind::Compound(..) | Kind::Step(..) => {
                self.assignment(node, None)?
            }
            _ => {
                let r = self.reg()?;
                self.compute(node, r)?;
            }
        }
        self.next = mark;
        Ok(())
    }

    pub(super) fn just(&mut self, op: Op) -> Made<()> {
        self.emit(op);
        Ok(())
    }

    fn load(&mut self, a: Reg, c: Constant) -> Made<()> {
        let k = self.constant(c)?;
        self.just(Op::Load(a, k))
    }

    fn member(&mut self, a: Reg, object: &Node, name: u32, line: u32) -> Made<()> {
        let k = self.name(name)?;
        if matches!(object.kind, Kind::Root) {
            return self.just(Op::GetRoot(a, k));
        }
        let b = self.operand(object)?;
        self.line = line;
        self.just(Op::GetK(a, b, k))
    }

    /// Callee, `this` and arguments in a row of registers: the first, and how many from `this` on.
    pub(super) fn prepare(&mut self, callee: &Node, args: &[Node], line: u32) -> Made<(Reg, u8)> {
        let f = self.reg()?;
        let this = self.reg()?;
        match &callee.kind {
            Kind::Free(name) => {
                let k = self.name(*name)?;
                self.emit(Op::PrepSelf(f, k));
            }
            Kind::Member(object, name) => {
                let k = self.name(*name)?;
                match object.kind {
                    Kind::Root => {
                        self.emit(Op::PrepRoot(f, k));
                    }
                    Kind::Base => {
                        self.emit(Op::Base(f));
                        self.emit(Op::GetK(f, f, k));
                        self.emit(Op::Move(this, Reg(0)));
                    }
                    _ => {
                        let b = self.object(object, this)?;
                        self.line = callee.line;
                        self.emit(Op::PrepK(f, b, k));
                    }
                }
            }
            Kind::Index(object, key) => {
                let b = self.object(object, this)?;
                let c = self.operand(key)?;
                self.line = callee.line;
                self.emit(Op::Prep(f, b, c));
                self.next = u16::from(this.0) + 1;
            }
            _ => {
                self.compute(callee, f)?;
                self.emit(Op::Move(this, Reg(0)));
            }
        }
        for arg in args {
            let r = self.reg()?;
            self.compute(arg, r)?;
        }
        self.line = line;
        match u8::try_from(args.len() + 1) {
            Ok(n) => Ok((f, n)),
            Err(_) => self.wrong("too many arguments"),
        }
    }

    fn object(&mut self, object: &Node, this: Reg) -> Made<Reg> {
        match object.kind {
            Kind::Local(var) if !self.variable(var).1 => Ok(self.variable(var).0),
            Kind::This => Ok(Reg(0)),
            _ => {
                self.compute(object, this)?;
                Ok(this)
            }
        }
    }

    fn unary(&mut self, a: Reg, op: Unary, operand: &Node, line: u32) -> Made<()> {
        if op == Unary::Delete {
            return self.delete(a, operand);
        }
        let b = self.operand(operand)?;
        self.line = line;
        self.just(match op {
            Unary::Neg => Op::Neg(a, b),
            Unary::Not => Op::Not(a, b),
            Unary::BitNot => Op::BitNot(a, b),
            Unary::Typeof => Op::Typeof(a, b),
            Unary::Resume => Op::Resume(a, b),
            Unary::Clone | Unary::Delete => Op::Clone(a, b),
        })
    }

    fn delete(&mut self, a: Reg, target: &Node) -> Made<()> {
        let (b, c) = match &target.kind {
            Kind::Member(object, name) => {
                let b = self.operand(object)?;
                let c = self.reg()?;
                self.load(c, Constant::Str(*name))?;
                (b, c)
            }
            Kind::Index(object, key) => (self.operand(object)?, self.operand(key)?),
            Kind::Free(name) => {
                let c = self.reg()?;
                self.load(c, Constant::Str(*name))?;
                (Reg(0), c)
            }
            _ => return self.wrong("can't delete an expression"),
        };
        self.line = target.line;
        self.just(Op::Delete(a, b, c))
    }

    /// A chain of operators that lean left is walked without recursion.
    fn binary(&mut self, a: Reg, op: Binary, left: &Node, right: &Node, line: u32) -> Made<()> {
        let mut chain = vec![(op, right, line)];
        let mut first = left;
        while let Kind::Binary(op, l, r) = &first.kind {
            chain.push((*op, r, first.line));
            first = l;
        }
        let (last, rest) = (chain[0], &chain[1..]);
        let mut b = self.operand_or_constant(first, chain[chain.len() - 1].0)?;
        let mut temporary = None;
        for &(op, right, line) in rest.iter().rev() {
            let t = match temporary {
                Some(t) => t,
                None => self.reg()?,
            };
            let mark = self.next;
            self.operation(t, op, b, right, line)?;
            self.next = mark;
            temporary = Some(t);
            b = Left::Register(t);
        }
        self.operation(a, last.0, b, last.1, last.2)
    }

    /// The left operand: a constant where there is an instruction for it.
    fn operand_or_constant(&mut self, node: &Node, op: Binary) -> Made<Left> {
        if matches!(op, Binary::Add | Binary::Sub | Binary::Mul)
            && let Some(c) = numeric(node)
        {
            return Ok(Left::Constant(c));
        }
        Ok(Left::Register(self.operand(node)?))
    }

    fn operation(&mut self, a: Reg, op: Binary, left: Left, right: &Node, line: u32) -> Made<()> {
        let b = match left {
            Left::Register(b) => b,
            Left::Constant(c) => {
                let k = self.constant(c)?;
                let c = self.operand(right)?;
                self.line = line;
                return self.just(match op {
                    Binary::Sub => Op::KSub(a, k, c),
                    Binary::Mul => Op::KMul(a, k, c),
                    _ => Op::KAdd(a, k, c),
                });
            }
        };
        if let Some(op) = self.with_constant(a, op, b, right)? {
            self.line = line;
            return self.just(op);
        }
        let c = self.operand(right)?;
        self.line = line;
        self.just(plain(op, a, b, c))
    }

    /// The instruction for a constant on the right, where there is one.
    pub(super) fn with_constant(&mut self, a: Reg, op: Binary, b: Reg, right: &Node) -> Made<Option<Op>> {
        if let Kind::Int(i) = right.kind {
            match op {
                Binary::Add => return Ok(Some(Op::AddI(a, b, i))),
                Binary::Sub => return Ok(Some(Op::SubI(a, b, i))),
                Binary::BitAnd => return Ok(Some(Op::BitAndI(a, b, i))),
                _ => {}
            }
        }
        let constant = match right.kind {
            Kind::Str(s) if op == Binary::Add => Some(Constant::Str(s)),
            _ => numeric(right),
        };
        let Some(constant) = constant else { return Ok(None) };
        let make = match op {
            Binary::Add => Op::AddK,
            Binary::Sub => Op::SubK,
            Binary::Mul => Op::MulK,
            Binary::Div => Op::DivK,
            Binary::Mod => Op::ModK,
            _ => return Ok(None),
        };
        Ok(Some(make(a, b, self.constant(constant)?)))
    }

    fn logic(&mut self, a: Reg, l: &Node, r: &Node, decides: bool) -> Made<()> {
        let t = self.late(a)?;
        self.compute(l, t)?;
        let skip = self.emit(Op::JumpIf(t, decides, crate::program::op::Ahead(0)));
        self.compute(r, t)?;
        self.land(vec![skip]);
        self.settle(a, t)
    }

    fn ternary(&mut self, a: Reg, c: &Node, yes: &Node, no: &Node) -> Made<()> {
        let t = self.late(a)?;
        let to_no = self.jump_when(c, false)?;
        self.compute(yes, t)?;
        let end = self.jump();
        self.land(to_no);
        self.compute(no, t)?;
        self.land(vec![end]);
        self.settle(a, t)
    }

    /// A register that may be written before the expression is finished: not a variable's.
    fn late(&mut self, a: Reg) -> Made<Reg> {
        if self.is_variable(a) { self.reg() } else { Ok(a) }
    }

    fn settle(&mut self, a: Reg, t: Reg) -> Made<()> {
        if a == t { Ok(()) } else { self.just(Op::Move(a, t)) }
    }

    fn is_variable(&self, a: Reg) -> bool {
        self.assigning == Some(a)
    }

    fn array(&mut self, a: Reg, items: &[Node]) -> Made<()> {
        let t = self.late(a)?;
        self.emit(Op::Array(t, items.len().min(u16::MAX.into()) as u16));
        for item in items {
            let mark = self.next;
            let b = self.operand(item)?;
            self.emit(Op::Append(t, b));
            self.next = mark;
        }
        self.settle(a, t)
    }

    fn table(&mut self, a: Reg, slots: &[(Node, Node)]) -> Made<()> {
        let t = self.late(a)?;
        self.emit(Op::Table(t, slots.len().min(u16::MAX.into()) as u16));
        for (key, value) in slots {
            let mark = self.next;
            self.new_slot(t, key, value)?;
            self.next = mark;
        }
        self.settle(a, t)
    }

    fn new_slot(&mut self, t: Reg, key: &Node, value: &Node) -> Made<()> {
        if let Kind::Str(name) = key.kind {
            let k = self.name(name)?;
            let c = self.operand(value)?;
            return self.just(Op::NewSlotK(t, k, c));
        }
        let b = self.operand(key)?;
        let c = self.operand(value)?;
        self.just(Op::NewSlot(t, b, c))
    }

    fn closure(&mut self, a: Reg, lambda: &Lambda) -> Made<()> {
        let mut defaults = Vec::new();
        for default in &lambda.defaults {
            let r = self.reg()?;
            self.compute(default, r)?;
            defaults.push(r.0);
        }
        let line = self.line;
        let number = self.inner(lambda, defaults)?;
        self.line = line;
        self.just(Op::Closure(a, Inner(number)))
    }

    fn class(&mut self, a: Reg, body: &ClassBody, line: u32) -> Made<()> {
        let t = self.late(a)?;
        let base = match &body.base {
            Some(base) => Some(self.operand(base)?),
            None => None,
        };
        let c = self.optional(body.attributes.as_ref())?;
        self.line = line;
        self.emit(Op::Class(t, base.unwrap_or(t), base.is_some(), c));
        for m in &body.members {
            let mark = self.next;
            let key = self.operand(&m.key)?;
            let value = self.operand(&m.value)?;
            let attributes = self.optional(m.attributes.as_ref())?;
            self.line = m.key.line;
            self.emit(Op::Member(t, key, value, attributes, m.is_static));
            self.next = mark;
        }
        self.settle(a, t)
    }

    /// The expression, or null.
    fn optional(&mut self, node: Option<&Node>) -> Made<Reg> {
        match node {
            Some(node) => self.operand(node),
            None => {
                let r = self.reg()?;
                self.emit(Op::Null(r));
                Ok(r)
            }
        }
    }
}

/// A left operand.
#[derive(Clone, Copy)]
enum Left {
    Register(Reg),
    Constant(Constant),
}

pub(super) fn numeric(node: &Node) -> Option<Constant> {
    match node.kind {
        Kind::Int(i) => Some(Constant::Int(i)),
        Kind::Float(f) => Some(Constant::Float(f.to_bits())),
        _ => None,
    }
}

/// The instruction for two registers.
pub(super) fn plain(op: Binary, a: Reg, b: Reg, c: Reg) -> Op {
    match op {
        Binary::Add => Op::Add(a, b, c),
        Binary::Sub => Op::Sub(a, b, c),
        Binary::Mul => Op::Mul(a, b, c),
        Binary::Div => Op::Div(a, b, c),
        Binary::Mod => Op::Mod(a, b, c),
        Binary::BitAnd => Op::BitAnd(a, b, c),
        Binary::BitOr => Op::BitOr(a, b, c),
        Binary::BitXor => Op::BitXor(a, b, c),
        Binary::Shl => Op::Shl(a, b, c),
        Binary::Shr => Op::Shr(a, b, c),
        Binary::UShr => Op::UShr(a, b, c),
        Binary::Eq => Op::Eq(a, b, c),
        Binary::Ne => Op::Ne(a, b, c),
        Binary::Lt => Op::Lt(a, b, c),
        Binary::Le => Op::Le(a, b, c),
        Binary::Gt => Op::Gt(a, b, c),
        Binary::Ge => Op::Ge(a, b, c),
        Binary::Compare => Op::Compare(a, b, c),
        Binary::In => Op::In(a, b, c),
        Binary::InstanceOf => Op::InstanceOf(a, b, c),
    }
}
