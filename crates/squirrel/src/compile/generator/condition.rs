//! Conditions as jumps, comparisons fused with them.

use super::expression::numeric;
use super::{Generator, Jumps, Made};
use crate::compile::ast::{Binary, Kind, Node, Unary};
use crate::program::Constant;
use crate::program::op::{Ahead, Behind, Konst, Near, Op, Reg};

/// The right operand of a loop's comparison.
enum Right {
    Register(Reg),
    Constant(Konst),
}

impl Generator<'_> {
    /// Jumps away when the truth of `node` is `when`, else goes on; the jumps taken.
    pub(super) fn jump_when(&mut self, node: &Node, when: bool) -> Made<Jumps> {
        match &node.kind {
            Kind::Unary(Unary::Not, inner) => self.jump_when(inner, !when),
            Kind::And(l, r) => self.jump_chain(l, r, when, false),
            Kind::Or(l, r) => self.jump_chain(l, r, when, true),
            Kind::Binary(op, l, r) if is_fused(*op) => {
                let mark = self.next;
                let b = self.operand(l)?;
                self.line = node.line;
                let at = match small(r) {
                    Some(i) if fused_small(*op, b, i, when).is_some() => {
                        let op = fused_small(*op, b, i, when).unwrap_or(Op::ReturnNull());
                        self.emit(op)
                    }
                    _ => {
                        let op = match self.near(r)? {
                            Some(k) => fused_near(*op, b, k, when),
                            None => {
                                let c = self.operand(r)?;
                                fused(*op, b, c, when)
                            }
                        };
                        self.line = node.line;
                        self.emit(op)
                    }
                };
                self.next = mark;
                Ok(vec![at])
            }
            _ => {
                let mark = self.next;
                let a = self.operand(node)?;
                self.next = mark;
                Ok(vec![self.emit(Op::JumpIf(a, when, Ahead(0)))])
            }
        }
    }

    /// The end of a loop: back to the body when the condition holds, which was tested once before it.
    ///
    /// One instruction where the condition compares a variable; else a jump to the test at `top`.
    pub(super) fn loop_while(&mut self, condition: Option<&Node>, top: u32, body: u32) -> Made<()> {
        let Some(condition) = condition else {
            self.loop_to(top);
            return Ok(());
        };
        self.line = condition.line;
        match self.compared(condition)? {
            Some(op) => {
                let t = Behind(body);
                self.emit(match op {
                    (Binary::Lt, b, Right::Register(c)) => Op::LoopLt(b, c, t),
                    (Binary::Le, b, Right::Register(c)) => Op::LoopLe(b, c, t),
                    (Binary::Gt, b, Right::Register(c)) => Op::LoopGt(b, c, t),
                    (_, b, Right::Register(c)) => Op::LoopGe(b, c, t),
                    (Binary::Lt, b, Right::Constant(k)) => Op::LoopLtK(b, k, t),
                    (Binary::Le, b, Right::Constant(k)) => Op::LoopLeK(b, k, t),
                    (Binary::Gt, b, Right::Constant(k)) => Op::LoopGtK(b, k, t),
                    (_, b, Right::Constant(k)) => Op::LoopGeK(b, k, t),
                });
            }
            None => self.loop_to(top),
        }
        Ok(())
    }

    /// A comparison whose operands lie in registers or constants already.
    fn compared(&mut self, condition: &Node) -> Made<Option<(Binary, Reg, Right)>> {
        let Kind::Binary(op @ (Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge), l, r) = &condition.kind else {
            return Ok(None);
        };
        let Some(b) = self.plain_variable(l) else { return Ok(None) };
        if let Some(c) = self.plain_variable(r) {
            return Ok(Some((*op, b, Right::Register(c))));
        }
        match numeric(r) {
            Some(c) => Ok(Some((*op, b, Right::Constant(self.constant(c)?)))),
            None => Ok(None),
        }
    }

    fn plain_variable(&self, node: &Node) -> Option<Reg> {
        match node.kind {
            Kind::Local(var) => Some(self.variable(var)).filter(|v| !v.1).map(|v| v.0),
            _ => None,
        }
    }

    /// A number or string as one of the first constants.
    fn near(&mut self, node: &Node) -> Made<Option<Near>> {
        let constant = match node.kind {
            Kind::Str(s) => Some(Constant::Str(s)),
            _ => numeric(node),
        };
        match constant {
            Some(c) => Ok(u8::try_from(self.constant(c)?.0).ok().map(Near)),
            None => Ok(None),
        }
    }

    /// `l && r` (decided by false) or `l || r` (decided by true).
    fn jump_chain(&mut self, l: &Node, r: &Node, when: bool, decides: bool) -> Made<Jumps> {
        if when == decides {
            let mut jumps = self.jump_when(l, when)?;
            jumps.extend(self.jump_when(r, when)?);
            return Ok(jumps);
        }
        let skip = self.jump_when(l, decides)?;
        let jumps = self.jump_when(r, when)?;
        self.land(skip);
        Ok(jumps)
    }
}

pub(super) fn is_fused(op: Binary) -> bool {
    matches!(op, Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge)
}

fn small(node: &Node) -> Option<i8> {
    match node.kind {
        Kind::Int(i) => i8::try_from(i).ok(),
        _ => None,
    }
}

fn fused_small(op: Binary, b: Reg, i: i8, when: bool) -> Option<Op> {
    let t = Ahead(0);
    Some(match op {
        Binary::Eq => Op::JumpEqI(b, i, when, t),
        Binary::Ne => Op::JumpEqI(b, i, !when, t),
        Binary::Lt => Op::JumpLtI(b, i, when, t),
        Binary::Le => Op::JumpLeI(b, i, when, t),
        Binary::Gt => Op::JumpGtI(b, i, when, t),
        Binary::Ge => Op::JumpGeI(b, i, when, t),
        _ => return None,
    })
}

pub(super) fn fused(op: Binary, b: Reg, c: Reg, when: bool) -> Op {
    let t = Ahead(0);
    match op {
        Binary::Ne => Op::JumpEq(b, c, !when, t),
        Binary::Lt => Op::JumpLt(b, c, when, t),
        Binary::Le => Op::JumpLe(b, c, when, t),
        Binary::Gt => Op::JumpGt(b, c, when, t),
        Binary::Ge => Op::JumpGe(b, c, when, t),
        _ => Op::JumpEq(b, c, when, t),
    }
}

fn fused_near(op: Binary, b: Reg, k: Near, when: bool) -> Op {
    let t = Ahead(0);
    match op {
        Binary::Ne => Op::JumpEqK(b, k, !when, t),
        Binary::Lt => Op::JumpLtK(b, k, when, t),
        Binary::Le => Op::JumpLeK(b, k, when, t),
        Binary::Gt => Op::JumpGtK(b, k, when, t),
        Binary::Ge => Op::JumpGeK(b, k, when, t),
        _ => Op::JumpEqK(b, k, when, t),
    }
}
