//! Whole partitions under random commands and crashes.

mod commands;
mod crash;
mod crowd;
mod damage;
mod load;
mod oracle;
mod random;
mod rules;
mod world;
