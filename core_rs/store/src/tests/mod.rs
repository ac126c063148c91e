//! The store held to its rules. `rig`: directories, keys and copies. `model`: against a map, with crashes. `damage`: flipped
//! bytes. `faults`: the store in memory. The rest mirrors the source.

mod damage;
mod faults;
mod key;
mod limits;
mod model;
mod open;
mod rig;
mod thread;
mod verify;
mod write;
