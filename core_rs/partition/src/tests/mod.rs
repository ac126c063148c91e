//! Whole partitions under random commands and crashes.

mod crash;
mod oracle;
mod random;
mod world;
