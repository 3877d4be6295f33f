//! The `regexp` of the language: compiled to a small program, matched in time linear in the text.

use super::{LibraryBuilder, int_arg, str_arg, wrong_type};
use crate::heap::object::Payload;
use crate::heap::{Heap, block_of};
use crate::throw::{Fatal, Throw};
use crate::value::Value;

/// The longest program of a pattern, repetitions written out; also the most parts of its tree.
const PROGRAM_MAX: usize = 4096;
/// The most parts that are looked at while repetitions are written out: empty ones make no steps.
const EMITS_MAX: usize = 4 * PROGRAM_MAX;
/// The deepest nesting of groups.
const GROUPS_MAX: usize = 50;
/// The most visited marks (states x places) of one match attempt.
const VISITED_MAX: usize = 1 << 21;
/// Choices that may be open at once beyond what the VM's free memory holds.
const CHOICES: usize = 1 << 14;

/// A compiled pattern.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regexp {
    steps: Vec<Step>,
    groups: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Byte(Set),
    Split(usize, usize),
    Jump(usize),
    Save(usize),
    Start,
    End,
    Boundary(bool),
    Done,
}

/// A pattern's tree.
#[derive(Clone, Debug)]
enum Node {
    Set(Set),
    Start,
    End,
    Boundary(bool),
    Group(Option<usize>, Box<Node>),
    Sequence(Vec<Node>),
    Either(Box<Node>, Box<Node>),
    Repeat(Box<Node>, usize, Option<usize>),
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Set([u64; 4]);

impl Set {
    fn of(test: impl Fn(u8) -> bool) -> Set {
        let mut out = Set::default();
        (0..=255).filter(|&b| test(b)).for_each(|b| out.add(b));
        out
    }

    fn add(&mut self, b: u8) {
        self.0[usize::from(b >> 6)] |= 1 << (b & 63);
    }

    fn has(&self, b: u8) -> bool {
        self.0[usize::from(b >> 6)] >> (b & 63) & 1 == 1
    }

    fn unite(&mut self, other: &Set) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }

    fn invert(&mut self) {
        self.0.iter_mut().for_each(|a| *a = !*a);
    }
}

struct Parser<'a> {
    rest: &'a [u8],
    groups: usize,
    depth: usize,
    /// Parts of the tree so far.
    parts: usize,
}

fn wrong(text: &str) -> Throw {
    Throw::Message(format!("regexp: {text}"))
}

/// What a letter after a backslash matches.
fn class(letter: u8) -> Option<Set> {
    let test: fn(u8) -> bool = match letter.to_ascii_lowercase() {
        b'l' if letter == b'l' => |b| b.is_ascii_lowercase(),
        b'u' if letter == b'u' => |b| b.is_ascii_uppercase(),
        b'a' => |b| b.is_ascii_alphabetic(),
        b'w' => |b| b.is_ascii_alphanumeric() || b == b'_',
        b's' => |b| matches!(b, b' ' | 9..=13),
        b'd' => |b| b.is_ascii_digit(),
        b'x' => |b| b.is_ascii_hexdigit(),
        b'c' => |b| b.is_ascii_control(),
        b'p' => |b| b.is_ascii_punctuation(),
        _ => return None,
    };
    let negative = letter.is_ascii_uppercase();
    Some(Set::of(|b| test(b) != negative))
}

fn escaped(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'f' => 12,
        b'v' => 11,
        other => other,
    }
}

