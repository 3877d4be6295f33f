//! The tree of a `regexp` pattern, and its parser.

use super::regexp::PROGRAM_MAX;
use crate::throw::Throw;

/// The deepest nesting of groups.
const GROUPS_MAX: usize = 50;

/// A pattern's tree.
#[derive(Clone, Debug)]
pub(super) enum Node {
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
pub(super) struct Set([u64; 4]);

impl Set {
    fn of(test: impl Fn(u8) -> bool) -> Set {
        let mut out = Set::default();
        (0..=255).filter(|&b| test(b)).for_each(|b| out.add(b));
        out
    }

    fn add(&mut self, b: u8) {
        self.0[usize::from(b >> 6)] |= 1 << (b & 63);
    }

    pub(super) fn has(&self, b: u8) -> bool {
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

pub(super) fn wrong(text: &str) -> Throw {
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

/// A pattern's tree and the number of its groups, the whole match included.
pub(super) fn parse(pattern: &[u8]) -> Result<(Node, usize), Throw> {
    let mut parser = Parser { rest: pattern, groups: 1, depth: 0, parts: 0 };
    let tree = parser.either()?;
    if parser.rest.is_empty() { Ok((tree, parser.groups)) } else { Err(wrong("unexpected character")) }
}
