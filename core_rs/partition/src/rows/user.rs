//! A user: its devices, and whom it blocks.

use compact_str::CompactString;
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::VERSION;
use crate::bytes::{Malformed, Read, Reader, put_bytes, put_flag, put_u64};
use crate::ids::DeviceId;

/// A change of the device list that not all conversations of the user have taken up yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The device.
    pub device: DeviceId,
    /// It is new; otherwise it is no more.
    pub begins: bool,
}

/// See the module. The name is its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    /// Counts records, wrapping.
    pub changes: u16,
    /// Grows with every change of `devices`.
    pub list_version: u32,
    /// In ascending order.
    pub devices: SmallVec<[DeviceId; 2]>,
    /// In the order in which they came about.
    pub fits: ThinVec<Fit>,
    /// Names, in ascending order.
    pub blocked: ThinVec<CompactString>,
}

impl User {
    /// Whether it takes nothing from this user.
    pub fn blocks(&self, name: &str) -> bool {
        self.blocked.binary_search_by(|blocked| blocked.as_str().cmp(name)).is_ok()
    }

    /// Appends the row's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.changes.to_le_bytes());
        put_u64(out, u64::from(self.list_version));
        put_u64(out, self.devices.len() as u64);
        self.devices.iter().for_each(|&device| put_u64(out, u64::from(device)));
        put_u64(out, self.fits.len() as u64);
        for fit in &self.fits {
            put_u64(out, u64::from(fit.device));
            put_flag(out, fit.begins);
        }
        put_u64(out, self.blocked.len() as u64);
        self.blocked.iter().for_each(|name| put_bytes(out, name.as_bytes()));
    }

    /// Reads a row to the end of its bytes.
    ///
    /// # Errors
    /// Whatever [`User::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Read<Self> {
        let reader = &mut Reader::new(bytes);
        super::version(reader, "user row")?;
        let mut user = Self { changes: reader.fixed16()?, list_version: reader.u32()?, ..Self::default() };
        for _ in 0..reader.count()? {
            let device = reader.u16()?;
            if device == 0 || user.devices.last().is_some_and(|&last| last >= device) {
                return Err(Malformed::Value("devices out of order"));
            }
            user.devices.push(device);
        }
        for _ in 0..reader.count()? {
            user.fits.push(Fit { device: reader.u16()?, begins: reader.flag()? });
        }
        for _ in 0..reader.count()? {
            let name = reader.str()?;
            if user.blocked.last().is_some_and(|last| last.as_str() >= name) {
                return Err(Malformed::Value("blocked users out of order"));
            }
            user.blocked.push(name.into());
        }
        reader.end()?;
        Ok(user)
    }
}
