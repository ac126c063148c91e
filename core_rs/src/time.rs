//! Time as the core sees it: a value that the caller passes in.

/// A moment, read by whoever drives the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds of a clock that never runs backwards; its zero means nothing.
    pub mono_ms: u64,
    /// Milliseconds since 1970 as the machine's clock has it; may jump either way.
    pub wall_ms: u64,
}
