//! The store held to its rules.