impl Parser<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&b, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(b)
    }

    fn take(&mut self, b: u8) -> bool {
        let there = self.rest.first() == Some(&b);
        if there {
            self.next();
        }
        there
    }

    fn either(&mut self) -> Result<Node, Throw> {
        let left = self.sequence()?;
        if !self.take(b'|') {
            return Ok(left);
        }
        self.depth += 1;
        if self.depth > GROUPS_MAX {
            return Err(wrong("nested too deep"));
        }
        let right = self.either()?;
        self.depth -= 1;
        Ok(Node::Either(Box::new(left), Box::new(right)))
    }

    fn sequence(&mut self) -> Result<Node, Throw> {
        let mut nodes = Vec::new();
        while let Some(&b) = self.rest.first() {
            if matches!(b, b'|' | b')') {
                break;
            }
            let node = self.element()?;
            nodes.push(self.repeated(node)?);
        }
        Ok(Node::Sequence(nodes))
    }

    fn element(&mut self) -> Result<Node, Throw> {
        let Some(b) = self.next() else { return Err(wrong("unexpected end")) };
        self.parts += 1;
        if self.parts > PROGRAM_MAX {
            return Err(wrong("pattern too long"));
        }
        let only = |b: u8| {
            let mut set = Set::default();
            set.add(b);
            Node::Set(set)
        };
        Ok(match b {
            b'^' => Node::Start,
            b'$' => Node::End,
            b'.' => Node::Set(Set::of(|_| true)),
            b'(' => return self.group(),
            b'[' => Node::Set(self.class()?),
            b'*' | b'+' | b'?' | b'{' => return Err(wrong("nothing to repeat")),
            b'\\' => match self.next() {
                None => return Err(wrong("letter expected")),
                Some(b'b') => Node::Boundary(true),
                Some(b'B') => Node::Boundary(false),
                Some(letter) => class(letter).map_or_else(|| only(escaped(letter)), Node::Set),
            },
            other => only(other),
        })
    }

    fn group(&mut self) -> Result<Node, Throw> {
        self.depth += 1;
        if self.depth > GROUPS_MAX {
            return Err(wrong("nested too deep"));
        }
        let number = if self.rest.starts_with(b"?:") {
            self.rest = &self.rest[2..];
            None
        } else {
            self.groups += 1;
            Some(self.groups - 1)
        };
        let inner = self.either()?;
        if !self.take(b')') {
            return Err(wrong("expected )"));
        }
        self.depth -= 1;
        Ok(Node::Group(number, Box::new(inner)))
    }

    fn class(&mut self) -> Result<Set, Throw> {
        let negative = self.take(b'^');
        let mut out = Set::default();
        let mut first = true;
        loop {
            let Some(b) = self.next() else { return Err(wrong("expected ]")) };
            if b == b']' && !first {
                break;
            }
            first = false;
            let low = match b {
                b'\\' => match self.next() {
                    None => return Err(wrong("expected ]")),
                    Some(letter) => match class(letter) {
                        Some(inner) => {
                            out.unite(&inner);
                            continue;
                        }
                        None => escaped(letter),
                    },
                },
                b => b,
            };
            let mut high = low;
            if self.rest.len() >= 2 && self.rest[0] == b'-' && self.rest[1] != b']' {
                self.next();
                high = self.next().unwrap_or(low);
                if high == b'\\' {
                    high = self.next().map_or(low, escaped);
                }
                if high < low {
                    return Err(wrong("invalid range"));
                }
            }
            (low..=high).for_each(|b| out.add(b));
        }
        if negative {
            out.invert();
        }
        Ok(out)
    }

    fn repeated(&mut self, node: Node) -> Result<Node, Throw> {
        let (least, most) = match self.rest.first() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => return self.counted(node),
            _ => return Ok(node),
        };
        self.next();
        Ok(Node::Repeat(Box::new(node), least, most))
    }

    fn counted(&mut self, node: Node) -> Result<Node, Throw> {
        self.next();
        let least = self.number()?.ok_or_else(|| wrong("number expected"))?;
        let most = if self.take(b',') { self.number()? } else { Some(least) };
        if !self.take(b'}') {
            return Err(wrong(", or } expected"));
        }
        if most.is_some_and(|m| m < least) {
            return Err(wrong("invalid range"));
        }
        Ok(Node::Repeat(Box::new(node), least, most))
    }

    fn number(&mut self) -> Result<Option<usize>, Throw> {
        let mut value = None;
        while let Some(b) = self.rest.first().filter(|b| b.is_ascii_digit()) {
            let n = value.unwrap_or(0) * 10 + usize::from(b - b'0');
            if n > PROGRAM_MAX {
                return Err(wrong("overflow in numeric constant"));
            }
            value = Some(n);
            self.next();
        }
        Ok(value)
    }
}

