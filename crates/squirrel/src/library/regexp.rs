//! The `regexp` of the language: compiled to a small program, matched in time linear in the text.

use super::regexp_parser::{Node, Set, parse, wrong};
use super::{LibraryBuilder, int_arg, str_arg, wrong_type};
use crate::heap::object::Payload;
use crate::heap::{Heap, block_of};
use crate::throw::{Fatal, Throw};
use crate::value::Value;

/// The longest program of a pattern, repetitions written out; also the most parts of its tree.
pub(super) const PROGRAM_MAX: usize = 4096;
/// The most parts that are looked at while repetitions are written out: empty ones make no steps.
const EMITS_MAX: usize = 4 * PROGRAM_MAX;
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

impl Regexp {
    pub(crate) fn new(pattern: &[u8]) -> Result<Regexp, Throw> {
        let (tree, groups) = parse(pattern)?;
        let mut emitter = Emitter { steps: Vec::new(), emits: 0 };
        emitter.emit(&Node::Group(Some(0), Box::new(tree)))?;
        emitter.push(Step::Done)?;
        Ok(Regexp { steps: emitter.steps, groups })
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
