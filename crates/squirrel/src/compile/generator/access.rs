//! Assignments: plain, new slots, compound, `++` and `--`.

use super::expression::plain;
use super::{Generator, Made};
use crate::compile::ast::{Binary, Kind, Node};
use crate::program::op::{Konst, Op, Outer, Reg};

/// Where an assignment goes, its parts in registers.
#[derive(Clone, Copy)]
enum Place {
    Register(Reg),
    Boxed(Reg),
    Outer(Outer),
    This(Konst),
    Member(Reg, Konst),
    Index(Reg, Reg),
}

impl Generator<'_> {
    /// An assignment; its value into `want`.
    pub(super) fn assignment(&mut self, node: &Node, want: Option<Reg>) -> Made<()> {
        match &node.kind {
            Kind::Assign(target, value) => self.assign(target, value, want),
            Kind::NewSlot(target, value) => self.create(target, value, want, node.line),
            Kind::Compound(op, target, value) => self.compound(*op, target, value, want, node.line),
            Kind::Step(change, after, target) => self.step(*change, *after, target, want, node.line),
            _ => self.wrong("can't assign expression"),
        }
    }

    fn place(&mut self, target: &Node) -> Made<Place> {
        Ok(match &target.kind {
            Kind::Local(var) => match self.variable(*var) {
                (r, true) => Place::Boxed(r),
                (r, false) => Place::Register(r),
            },
            Kind::Outer(o) => Place::Outer(Self::outer(*o)),
            Kind::Free(name) => Place::This(self.name(*name)?),
            Kind::Member(object, name) => {
                let b = self.operand(object)?;
                Place::Member(b, self.name(*name)?)
            }
            Kind::Index(object, key) => Place::Index(self.operand(object)?, self.operand(key)?),
            _ => return self.wrong("can't assign expression"),
        })
    }

    fn read(&mut self, place: Place, a: Reg) {
        self.emit(match place {
            Place::Register(r) => Op::Move(a, r),
            Place::Boxed(r) => Op::GetBox(a, r),
            Place::Outer(o) => Op::GetOuter(a, o),
            Place::This(k) => Op::GetSelf(a, k),
            Place::Member(b, k) => Op::GetK(a, b, k),
            Place::Index(b, c) => Op::Get(a, b, c),
        });
    }

    fn write(&mut self, place: Place, value: Reg) {
        self.emit(match place {
            Place::Register(r) if r == value => return,
            Place::Register(r) => Op::Move(r, value),
            Place::Boxed(r) => Op::SetBox(r, value),
            Place::Outer(o) => Op::SetOuter(o, value),
            Place::This(k) => Op::SetSelf(k, value),
            Place::Member(b, k) => Op::SetK(b, k, value),
            Place::Index(b, c) => Op::Set(b, c, value),
        });
    }

    fn give(&mut self, want: Option<Reg>, value: Reg) {
        if let Some(a) = want
            && a != value
        {
            self.emit(Op::Move(a, value));
        }
    }

    fn assign(&mut self, target: &Node, value: &Node, want: Option<Reg>) -> Made<()> {
        let place = self.place(target)?;
        if let Place::Register(r) = place {
            let around = self.assigning.replace(r);
            self.compute(value, r)?;
            self.assigning = around;
            self.give(want, r);
            return Ok(());
        }
        let c = self.operand(value)?;
        self.line = target.line;
        self.write(place, c);
        self.give(want, c);
        Ok(())
    }

    fn create(&mut self, target: &Node, value: &Node, want: Option<Reg>, line: u32) -> Made<()> {
        let place = self.place(target)?;
        let c = self.operand(value)?;
        self.line = line;
        match place {
            Place::This(k) => self.emit(Op::NewSlotK(Reg(0), k, c)),
            Place::Member(b, k) => self.emit(Op::NewSlotK(b, k, c)),
            Place::Index(b, key) => self.emit(Op::NewSlot(b, key, c)),
            Place::Register(_) | Place::Boxed(_) | Place::Outer(_) => return self.wrong("can't 'create' a local slot"),
        };
        self.give(want, c);
        Ok(())
    }

    fn compound(&mut self, op: Binary, target: &Node, value: &Node, want: Option<Reg>, line: u32) -> Made<()> {
        let place = self.place(target)?;
        let (b, a) = match place {
            Place::Register(r) => (r, r),
            _ => {
                let t = self.reg()?;
                self.read(place, t);
                (t, t)
            }
        };
        match self.with_constant(a, op, b, value)? {
            Some(op) => {
                self.line = line;
                self.emit(op);
            }
            None => {
                let c = self.operand(value)?;
                self.line = line;
                self.emit(plain(op, a, b, c));
            }
        }
        self.write(place, a);
        self.give(want, a);
        Ok(())
    }

    fn step(&mut self, change: i32, after: bool, target: &Node, want: Option<Reg>, line: u32) -> Made<()> {
        let place = self.place(target)?;
        let old = match place {
            Place::Register(r) => r,
            _ => {
                let t = self.reg()?;
                self.read(place, t);
                t
            }
        };
        self.line = line;
        // The old value is kept apart when the result register is the variable itself.
        let kept = match want {
            Some(a) if after && (a == old || self.assigning == Some(a)) => Some(self.reg()?),
            Some(a) if after => Some(a),
            _ => None,
        };
        if let Some(kept) = kept {
            self.emit(Op::Move(kept, old));
        }
        self.emit(if change > 0 { Op::AddI(old, old, 1) } else { Op::SubI(old, old, 1) });
        self.write(place, old);
        match kept {
            Some(kept) => self.give(want, kept),
            None => self.give(want, old),
        }
        Ok(())
    }
}