impl Regexp {
    pub(crate) fn new(pattern: &[u8]) -> Result<Regexp, Throw> {
        let mut parser = Parser { rest: pattern, groups: 1, depth: 0, parts: 0 };
        let tree = parser.either()?;
        if !parser.rest.is_empty() {
            return Err(wrong("unexpected character"));
        }
        let mut emitter = Emitter { steps: Vec::new(), emits: 0 };
        emitter.emit(&Node::Group(Some(0), Box::new(tree)))?;
        emitter.push(Step::Done)?;
        Ok(Regexp { steps: emitter.steps, groups: parser.groups })
    }

    pub(crate) fn bytes(&self) -> usize {
        block_of::<Step>(self.steps.capacity()) + block_of::<Regexp>(1)
    }

    /// Matches at one of the places from `start` on; the groups' bounds. Each state is tried once at
    /// each place, so the time is linear in the text.
    fn run(
        &self,
        text: &[u8],
        start: usize,
        whole: bool,
        room: usize,
        work: &mut usize,
    ) -> Result<Option<Vec<usize>>, Throw> {
        let places = text.len() + 1;
        if self.steps.len().saturating_mul(places) > VISITED_MAX {
            return Err(wrong("the text is too long for this pattern"));
        }
        let mut visited = vec![0_u64; self.steps.len() * places / 64 + 1];
        let last = if whole { start } else { text.len() };
        for from in start..=last {
            if let Some(groups) = self.run_at(text, from, (whole, room), &mut visited, work)? {
                return Ok(Some(groups));
            }
        }
        Ok(None)
    }

    fn run_at(
        &self,
        text: &[u8],
        from: usize,
        (whole, room): (bool, usize),
        visited: &mut [u64],
        work: &mut usize,
    ) -> Result<Option<Vec<usize>>, Throw> {
        let mut groups = vec![usize::MAX; self.groups * 2];
        // What is left to try: a state at a place, or a group's bound to restore.
        let mut stack = vec![Try::At(0, from as u32)];
        while let Some(next) = stack.pop() {
            if stack.len() > CHOICES + room / (2 * size_of::<Try>()) {
                return Err(wrong("the text is too long for this pattern"));
            }
            let (mut pc, mut at) = match next {
                Try::At(pc, at) => (pc as usize, at as usize),
                Try::Restore(n, old) => {
                    groups[n as usize] = old;
                    continue;
                }
            };
            loop {
                let bit = pc * (text.len() + 1) + at;
                if visited[bit / 64] >> (bit % 64) & 1 == 1 {
                    break;
                }
                visited[bit / 64] |= 1 << (bit % 64);
                *work += 1;
                match &self.steps[pc] {
                    Step::Byte(set) => match text.get(at) {
                        Some(&b) if set.has(b) => at += 1,
                        _ => break,
                    },
                    Step::Split(first, second) => {
                        stack.push(Try::At(*second as u32, at as u32));
                        pc = *first;
                        continue;
                    }
                    Step::Jump(to) => {
                        pc = *to;
                        continue;
                    }
                    Step::Save(n) => {
                        stack.push(Try::Restore(*n as u32, groups[*n]));
                        groups[*n] = at;
                    }
                    Step::Start if at != 0 => break,
                    Step::End if at != text.len() => break,
                    Step::Boundary(want) if boundary(text, at) != *want => break,
                    Step::Done if whole && at != text.len() => break,
                    Step::Done => return Ok(Some(groups)),
                    Step::Start | Step::End | Step::Boundary(_) => {}
                }
                pc += 1;
            }
        }
        Ok(None)
    }
}

/// Writes a pattern's tree down as a program.
struct Emitter {
    steps: Vec<Step>,
    /// Parts that were looked at.
    emits: usize,
}

