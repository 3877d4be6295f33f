//! A program made ready for one end; shared by all apps that run it.

use std::sync::Arc;

use squirrel::{ImageError, Linked, Program};

use crate::api::Api;
use crate::side::End;

/// A program linked with what scripts find on one end. Cheap to clone: one per deployment, however many apps run it.
#[derive(Clone, Debug)]
pub struct Code {
    pub(crate) linked: Arc<Linked>,
    pub(crate) end: End,
}

impl Code {
    /// Links a program for `end`.
    pub fn new(program: &Program, end: End) -> Self {
        Self { linked: Linked::new(&Api::of(end).library, program), end }
    }

    /// Checks and links an image that came from outside.
    ///
    /// # Errors
    /// The bytes are not an image that this version runs.
    pub fn from_image(image: &[u8], end: End) -> Result<Self, ImageError> {
        Ok(Self::new(&Program::from_image(image)?, end))
    }
}
