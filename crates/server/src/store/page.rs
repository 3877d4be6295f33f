//! A part of a listing.

/// Which part of a listing is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub number: u32,
    /// Entries of a page.
    pub size: u32,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Whether there are more after them.
    pub more: bool,
}

impl<T> Listed<T> {
    /// A listing of nothing.
    pub fn empty() -> Self {
        Self { items: Vec::new(), more: false }
    }
}

impl Page {
    pub(super) fn offset(self) -> i64 {
        i64::from(self.number.saturating_sub(1)) * i64::from(self.size)
    }

    /// One more than fits, to learn whether there are more.
    pub(super) fn limit(self) -> i64 {
        i64::from(self.size) + 1
    }

    /// Makes the listing of what [`Page::limit`] rows gave.
    pub(super) fn listed<T>(self, mut items: Vec<T>) -> Listed<T> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let more = items.len() > size;
        items.truncate(size);
        Listed { items, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_has_more_only_if_there_is_one_more() {
        let page = Page { number: 3, size: 2 };
        assert_eq!((page.offset(), page.limit()), (4, 3));
        assert_eq!(page.listed(vec![1, 2]), Listed { items: vec![1, 2], more: false });
        assert_eq!(page.listed(vec![1, 2, 3]), Listed { items: vec![1, 2], more: true });
    }
}