impl Emitter {
    fn push(&mut self, step: Step) -> Result<usize, Throw> {
        if self.steps.len() >= PROGRAM_MAX {
            return Err(wrong("pattern too long"));
        }
        self.steps.push(step);
        Ok(self.steps.len() - 1)
    }

    fn emit(&mut self, node: &Node) -> Result<(), Throw> {
        self.emits += 1;
        if self.emits > EMITS_MAX {
            return Err(wrong("pattern too long"));
        }
        match node {
            Node::Set(set) => self.push(Step::Byte(*set)).map(drop),
            Node::Start => self.push(Step::Start).map(drop),
            Node::End => self.push(Step::End).map(drop),
            Node::Boundary(b) => self.push(Step::Boundary(*b)).map(drop),
            Node::Sequence(nodes) => nodes.iter().try_for_each(|n| self.emit(n)),
            Node::Group(None, inner) => self.emit(inner),
            Node::Group(Some(n), inner) => {
                self.push(Step::Save(n * 2))?;
                self.emit(inner)?;
                self.push(Step::Save(n * 2 + 1)).map(drop)
            }
            Node::Either(left, right) => {
                let split = self.push(Step::Split(0, 0))?;
                self.emit(left)?;
                let jump = self.push(Step::Jump(0))?;
                self.steps[split] = Step::Split(split + 1, self.steps.len());
                self.emit(right)?;
                self.steps[jump] = Step::Jump(self.steps.len());
                Ok(())
            }
            Node::Repeat(inner, least, most) => self.emit_repeat(inner, *least, *most),
        }
    }

    fn emit_repeat(&mut self, inner: &Node, least: usize, most: Option<usize>) -> Result<(), Throw> {
        for _ in 0..least {
            self.emit(inner)?;
        }
        let Some(most) = most else {
            let split = self.push(Step::Split(0, 0))?;
            self.emit(inner)?;
            self.push(Step::Jump(split))?;
            self.steps[split] = Step::Split(split + 1, self.steps.len());
            return Ok(());
        };
        let mut splits = Vec::new();
        for _ in least..most {
            splits.push(self.push(Step::Split(0, 0))?);
            self.emit(inner)?;
        }
        for split in splits {
            self.steps[split] = Step::Split(split + 1, self.steps.len());
        }
        Ok(())
    }
}

enum Try {
    At(u32, u32),
    Restore(u32, usize),
}

fn boundary(text: &[u8], at: usize) -> bool {
    let word = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    word(at.checked_sub(1).and_then(|n| text.get(n))) != word(text.get(at))
}

pub(super) fn add(b: &mut LibraryBuilder) {
    let root = b.root();
    b.native(root, "regexp", 1..=1, make);
    let c = b.regexp_class();
    b.native(c, "match", 1..=1, |heap, args| Ok(Value::Bool(execute(heap, args, true)?.is_some())));
    b.native(c, "search", 1..=2, |heap, args| match execute(heap, args, false)? {
        Some(groups) => span(heap, groups[0], groups[1]),
        None => Ok(Value::Null),
    });
    b.native(c, "capture", 1..=2, capture);
    b.native(c, "subexpcount", 0..=0, |heap, args| Ok(Value::Int(regexp(heap, args)?.groups as i32)));
}

fn make(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let pattern = str_arg(heap, args, 1)?;
    heap.work(pattern.len().min(PROGRAM_MAX) / 4);
    let regexp = Regexp::new(pattern).inspect_err(|_| heap.work(EMITS_MAX / 16))?;
    let bytes = regexp.bytes();
    heap.work(bytes / 64);
    heap.charge(bytes)?;
    let class = heap.library.regexp_class;
    let made = heap.host_object(class, Payload::Regexp(Box::new(regexp)));
    if made.is_err() {
        heap.release(bytes);
    }
    made
}

fn regexp<'h>(heap: &'h Heap, args: &[Value]) -> Result<&'h Regexp, Throw> {
    let Value::Host(id) = args[0] else { return Err(wrong_type(0, args[0], "regexp")) };
    match &heap.hosts.get(id).payload {
        Payload::Regexp(regexp) => Ok(regexp),
        _ => Err(wrong_type(0, args[0], "regexp")),
    }
}

