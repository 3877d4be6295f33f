//! Products: what device groups belong to.

use super::ids::{AccountId, ProductId};
use super::text::{self, Invalid};

/// A product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its id.
    pub id: ProductId,
    /// Who owns it.
    pub owner: AccountId,
    /// Who made it.
    pub creator: AccountId,
    /// 1 to 80 characters, unique for its owner.
    pub name: String,
    /// At most 255 characters.
    pub description: String,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When it last changed, Unix milliseconds.
    pub updated_ms: i64,
}

impl Product {
    /// Checks what a person may set.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Invalid> {
        text::name("a product", &self.name)?;
        text::description(&self.description)
    }
}
