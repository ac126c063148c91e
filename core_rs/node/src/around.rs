//! What a node lends to its partition.

use gateway::Gateway;
use seam::{Env, Lent, Now};

use crate::bodies::BodyCache;
use crate::journal::Journal;

/// See the module.
#[derive(Debug)]
pub struct Around {
    pub(crate) now: Now,
    pub(crate) journal: Journal,
    pub(crate) bodies: BodyCache,
    pub(crate) gateway: Gateway,
}

impl Env for Around {
    type J = Journal;
    type B = BodyCache;
    type O = Gateway;

    fn lend(&mut self) -> Lent<'_, Journal, BodyCache, Gateway> {
        let Self { now, journal, bodies, gateway } = self;
        Lent { now: *now, room: journal.room(), journal, bodies, out: gateway }
    }
}
