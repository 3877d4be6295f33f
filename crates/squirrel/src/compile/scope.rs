//! Which variable a name means: locals of the function, free variables, constants.

use std::collections::HashMap;

use super::ast::{Name, Source};

/// The most free variables of one function.
const CAPTURES_MAX: usize = 250;

/// The function that is being read.
#[derive(Debug, Default)]
pub(crate) struct FunctionScope {
    /// For each variable, whether an inner function captures it.
    pub(crate) captured: Vec<bool>,
    /// Variables that can be seen here, innermost last.
    visible: Vec<(Name, usize)>,
    free: HashMap<Name, u8>,
    pub(crate) captures: Vec<Source>,
    pub(crate) generator: bool,
}

/// A constant's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar {
    Int(i32),
    Float(f32),
    Str(Name),
}

/// What `const` and `enum` declared.
#[derive(Clone, Debug)]
pub(crate) enum Declared {
    Scalar(Scalar),
    Enum(HashMap<Name, Scalar>),
}

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Found {
    Local(usize),
    Outer(u8),
    Nothing,
}

/// All functions around the place that is being read.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    functions: Vec<FunctionScope>,
}

impl Scopes {
    pub(crate) fn enter(&mut self) {
        self.functions.push(FunctionScope::default());
    }

    pub(crate) fn leave(&mut self) -> FunctionScope {
        self.functions.pop().unwrap_or_default()
    }

    /// A new variable that is visible from here on.
    pub(crate) fn declare(&mut self, name: Name) -> usize {
        let Some(f) = self.functions.last_mut() else { return 0 };
        f.captured.push(false);
        f.visible.push((name, f.captured.len() - 1));
        f.captured.len() - 1
    }

    /// A place to go back to with `close`.
    pub(crate) fn open(&self) -> usize {
        self.functions.last().map_or(0, |f| f.visible.len())
    }

    pub(crate) fn close(&mut self, mark: usize) {
        if let Some(f) = self.functions.last_mut() {
            f.visible.truncate(mark);
        }
    }

    pub(crate) fn yields(&mut self) {
        if let Some(f) = self.functions.last_mut() {
            f.generator = true;
        }
    }

    /// Resolves a name in the innermost function; None when it would capture too many variables.
    pub(crate) fn find(&mut self, name: Name) -> Option<Found> {
        let Some(top) = self.functions.len().checked_sub(1) else { return Some(Found::Nothing) };
        let mut source = None;
        let mut level = top + 1;
        while level > 0 {
            level -= 1;
            let f = &mut self.functions[level];
            if let Some(&(_, var)) = f.visible.iter().rev().find(|(n, _)| *n == name) {
                if level == top {
                    return Some(Found::Local(var));
                }
                f.captured[var] = true;
                source = Some(Source::Local(var));
                break;
            }
            if let Some(&outer) = f.free.get(&name) {
                if level == top {
                    return Some(Found::Outer(outer));
                }
                source = Some(Source::Outer(outer));
                break;
            }
        }
        let Some(mut source) = source else { return Some(Found::Nothing) };
        for f in &mut self.functions[level + 1..] {
            if f.captures.len() >= CAPTURES_MAX {
                return None;
            }
            let outer = f.captures.len() as u8;
            f.captures.push(source);
            f.free.insert(name, outer);
            source = Source::Outer(outer);
        }
        match source {
            Source::Outer(outer) => Some(Found::Outer(outer)),
            Source::Local(_) => Some(Found::Nothing),
        }
    }
}
