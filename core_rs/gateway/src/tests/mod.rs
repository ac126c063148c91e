//! A gateway before a scripted partition: real bytes in, real frames out.

mod deferral;
mod flow;
pub(crate) mod frames;
mod login;
mod random;

mod rig;
mod script;
mod table;
mod waits;
