//! What can be wrong with a frame.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use super::codes;

/// A frame that was not understood or not allowed. Becomes an `Error` frame; [`codes`] tells whether it ends the connection.
///
/// One word wide, so that the results of reading a field fit into registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError(Box<Details>);

/// What is known of a [`WireError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// One of [`codes`].
    pub code: &'static str,
    /// For people: what was wrong.
    pub message: Cow<'static, str>,
    /// The id of the send that it is about, where one could be read; empty otherwise.
    pub id: Vec<u8>,
}

impl WireError {
    /// An error with one of [`codes`].
    #[cold]
    pub fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Details { code, message: message.into(), id: Vec::new() }))
    }

    #[cold]
    pub(super) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(codes::MALFORMED, message)
    }

    #[cold]
    pub(super) fn field(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(codes::BAD_FIELD, message)
    }

    /// The same error, about the send with this id.
    #[cold]
    pub(super) fn about(mut self, id: &[u8]) -> Self {
        self.0.id = id.to_vec();
        self
    }
}

impl Deref for WireError {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for WireError {}
