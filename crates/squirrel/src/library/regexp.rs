//! The `regexp` of the language: a backtracking matcher with a step budget.

/// A compiled pattern.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regexp {
    nodes: Vec<u8>,
}

impl Regexp {
    pub(crate) fn bytes(&self) -> usize {
        self.nodes.capacity()
    }
}
