//! A disk that forgets what was durable: bits flip while the machine is down.

use super::Sim;

impl Sim {
    pub(super) fn flip_bits(&mut self) {}
}
