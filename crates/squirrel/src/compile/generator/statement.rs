//! Statements.

use super::condition::fused;
use super::{Breakable, Generator, Jumps, Made};
use crate::compile::ast::{Binary, Kind, Node, Stmt, StmtKind};
use crate::program::op::{Ahead, Op, Reg};

impl Generator<'_> {
    pub(super) fn statements(&mut self, statements: &[Stmt]) -> Made<()> {
        statements.iter().try_for_each(|s| self.statement(s))
    }

    fn scoped(&mut self, statement: &Stmt) -> Made<()> {
        let mark = self.next;
        self.statement(statement)?;
        self.next = mark;
        Ok(())
    }

    fn scoped_all(&mut self, statements: &[Stmt]) -> Made<()> {
        let mark = self.next;
        self.statements(statements)?;
        self.next = mark;
        Ok(())
    }

    fn statement(&mut self, statement: &Stmt) -> Made<()> {
        self.line = statement.line;
        match &statement.kind {
            StmtKind::Empty => Ok(()),
            StmtKind::Expr(node) => self.effect(node),
            StmtKind::Local(var, init) => self.local(*var, init.as_ref()),
            StmtKind::Block(body) => self.scoped_all(body),
            StmtKind::If(arms, last) => self.conditional(arms, last.as_deref()),
            StmtKind::While(condition, body) => self.while_loop(condition, body),
            StmtKind::DoWhile(body, condition) => self.do_while(body, condition),
            StmtKind::For(first, condition, step, body) => {
                self.for_loop(first, condition.as_ref(), step.as_ref(), body)
            }
            StmtKind::Foreach(key, value, container, body) => self.foreach(*key, *value, container, body),
            StmtKind::Switch(value, cases, default) => self.switch(value, cases, default.as_deref()),
            StmtKind::Break => self.leave(true),
            StmtKind::Continue => self.leave(false),
            StmtKind::Return(value) => self.give_back(value.as_ref()),
            StmtKind::Yield(value) => {
                let mark = self.next;
                let r = self.value_or_null(value.as_ref())?;
                self.emit(Op::Yield(r));
                self.next = mark;
                Ok(())
            }
            StmtKind::Throw(value) => {
                let mark = self.next;
                let r = self.operand(value)?;
                self.line = statement.line;
                self.emit(Op::Throw(r));
                self.next = mark;
                Ok(())
            }
            StmtKind::Try(body, var, handler) => self.try_catch(body, *var, handler),
        }
    }

    fn local(&mut self, var: usize, init: Option<&Node>) -> Made<()> {
        // The register exists before the value is there, the variable's name only after.
        let r = self.declare(var)?;
        match init {
            Some(node) => self.compute(node, r)?,
            None => {
                self.emit(Op::Null(r));
            }
        }
        if self.lambda.captured[var] {
            self.emit(Op::Box(r));
        }
        Ok(())
    }

    fn conditional(&mut self, arms: &[(Node, Stmt)], last: Option<&Stmt>) -> Made<()> {
        let mut ends = Jumps::new();
        for (i, (condition, body)) in arms.iter().enumerate() {
            let next = self.jump_when(condition, false)?;
            self.scoped(body)?;
            if (i + 1 < arms.len() || last.is_some()) && !Self::ends_code(&body.kind) {
                ends.push(self.jump());
            }
            self.land(next);
        }
        if let Some(last) = last {
            self.scoped(last)?;
        }
        self.land(ends);
        Ok(())
    }

    fn open(&mut self, is_loop: bool) {
        self.breakables.push(Breakable { is_loop, traps: self.traps, ..Breakable::default() });
    }

    /// Lands the `continue`s here.
    fn land_continues(&mut self) {
        let jumps = self.breakables.last_mut().map(|b| std::mem::take(&mut b.continues));
        self.land(jumps.unwrap_or_default());
    }

    /// Lands the `break`s here and ends the loop or switch.
    fn close(&mut self) {
        let jumps = self.breakables.pop().map(|b| b.breaks);
        self.land(jumps.unwrap_or_default());
    }

    fn while_loop(&mut self, condition: &Node, body: &Stmt) -> Made<()> {
        let top = self.here();
        self.open(true);
        let exit = self.jump_when(condition, false)?;
        let start = self.here();
        self.scoped(body)?;
        self.land_continues();
        self.loop_while(Some(condition), top, start)?;
        self.land(exit);
        self.close();
        Ok(())
    }

    fn do_while(&mut self, body: &Stmt, condition: &Node) -> Made<()> {
        let top = self.here();
        self.open(true);
        self.scoped(body)?;
        self.land_continues();
        let exit = self.jump_when(condition, false)?;
        self.loop_to(top);
        self.land(exit);
        self.close();
        Ok(())
    }

    fn for_loop(&mut self, first: &[Stmt], condition: Option<&Node>, step: Option<&Node>, body: &Stmt) -> Made<()> {
        let mark = self.next;
        self.statements(first)?;
        let top = self.here();
        self.open(true);
        let exit = match condition {
            Some(condition) => self.jump_when(condition, false)?,
            None => Jumps::new(),
        };
        let start = self.here();
        self.scoped(body)?;
        self.land_continues();
        if let Some(step) = step {
            self.effect(step)?;
        }
        self.loop_while(condition, top, start)?;
        self.land(exit);
        self.close();
        self.next = mark;
        Ok(())
    }

    fn foreach(&mut self, key: Option<usize>, value: usize, container: &Node, body: &Stmt) -> Made<()> {
        let mark = self.next;
        let s = self.reg()?;
        let state = self.reg()?;
        let (k, v) = (self.reg()?, self.reg()?);
        self.compute(container, s)?;
        self.emit(Op::Null(state));
        self.emit(Op::Null(k));
        self.emit(Op::Null(v));
        let mut boxes = Vec::new();
        for (var, register) in [(key, k), (Some(value), v)] {
            let Some(var) = var else { continue };
            self.vars[var] = register.0;
            if self.lambda.captured[var] {
                let r = self.declare(var)?;
                self.emit(Op::Null(r));
                self.emit(Op::Box(r));
                boxes.push((r, register));
            }
        }
        let top = self.here();
        self.open(true);
        self.line = container.line;
        let exit = self.emit(Op::Foreach(s, Ahead(0)));
        for (r, register) in boxes {
            self.emit(Op::SetBox(r, register));
        }
        self.scoped(body)?;
        self.land_continues();
        self.line = container.line;
        self.loop_to(top);
        self.land(vec![exit]);
        self.close();
        self.next = mark;
        Ok(())
    }

    fn switch(&mut self, value: &Node, cases: &[(Node, Vec<Stmt>)], default: Option<&[Stmt]>) -> Made<()> {
        let mark = self.next;
        let v = self.reg()?;
        self.compute(value, v)?;
        self.open(false);
        let mut into_body = Jumps::new();
        for (i, (case, body)) in cases.iter().enumerate() {
            let inner = self.next;
            let c = self.operand(case)?;
            let next = self.emit(fused(Binary::Eq, v, c, false));
            self.next = inner;
            self.land(std::mem::take(&mut into_body));
            self.scoped_all(body)?;
            if (i + 1 < cases.len() || default.is_some()) && !body.last().is_some_and(|s| Self::ends_code(&s.kind)) {
                into_body.push(self.jump());
            }
            self.land(vec![next]);
        }
        self.land(into_body);
        if let Some(default) = default {
            self.scoped_all(default)?;
        }
        self.close();
        self.next = mark;
        Ok(())
    }

    fn leave(&mut self, breaks: bool) -> Made<()> {
        let Some(at) = self.breakables.iter().rposition(|b| breaks || b.is_loop) else {
            return self.wrong(if breaks {
                "'break' has to be in a loop block"
            } else {
                "'continue' has to be in a loop block"
            });
        };
        let open = self.traps - self.breakables[at].traps;
        if open > 0 {
            self.emit(Op::Untrap(open));
        }
        let jump = self.jump();
        let b = &mut self.breakables[at];
        if breaks {
            b.breaks.push(jump)
        } else {
            b.continues.push(jump)
        }
        Ok(())
    }

    fn value_or_null(&mut self, value: Option<&Node>) -> Made<Reg> {
        match value {
            Some(node) => self.operand(node),
            None => {
                let r = self.reg()?;
                self.emit(Op::Null(r));
                Ok(r)
            }
        }
    }

    fn give_back(&mut self, value: Option<&Node>) -> Made<()> {
        let mark = self.next;
        match value {
            None => {
                self.emit(Op::ReturnNull());
            }
            Some(Node { kind: Kind::Call(callee, args), line, .. }) if self.traps == 0 && !self.lambda.generator => {
                let (f, n) = self.prepare(callee, args, *line)?;
                self.emit(Op::TailCall(f, n));
                // A native's result is in the first register of the call.
                self.emit(Op::Return(f));
            }
            Some(node) => self.return_value(node)?,
        }
        self.next = mark;
        Ok(())
    }

    /// Each branch of a conditional expression returns for itself.
    fn return_value(&mut self, node: &Node) -> Made<()> {
        let mark = self.next;
        if let Kind::Ternary(condition, yes, no) = &node.kind {
            let to_no = self.jump_when(condition, false)?;
            self.return_value(yes)?;
            self.land(to_no);
            self.return_value(no)?;
        } else {
            let r = self.operand(node)?;
            self.emit(Op::Return(r));
        }
        self.next = mark;
        Ok(())
    }

    fn try_catch(&mut self, body: &Stmt, var: usize, handler: &Stmt) -> Made<()> {
        let mark = self.next;
        let caught = self.declare(var)?;
        let trap = self.emit(Op::Trap(caught, Ahead(0)));
        if self.traps == u8::MAX {
            return self.wrong("nested too deep");
        }
        self.traps += 1;
        self.scoped(body)?;
        self.traps -= 1;
        self.emit(Op::Untrap(1));
        let end = self.jump();
        self.land(vec![trap]);
        if self.lambda.captured[var] {
            self.emit(Op::Box(caught));
        }
        self.scoped(handler)?;
        self.land(vec![end]);
        self.next = mark;
        Ok(())
    }
}
