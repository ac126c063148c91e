//! An engine, its log threads and the clock, tied together for a process.
