//! Whole partitions under random commands and crashes.

mod clients;
mod commands;
mod crash;
mod crowd;
mod damage;
mod index;
mod load;
mod oracle;
mod queries;
mod random;
mod rest;
mod rules;
mod scenario;
mod sessions;
mod world;
