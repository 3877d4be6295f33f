//! The dispatch: code, place and registers in locals; what is rare is in other files.

use std::sync::Arc;

use super::arith::{Arith, numbers, simple};
use super::call::way;
use super::frame::{Kind, Ordering, Then, Trap};
use super::{Flow, Vm};
use crate::program::op::{Op, Reg, Window};
use crate::throw::{Fatal, Throw};
use crate::value::Value;
use crate::value::Value::{Bool, Float, Int, Null};

impl Vm {
    /// Runs until the event ends, a host function is called, the slice is used up, or something is thrown.
    #[expect(clippy::too_many_lines, reason = "one match over all instructions keeps the registers in locals")]
    pub(super) fn dispatch(&mut self) -> Result<Flow, Throw> {
        let linked = Arc::clone(&self.linked);
        'frame: loop {
            let Some(top) = self.frames.len().checked_sub(1) else { return Ok(Flow::Exit(Null)) };
            let frame = &self.frames[top];
            if let Kind::Task = frame.kind {
                match self.run_tasks(None)? {
                    Flow::Frame => continue 'frame,
                    flow => return Ok(flow),
                }
            }
            let (base, mut pc, this_closure) = (frame.base as usize, frame.pc as usize, frame.closure);
            let linkage = &linked.functions[frame.function as usize];
            let code = &linkage.code[..];
            let constants = &linkage.constants[..];

            macro_rules! window {
                () => {
                    match self.stack[base..].first_chunk_mut::<256>() {
                        Some(w) => Window(w),
                        None => return Err(Fatal::Depth.into()),
                    }
                };
            }
            let mut r = window!();

            // After whatever may have taken long: a slice that is used up ends here, not at the next jump back or call.
            macro_rules! rest {
                () => {
                    if self.is_spent() {
                        self.frames[top].pc = pc as u32;
                        return Ok(Flow::Slice);
                    }
                };
            }
            // An operation that may call a script: its value goes to a register, or its frame runs.
            macro_rules! slow {
                ($a:expr, $flow:expr) => {{
                    self.frames[top].pc = pc as u32;
                    match $flow? {
                        Flow::Value(v) => {
                            r = window!();
                            r[$a] = v;
                            rest!();
                            r = window!();
                        }
                        Flow::Frame => continue 'frame,
                        flow => return Ok(flow),
                    }
                }};
            }
            macro_rules! slow_effect {
                ($flow:expr) => {{
                    self.frames[top].pc = pc as u32;
                    match $flow? {
                        Flow::Value(_) => {
                            rest!();
                            r = window!();
                        }
                        Flow::Frame => continue 'frame,
                        flow => return Ok(flow),
                    }
                }};
            }
            macro_rules! throw {
                ($throw:expr) => {{
                    let throw = $throw;
                    self.frames[top].pc = pc as u32;
                    return Err(throw);
                }};
            }
            macro_rules! arith {
                ($op:expr, $a:expr, $x:expr, $y:expr) => {{
                    match simple($op, &$x, &$y) {
                        Some(v) => r[$a] = v,
                        None => {
                            let (x, y) = ($x, $y);
                            slow!($a, self.arith($op, x, y, Then::Store($a.0)));
                        }
                    }
                }};
            }
            macro_rules! bits {
                ($a:expr, $x:expr, $y:expr, $f:expr) => {{
                    match (&$x, &$y) {
                        (&Int(x), &Int(y)) => {
                            let f: fn(i32, i32) -> i32 = $f;
                            r[$a] = Int(f(x, y));
                        }
                        (&x, &y) => throw!(Vm::bits_wrong(x, y)),
                    }
                }};
            }
            macro_rules! order {
                ($order:expr, $a:expr, $b:expr, $c:expr) => {{
                    match numbers($order, &r[$b], &r[$c]) {
                        Some(v) => r[$a] = Bool(v),
                        None => {
                            let (x, y) = (r[$b], r[$c]);
                            slow!($a, self.ordered($order, x, y, Then::Truth($a.0, $order)));
                        }
                    }
                }};
            }
            macro_rules! branch {
                ($order:expr, $x:expr, $y:expr, $when:expr, $t:expr) => {{
                    match numbers($order, &$x, &$y) {
                        Some(holds) => {
                            if holds == $when {
                                pc = $t.0 as usize;
                            }
                        }
                        None => {
                            let (x, y) = ($x, $y);
                            self.frames[top].pc = pc as u32;
                            match self.ordered($order, x, y, Then::Branch($order, $when, $t.0))? {
                                Flow::Value(v) => {
                                    if (v == Bool(true)) == $when {
                                        pc = $t.0 as usize;
                                    }
                                    rest!();
                                    r = window!();
                                }
                                Flow::Frame => continue 'frame,
                                flow => return Ok(flow),
                            }
                        }
                    }
                }};
            }
            // The charged way back to the start of a loop's body.
            macro_rules! back {
                ($t:expr) => {{
                    self.fuel.slice -= 1 + way(pc as u32 - $t.0);
                    pc = $t.0 as usize;
                    if self.fuel.slice <= 0 {
                        self.frames[top].pc = pc as u32;
                        return Ok(Flow::Slice);
                    }
                    if self.heap.wants_attention() {
                        self.frames[top].pc = pc as u32;
                        self.attend(self.top(), Null);
                        r = window!();
                    }
                }};
            }
            macro_rules! loop_while {
                ($order:expr, $x:expr, $y:expr, $t:expr) => {{
                    match numbers($order, &$x, &$y) {
                        Some(true) => back!($t),
                        Some(false) => {}
                        None => {
                            let (x, y) = ($x, $y);
                            self.frames[top].pc = pc as u32;
                            match self.ordered($order, x, y, Then::Branch($order, true, $t.0))? {
                                Flow::Value(v) => {
                                    if v == Bool(true) {
                                        r = window!();
                                        back!($t);
                                    } else {
                                        rest!();
                                        r = window!();
                                    }
                                }
                                Flow::Frame => continue 'frame,
                                flow => return Ok(flow),
                            }
                        }
                    }
                }};
            }
            // Whether two values are equal, and what is done with that.
            macro_rules! equal {
                ($x:expr, $y:expr, |$same:ident| $then:expr) => {{
                    match (&$x, &$y) {
                        (Int(x), Int(y)) => {
                            let $same = x == y;
                            $then;
                        }
                        (&x, &y) => {
                            let $same = self.heap.equal(x, y);
                            $then;
                            rest!();
                            r = window!();
                        }
                    }
                }};
            }

            loop {
                let op = code[pc];
                pc += 1;
                match op {
                    Op::Null(a) => r[a] = Null,
                    Op::Bool(a, b) => r[a] = Bool(b),
                    Op::Int(a, i) => r[a] = Int(i),
                    Op::Load(a, k) => r[a] = constants[k.0 as usize],
                    Op::Move(a, b) => r[a] = r[b],
                    Op::Root(a) => r[a] = self.heap.root(),
                    Op::Base(a) => r[a] = self.heap.base_class(this_closure),
                    Op::Add(a, b, c) => arith!(Arith::Add, a, r[b], r[c]),
                    Op::Sub(a, b, c) => arith!(Arith::Sub, a, r[b], r[c]),
                    Op::Mul(a, b, c) => arith!(Arith::Mul, a, r[b], r[c]),
                    Op::Div(a, b, c) => arith!(Arith::Div, a, r[b], r[c]),
                    Op::Mod(a, b, c) => arith!(Arith::Mod, a, r[b], r[c]),
                    Op::AddI(a, b, i) => arith!(Arith::Add, a, r[b], Int(i)),
                    Op::SubI(a, b, i) => arith!(Arith::Sub, a, r[b], Int(i)),
                    Op::AddK(a, b, k) => arith!(Arith::Add, a, r[b], constants[k.0 as usize]),
                    Op::SubK(a, b, k) => arith!(Arith::Sub, a, r[b], constants[k.0 as usize]),
                    Op::MulK(a, b, k) => arith!(Arith::Mul, a, r[b], constants[k.0 as usize]),
                    Op::DivK(a, b, k) => arith!(Arith::Div, a, r[b], constants[k.0 as usize]),
                    Op::ModK(a, b, k) => arith!(Arith::Mod, a, r[b], constants[k.0 as usize]),
                    Op::KAdd(a, k, c) => arith!(Arith::Add, a, constants[k.0 as usize], r[c]),
                    Op::KSub(a, k, c) => arith!(Arith::Sub, a, constants[k.0 as usize], r[c]),
                    Op::KMul(a, k, c) => arith!(Arith::Mul, a, constants[k.0 as usize], r[c]),
                    Op::BitAnd(a, b, c) => bits!(a, r[b], r[c], |x, y| x & y),
                    Op::BitAndI(a, b, i) => bits!(a, r[b], Int(i), |x, y| x & y),
                    Op::BitOr(a, b, c) => bits!(a, r[b], r[c], |x, y| x | y),
                    Op::BitXor(a, b, c) => bits!(a, r[b], r[c], |x, y| x ^ y),
                    Op::Shl(a, b, c) => bits!(a, r[b], r[c], |x, y| x.wrapping_shl(y as u32)),
                    Op::Shr(a, b, c) => bits!(a, r[b], r[c], |x, y| x.wrapping_shr(y as u32)),
                    Op::UShr(a, b, c) => bits!(a, r[b], r[c], |x, y| (x as u32).wrapping_shr(y as u32) as i32),
                    Op::Neg(a, b) => match r[b] {
                        Int(i) => r[a] = Int(i.wrapping_neg()),
                        Float(f) => r[a] = Float(-f),
                        v => slow!(a, self.negate(v, Then::Store(a.0))),
                    },
                    Op::Not(a, b) => r[a] = Bool(!r[b].is_true()),
                    Op::BitNot(a, b) => match r[b] {
                        Int(i) => r[a] = Int(!i),
                        v => throw!(Throw::Message(format!("attempt to perform a bitwise op on a {}", v.type_name()))),
                    },
                    Op::Eq(a, b, c) => equal!(r[b], r[c], |same| r[a] = Bool(same)),
                    Op::Ne(a, b, c) => equal!(r[b], r[c], |same| r[a] = Bool(!same)),
                    Op::Lt(a, b, c) => order!(Ordering::Lt, a, b, c),
                    Op::Le(a, b, c) => order!(Ordering::Le, a, b, c),
                    Op::Gt(a, b, c) => order!(Ordering::Gt, a, b, c),
                    Op::Ge(a, b, c) => order!(Ordering::Ge, a, b, c),
                    Op::Compare(a, b, c) => match (r[b], r[c]) {
                        (Int(x), Int(y)) => r[a] = Int(x.cmp(&y) as i32),
                        (x, y) => slow!(a, self.three_way(x, y, Then::CompareInto(a.0))),
                    },
                    Op::JumpEq(b, c, when, t) => {
                        equal!(r[b], r[c], |same| if same == when {
                            pc = t.0 as usize;
                        });
                    }
                    Op::JumpEqI(b, i, when, t) => {
                        equal!(r[b], Int(i.into()), |same| if same == when {
                            pc = t.0 as usize;
                        });
                    }
                    Op::JumpLt(b, c, when, t) => branch!(Ordering::Lt, r[b], r[c], when, t),
                    Op::JumpLe(b, c, when, t) => branch!(Ordering::Le, r[b], r[c], when, t),
                    Op::JumpGt(b, c, when, t) => branch!(Ordering::Gt, r[b], r[c], when, t),
                    Op::JumpGe(b, c, when, t) => branch!(Ordering::Ge, r[b], r[c], when, t),
                    Op::JumpLtI(b, i, when, t) => branch!(Ordering::Lt, r[b], Int(i.into()), when, t),
                    Op::JumpLeI(b, i, when, t) => branch!(Ordering::Le, r[b], Int(i.into()), when, t),
                    Op::JumpGtI(b, i, when, t) => branch!(Ordering::Gt, r[b], Int(i.into()), when, t),
                    Op::JumpGeI(b, i, when, t) => branch!(Ordering::Ge, r[b], Int(i.into()), when, t),
                    Op::JumpEqK(b, k, when, t) => {
                        equal!(r[b], constants[k.0 as usize], |same| if same == when {
                            pc = t.0 as usize;
                        });
                    }
                    Op::JumpLtK(b, k, when, t) => branch!(Ordering::Lt, r[b], constants[k.0 as usize], when, t),
                    Op::JumpLeK(b, k, when, t) => branch!(Ordering::Le, r[b], constants[k.0 as usize], when, t),
                    Op::JumpGtK(b, k, when, t) => branch!(Ordering::Gt, r[b], constants[k.0 as usize], when, t),
                    Op::JumpGeK(b, k, when, t) => branch!(Ordering::Ge, r[b], constants[k.0 as usize], when, t),
                    Op::JumpIf(a, when, t) => {
                        if r[a].is_true() == when {
                            pc = t.0 as usize;
                        }
                    }
                    Op::Jump(t) => pc = t.0 as usize,
                    Op::Loop(t) => back!(t),
                    Op::LoopLt(b, c, t) => loop_while!(Ordering::Lt, r[b], r[c], t),
                    Op::LoopLe(b, c, t) => loop_while!(Ordering::Le, r[b], r[c], t),
                    Op::LoopGt(b, c, t) => loop_while!(Ordering::Gt, r[b], r[c], t),
                    Op::LoopGe(b, c, t) => loop_while!(Ordering::Ge, r[b], r[c], t),
                    Op::LoopLtK(b, k, t) => loop_while!(Ordering::Lt, r[b], constants[k.0 as usize], t),
                    Op::LoopLeK(b, k, t) => loop_while!(Ordering::Le, r[b], constants[k.0 as usize], t),
                    Op::LoopGtK(b, k, t) => loop_while!(Ordering::Gt, r[b], constants[k.0 as usize], t),
                    Op::LoopGeK(b, k, t) => loop_while!(Ordering::Ge, r[b], constants[k.0 as usize], t),
                    Op::Get(a, b, c) => {
                        match (&r[b], &r[c]) {
                            (&Value::Array(id), &Int(i)) => {
                                if let Some(v) = self.heap.arrays.get(id).get(i as usize) {
                                    r[a] = self.heap.read(*v);
                                    continue;
                                }
                            }
                            (&Value::Table(id), &key) => {
                                if let Some(v) = self.heap.tables.get(id).get_quick(key, &self.heap.strings) {
                                    r[a] = self.heap.read(v);
                                    continue;
                                }
                            }
                            _ => {}
                        }
                        let (object, key) = (r[b], r[c]);
                        slow!(a, self.get(object, key, false, Then::Store(a.0)));
                    }
                    Op::GetK(a, b, k) => {
                        let k = k.0 as usize;
                        match self.heap.member(&r[b], constants[k], linkage.hashes[k]) {
                            Some(v) => r[a] = v,
                            None => {
                                let object = r[b];
                                slow!(a, self.get(object, constants[k], false, Then::Store(a.0)));
                            }
                        }
                    }
                    Op::GetSelf(a, k) => {
                        let k = k.0 as usize;
                        match self.heap.bare(&r[Reg(0)], constants[k], linkage.hashes[k]) {
                            Some(v) => r[a] = v,
                            None => {
                                let object = r[Reg(0)];
                                slow!(a, self.get(object, constants[k], true, Then::Store(a.0)));
                            }
                        }
                    }
                    Op::GetRoot(a, k) => {
                        let root = self.heap.root();
                        let k = k.0 as usize;
                        match self.heap.member(&root, constants[k], linkage.hashes[k]) {
                            Some(v) => r[a] = v,
                            None => slow!(a, self.get(root, constants[k], false, Then::Store(a.0))),
                        }
                    }
                    Op::Set(a, b, c) => {
                        if let (&Value::Array(id), &Int(i)) = (&r[a], &r[b])
                            && let Some(slot) = self.heap.arrays.get_mut(id).get_mut(i as usize)
                        {
                            *slot = r[c];
                            continue;
                        }
                        let (object, key, value) = (r[a], r[b], r[c]);
                        slow_effect!(self.set(object, key, value, false));
                    }
                    Op::SetK(a, k, c) => {
                        let k = k.0 as usize;
                        if !self.heap.set_member(&r[a], constants[k], linkage.hashes[k], r[c]) {
                            let (object, value) = (r[a], r[c]);
                            slow_effect!(self.set(object, constants[k], value, false));
                        }
                    }
                    Op::SetSelf(k, c) => {
                        let k = k.0 as usize;
                        if !self.heap.set_member(&r[Reg(0)], constants[k], linkage.hashes[k], r[c]) {
                            let (object, value) = (r[Reg(0)], r[c]);
                            slow_effect!(self.set(object, constants[k], value, true));
                        }
                    }
                    Op::NewSlot(a, b, c) => {
                        let (object, key, value) = (r[a], r[b], r[c]);
                        slow_effect!(self.new_slot(object, key, value));
                    }
                    Op::NewSlotK(a, k, c) => {
                        let (object, value) = (r[a], r[c]);
                        slow_effect!(self.new_slot(object, constants[k.0 as usize], value));
                    }
                    Op::Delete(a, b, c) => {
                        let (object, key) = (r[b], r[c]);
                        slow!(a, self.delete(object, key, Then::Store(a.0)));
                    }
                    Op::In(a, b, c) => {
                        let (key, object) = (r[b], r[c]);
                        let there = self.contains(object, key);
                        r = window!();
                        r[a] = Bool(there);
                        rest!();
                        r = window!();
                    }
                    Op::InstanceOf(a, b, c) => {
                        let (object, class) = (r[b], r[c]);
                        slow!(a, self.instance_of(object, class).map(|b| Flow::Value(Bool(b))));
                    }
                    Op::Prep(f, b, c) => {
                        let (object, key) = (r[b], r[c]);
                        r[Reg(f.0 + 1)] = object;
                        slow!(f, self.get(object, key, false, Then::Store(f.0)));
                    }
                    Op::PrepK(f, b, k) => {
                        let object = r[b];
                        let k = k.0 as usize;
                        r[Reg(f.0 + 1)] = object;
                        match self.heap.member(&object, constants[k], linkage.hashes[k]) {
                            Some(v) => r[f] = v,
                            None => slow!(f, self.get(object, constants[k], false, Then::Store(f.0))),
                        }
                    }
                    Op::PrepSelf(f, k) => {
                        let object = r[Reg(0)];
                        let k = k.0 as usize;
                        r[Reg(f.0 + 1)] = object;
                        match self.heap.bare(&object, constants[k], linkage.hashes[k]) {
                            Some(v) => r[f] = v,
                            None => slow!(f, self.get(object, constants[k], true, Then::Store(f.0))),
                        }
                    }
                    Op::PrepRoot(f, k) => {
                        let root = self.heap.root();
                        let k = k.0 as usize;
                        r[Reg(f.0 + 1)] = root;
                        match self.heap.member(&root, constants[k], linkage.hashes[k]) {
                            Some(v) => r[f] = v,
                            None => slow!(f, self.get(root, constants[k], false, Then::Store(f.0))),
                        }
                    }
                    Op::Call(a, f, n) => {
                        if self.fuel.slice <= 0 {
                            self.frames[top].pc = pc as u32 - 1;
                            return Ok(Flow::Slice);
                        }
                        self.fuel.slice -= 1;
                        let callee = r[f];
                        self.frames[top].pc = pc as u32;
                        let (first, n) = (base + f.0 as usize + 1, n as usize);
                        if self.heap.wants_attention() {
                            self.attend(first + n, callee);
                        }
                        if let Value::Closure(c) = callee
                            && self.enter_plain(&linked, c, first, n, a.0)
                        {
                            continue 'frame;
                        }
                        match self.call_value(callee, first, n, Then::Store(a.0))? {
                            Flow::Frame => continue 'frame,
                            Flow::Value(v) => {
                                r = window!();
                                r[a] = v;
                            }
                            flow => return Ok(flow),
                        }
                    }
                    Op::TailCall(f, n) => {
                        if self.fuel.slice <= 0 {
                            self.frames[top].pc = pc as u32 - 1;
                            return Ok(Flow::Slice);
                        }
                        self.fuel.slice -= 1;
                        let callee = r[f];
                        self.frames[top].pc = pc as u32;
                        slow!(f, self.tail_call(callee, base + f.0 as usize + 1, n as usize, f.0));
                    }
                    Op::Return(a) => {
                        let value = r[a];
                        self.fuel.slice -= way(pc as u32);
                        let frame = &self.frames[top];
                        if let (Kind::Script, Then::Store(to), 0, false) =
                            (&frame.kind, frame.then, frame.traps, frame.gives_this)
                            && top > 0
                        {
                            self.frames.truncate(top);
                            let below = self.frames[top - 1].base as usize;
                            self.stack[below + to as usize] = value;
                            continue 'frame;
                        }
                        self.frames[top].pc = pc as u32;
                        match self.give_back(value)? {
                            Flow::Frame => continue 'frame,
                            flow => return Ok(flow),
                        }
                    }
                    Op::ReturnNull() => {
                        self.frames[top].pc = pc as u32;
                        self.fuel.slice -= way(pc as u32);
                        match self.give_back(Null)? {
                            Flow::Frame => continue 'frame,
                            flow => return Ok(flow),
                        }
                    }
                    Op::Closure(a, p) => slow!(a, self.make_closure(p, base, this_closure)),
                    Op::Table(a, n) => slow!(a, self.heap.table(n as usize).map(Flow::Value)),
                    Op::Array(a, n) => slow!(a, self.make_array(n as usize)),
                    Op::Append(a, b) => {
                        let (array, item) = (r[a], r[b]);
                        slow_effect!(self.heap.array_push(array, item).map(|()| Flow::Value(Null)));
                    }
                    Op::Class(a, b, has, c) => {
                        let (below, attributes) = (if has { Some(r[b]) } else { None }, r[c]);
                        self.frames[top].pc = pc as u32;
                        let (class, inherited) = self.make_class(below, attributes)?;
                        window!()[a] = Value::Class(class);
                        if !inherited.is_null() {
                            let values = [Value::Class(class), attributes];
                            slow_effect!(self.call_with(inherited, &values, Then::Discard));
                        } else {
                            rest!();
                            r = window!();
                        }
                    }
                    Op::Member(a, b, c, d, is_static) => {
                        let (class, values) = (r[a], [r[b], r[c], r[d]]);
                        let made = match code[..pc - 1] {
                            [.., Op::Closure(to, _)] | [.., Op::Closure(to, _), Op::Null(_)] => to == c,
                            _ => false,
                        };
                        slow_effect!(self.body_member(class, values, is_static, made));
                    }
                    Op::Box(a) => {
                        let value = r[a];
                        slow!(a, self.heap.cell(value).map(Flow::Value));
                    }
                    Op::GetBox(a, b) => match r[b] {
                        Value::Cell(c) => r[a] = *self.heap.cells.get(c),
                        _ => throw!(Throw::message("a free variable's box was expected")),
                    },
                    Op::SetBox(a, b) => match r[a] {
                        Value::Cell(c) => *self.heap.cells.get_mut(c) = r[b],
                        _ => throw!(Throw::message("a free variable's box was expected")),
                    },
                    Op::GetOuter(a, o) => {
                        let cell = self.heap.closures.get(this_closure).outers[o.0 as usize];
                        r[a] = *self.heap.cells.get(cell);
                    }
                    Op::SetOuter(o, b) => {
                        let cell = self.heap.closures.get(this_closure).outers[o.0 as usize];
                        *self.heap.cells.get_mut(cell) = r[b];
                    }
                    Op::Foreach(s, t) => {
                        if let (&Value::Array(id), &Int(i)) = (&r[s], &r[Reg(s.0 + 1)])
                            && let Some(&v) = self.heap.arrays.get(id).get(i as usize)
                        {
                            r[Reg(s.0 + 1)] = Int(i + 1);
                            r[Reg(s.0 + 2)] = Int(i);
                            r[Reg(s.0 + 3)] = self.heap.read(v);
                            continue;
                        }
                        self.frames[top].pc = pc as u32;
                        match self.foreach(s.0, t.0)? {
                            Flow::Value(v) => {
                                if v != Bool(true) {
                                    pc = t.0 as usize;
                                }
                                rest!();
                                r = window!();
                            }
                            Flow::Frame => continue 'frame,
                            flow => return Ok(flow),
                        }
                    }
                    Op::Trap(a, t) => {
                        if self.traps.len() == self.traps.capacity() {
                            self.frames[top].pc = pc as u32;
                            self.reserve_traps(1)?;
                            r = window!();
                        }
                        self.traps.push(Trap { register: a.0, pc: t.0 });
                        self.frames[top].traps += 1;
                    }
                    Op::Untrap(n) => {
                        for _ in 0..n.min(self.frames[top].traps as u8) {
                            self.traps.pop();
                            self.frames[top].traps -= 1;
                        }
                    }
                    Op::Throw(a) => throw!(Throw::Value(r[a])),
                    Op::Yield(a) => {
                        let value = r[a];
                        self.frames[top].pc = pc as u32;
                        match self.suspend(value)? {
                            Flow::Frame => continue 'frame,
                            flow => return Ok(flow),
                        }
                    }
                    Op::Resume(a, b) => {
                        let value = r[b];
                        slow!(a, self.resume_value(value, Then::Store(a.0)));
                    }
                    Op::Typeof(a, b) => {
                        let value = r[b];
                        slow!(a, self.type_of(value, Then::Store(a.0)));
                    }
                    Op::Clone(a, b) => {
                        let value = r[b];
                        slow!(a, self.clone_value(value, Then::Store(a.0)));
                    }
                }
            }
        }
    }
}
