//! Whole partitions under random commands and crashes.

mod crash;
mod damage;
mod oracle;
mod random;
mod world;
