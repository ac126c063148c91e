//! Records of a user's row.

use crate::records;
use crate::records::UserChange;
use crate::rows::{Fit, User};

/// Applies a change of devices or of blocked users.
pub fn change(row: &mut User, record: &records::User<'_>) {
    row.changes = record.change;
    match record.what {
        UserChange::Device(fit) => {
            match (row.devices.binary_search(&fit.device), fit.begins) {
                (Err(place), true) => row.devices.insert(place, fit.device),
                (Ok(place), false) => drop(row.devices.remove(place)),
                _ => return,
            }
            row.list_version = row.list_version.wrapping_add(1);
            row.fits.push(Fit { ..fit });
        }
        UserChange::Fitted => {
            if !row.fits.is_empty() {
                row.fits.remove(0);
            }
        }
        UserChange::Block { name, off } => {
            match (row.blocked.binary_search_by(|blocked| blocked.as_str().cmp(name)), off) {
                (Err(place), false) => row.blocked.insert(place, name.into()),
                (Ok(place), true) => drop(row.blocked.remove(place)),
                _ => {}
            }
        }
    }
}