fn execute(heap: &mut Heap, args: &[Value], whole: bool) -> Result<Option<Vec<usize>>, Throw> {
    let start = if args.len() > 2 { int_arg(args, 2)? } else { 0 };
    let (regexp, text) = (regexp(heap, args)?, str_arg(heap, args, 1)?);
    let Some(start) = usize::try_from(start).ok().filter(|&n| n <= text.len()) else { return Ok(None) };
    let marks = regexp.steps.len().saturating_mul(text.len() + 1) / 8;
    let Some(room) = heap.memory_free().checked_sub(marks) else { return Err(Fatal::Memory.into()) };
    let mut work = regexp.steps.len() * (text.len() + 1) / 4096;
    let found = regexp.run(text, start, whole, room, &mut work);
    heap.work(work / 8);
    found
}

pub(super) fn span(heap: &mut Heap, begin: usize, end: usize) -> Result<Value, Throw> {
    let table = heap.table(2)?;
    for (name, at) in [("begin", begin), ("end", end)] {
        let key = heap.string(name.as_bytes())?;
        heap.table_insert(table, key, Value::Int(at as i32))?;
    }
    Ok(table)
}

fn capture(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    match execute(heap, args, false)? {
        Some(groups) => captured(heap, &groups),
        None => Ok(Value::Null),
    }
}

/// The groups' bounds as an array of tables; an empty group is 0 to 0.
pub(super) fn captured(heap: &mut Heap, groups: &[usize]) -> Result<Value, Throw> {
    let mut spans = Vec::new();
    for pair in groups.chunks_exact(2) {
        let empty = pair[0] == usize::MAX || pair[1] == usize::MAX || pair[0] == pair[1];
        spans.push(if empty { span(heap, 0, 0)? } else { span(heap, pair[0], pair[1])? });
    }
    heap.array(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pattern: &str, text: &str) -> Option<Vec<usize>> {
        Regexp::new(pattern.as_bytes()).unwrap().run(text.as_bytes(), 0, false, 0, &mut 0).unwrap()
    }

    #[test]
    fn patterns_match_as_documented() {
        assert_eq!(groups("^/history/(\\d+)$", "/history/42"), Some(vec![0, 11, 9, 11]));
        assert_eq!(groups("a{2,3}", "caaaa"), Some(vec![1, 4]));
        assert_eq!(groups("(?:ab|c)+", "xabcab"), Some(vec![1, 6]));
        assert_eq!(groups("[^a-c\\d]", "a1b2d"), Some(vec![4, 5]));
        assert_eq!(groups("\\bfoo\\b", "afoo foo"), Some(vec![5, 8]));
        assert_eq!(groups("x", "abc"), None);
        for bad in ["(", "[a", "*", "a{", "a{3,1}", "a)", "\\", "a{99999}", "((a{99}){99}){99}"] {
            assert!(Regexp::new(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Regexp::new("(".repeat(60).as_bytes()).is_err());
        assert!(Regexp::new("a".repeat(PROGRAM_MAX - 3).as_bytes()).is_ok());
        assert!(Regexp::new("a".repeat(PROGRAM_MAX - 2).as_bytes()).is_err());
        assert!(Regexp::new("(?:)|".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn repetitions_of_nothing_take_no_time() {
        assert!(Regexp::new(b"(?:(?:(?:){4000}){4000}){4000}").is_err());
        assert!(Regexp::new(b"(?:(?:){50}){50}").is_ok());
    }

    #[test]
    fn a_pattern_that_explodes_elsewhere_takes_linear_time_here() {
        let regexp = Regexp::new(b"(a*)*(a*)*(a*)*b").unwrap();
        let text = vec![b'a'; 5000];
        let mut work = 0;
        assert_eq!(regexp.run(&text, 0, false, 0, &mut work).unwrap(), None);
        assert!(work < 40 * 5001, "{work}");
    }
}
