//! Pages and filters, as a client asks for them in a query.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::Central;
use super::error::ApiError;
use crate::store::Page;

/// Which part of a listing is wanted, and where its links lead.
pub(super) struct Paging {
    pub(super) page: Page,
    base: String,
    rest: Vec<(String, String)>,
}

/// What a client asked for in `filter[...]`.
pub(super) struct Filters {
    pairs: Vec<(String, String)>,
    /// A filter names something that cannot exist: the listing is empty.
    pub(super) nothing: bool,
}

/// The query, taken apart.
pub(super) struct Asked {
    pub(super) paging: Paging,
    pub(super) filters: Filters,
}

impl FromRequestParts<Central> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, central: &Central) -> Result<Self, ApiError> {
        let bad = |_| ApiError::invalid("The query cannot be read.");
        let Query(all) = Query::<Vec<(String, String)>>::from_request_parts(parts, central).await.map_err(bad)?;
        let (mut number, mut size) = (1, central.limits.page_size);
        let mut filters = Vec::new();
        for (name, value) in &all {
            match name.as_str() {
                "page[number]" => number = positive(name, value)?,
                "page[size]" => size = positive(name, value)?.min(central.limits.page_size_max),
                other => {
                    if let Some(name) = other.strip_prefix("filter[").and_then(|rest| rest.strip_suffix(']')) {
                        filters.push((name.to_owned(), value.clone()));
                    }
                }
            }
        }
        // The router has taken the prefix of the API off.
        let path = parts.uri.path();
        let rest = all.into_iter().filter(|(name, _)| !name.starts_with("page[")).collect();
        let paging = Paging { page: Page { number, size }, base: format!("{}{path}", central.base), rest };
        Ok(Self { paging, filters: Filters { pairs: filters, nothing: false } })
    }
}

impl Paging {
    /// The address of another page of the same listing.
    pub(super) fn link(&self, number: u32) -> String {
        let mut link = format!("{}?page%5Bnumber%5D={number}&page%5Bsize%5D={}", self.base, self.page.size);
        for (name, value) in &self.rest {
            link.push('&');
            encode(&mut link, name);
            link.push('=');
            encode(&mut link, value);
        }
        link
    }
}

impl Filters {
    /// Refuses filters that this listing does not have, so that nobody takes an unfiltered listing for a filtered one.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                Err(ApiError::invalid(format!("There is no filter {name:?}; there are: {}.", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// The value of a filter, if it is given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rfind(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The id in a filter; one that cannot be an id matches nothing.
    pub(super) fn id<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let id = self.text(name).map(T::from_str)?.ok();
        self.nothing |= id.is_none();
        id
    }
}

fn positive(name: &str, value: &str) -> Result<u32, ApiError> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(ApiError::invalid(format!("{name} is a number from 1."))),
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986, section 2.3).
fn encode(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_filters_and_encode_them() {
        let rest = vec![("filter[owner.id]".to_owned(), "a b&c".to_owned())];
        let paging = Paging { page: Page { number: 1, size: 20 }, base: "http://h/v5/devices".to_owned(), rest };
        let link = "http://h/v5/devices?page%5Bnumber%5D=2&page%5Bsize%5D=20&filter%5Bowner.id%5D=a%20b%26c";
        assert_eq!(paging.link(2), link);
    }

    #[test]
    fn a_filter_that_cannot_match_matches_nothing() {
        let pairs = vec![("owner.id".to_owned(), "nobody".to_owned())];
        let mut filters = Filters { pairs, nothing: false };
        assert_eq!(filters.id::<crate::fleet::AccountId>("product.id"), None);
        assert!(!filters.nothing);
        assert_eq!(filters.id::<crate::fleet::AccountId>("owner.id"), None);
        assert!(filters.nothing);
        assert!(filters.only(&["owner.id"]).is_ok());
        assert!(filters.only(&["product.id"]).is_err());
    }
}
