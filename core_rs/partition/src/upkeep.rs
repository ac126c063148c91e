//! Devices that nobody uses any more go: the node calls this now and then, for a few users at a time.

use compact_str::CompactString;
use seam::{Env, Full, RowKey};
use smallvec::SmallVec;

use crate::ids::DeviceId;
use crate::partition::Partition;
use crate::propose::{self, Stop};

impl Partition {
    /// Drops devices in memory that were not connected for as long as messages are held, of users in `most` slots from `from` on.
    /// Gives where to go on, `None`: these were the last; and rows that were needed: when they are there, the next round meets
    /// those users again.
    ///
    /// # Errors
    /// The journal has no room.
    pub fn drop_unseen<E: Env>(
        &mut self,
        env: &mut E,
        from: usize,
        most: usize,
    ) -> Result<(Option<usize>, Vec<RowKey>), Full> {
        let (seen, next) = self.state.last_seen(env.lend().now, &self.config, from, most);
        let mut wanted = Vec::new();
        for (user, seen) in seen {
            let name: CompactString = self.state.names.text(user).into();
            wanted.extend(self.drop_unseen_of(env, &name, &seen)?);
        }
        Ok((next, wanted))
    }

    /// The same of one user, by what rows at rest say of its devices: when each was last connected, seconds since 1970. Rows that
    /// are needed: it is given again when they are there.
    ///
    /// # Errors
    /// The journal has no room.
    pub fn drop_unseen_of<E: Env>(
        &mut self,
        env: &mut E,
        name: &str,
        seen: &[(DeviceId, u32)],
    ) -> Result<SmallVec<[RowKey; 2]>, Full> {
        match propose::unseen(&self.state, env.lend().now, &self.config, name, seen) {
            Ok(records) => {
                for record in &records {
                    self.commit(env, std::slice::from_ref(record))?;
                }
                if let Some(user) = self.state.names.find(name).filter(|_| !records.is_empty()) {
                    self.sessions.fits(user);
                }
                Ok(SmallVec::new())
            }
            Err(Stop::Wait(keys)) => Ok(keys),
            Err(Stop::Refused(_) | Stop::Index(_)) => Ok(SmallVec::new()),
        }
    }
}
