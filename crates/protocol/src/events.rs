//! Events that wait to be polled; an idle session holds no memory for them.

use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Events<E>(VecDeque<E>);

impl<E> Events<E> {
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn push(&mut self, event: E) {
        self.0.push_back(event);
    }

    pub(crate) fn next(&mut self) -> Option<E> {
        let event = self.0.pop_front();
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
        event
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
