use link::Link;
use proptest::prelude::*;

use super::*;

/// The parts of a session, to be borrowed from.
#[derive(Clone, Debug)]
struct Parts {
    user: String,
    bytes: [Vec<u8>; 3],
    session: Saved<'static>,
}

impl Parts {
    fn saved(&self) -> Saved<'_> {
        let [link, output, deferred] = &self.bytes;
        Saved { user: &self.user, link, output, deferred, ..self.session.clone() }
    }
}

prop_compose! {
    fn parts()(
        user in "[a-zA-Zäß0-9 ]{1,16}",
        bytes in any::<[Vec<u8>; 3]>(),
        framing in 0usize..3,
        (receive, device, expires_ms, window) in any::<(bool, u16, u64, [(u32, u32); 2])>(),
        sent in proptest::collection::vec(any::<(ConversationId, u64)>(), 0..5),
    ) -> Parts {
        let (framing, device) = (FRAMINGS[framing], device.max(1));
        let session = Saved {
            framing, receive, user: "", device, expires_ms, window, sent, link: &[], output: &[], deferred: &[],
        };
        Parts { user, bytes, session }
    }
}

/// With a checksum that fits.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    put_u32(&mut bytes, crc);
    bytes
}

fn idle() -> Saved<'static> {
    Saved {
        framing: Framing::WsBinary,
        receive: true,
        user: "ann",
        device: 1,
        expires_ms: 0,
        window: [(256, 1 << 20), (0, 0)],
        sent: Vec::new(),
        link: &[],
        output: &[],
        deferred: &[],
    }
}

#[test]
fn an_idle_session_is_short_whose_link_is_too() {
    let mut link = Vec::new();
    Link::raw().save(&mut link);
    let bytes = Saved { link: &link, ..idle() }.save().expect("a short session");
    assert!(bytes.len() <= 70 + "ann".len(), "{}", bytes.len());
}

#[test]
fn the_bytes_of_version_1_are_these() {
    let saved = Saved { sent: vec![([7; 16], 5)], link: b"l", output: b"oo", expires_ms: 258, ..idle() };
    let expected = [
        &[1, 1, 1, 1, 0, 2, 1, 0, 0, 0, 0, 0, 0][..],
        &[0, 1, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, b'a', b'n', b'n', 1, 0, 0, 0, b'l', 2, 0, 0, 0, b'o', b'o', 0, 0, 0, 0],
        &[1, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 5, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(saved.save(), Some(sealed(expected)));
}

#[test]
fn a_session_of_more_than_2_mib_is_neither_saved_nor_restored_i6() {
    let bytes = idle().save().expect("a short session");
    let output = vec![0; MAX_BYTES - bytes.len()];
    let longest = Saved { output: &output, ..idle() }.save().expect("the longest session");
    assert_eq!(longest.len(), MAX_BYTES);
    assert!(Saved::restore(&longest).is_some());
    let output = vec![0; output.len() + 1];
    assert_eq!(Saved { output: &output, ..idle() }.save(), None);
    let mut longer = longest[..MAX_BYTES - 4].to_vec();
    longer.push(0);
    assert_eq!(Saved::restore(&sealed(longer)), None);
}

#[test]
fn another_version_or_flag_a_device_0_and_a_name_that_cannot_be_are_refused() {
    let bytes = idle().save().expect("a short session");
    let content = &bytes[..bytes.len() - 4];
    for (at, byte) in [(0, 0), (0, 2), (1, 3), (2, 2), (3, 0), (33, 7)] {
        let mut changed = content.to_vec();
        assert_ne!(changed[at], byte);
        changed[at] = byte;
        assert_eq!(Saved::restore(&sealed(changed)), None, "{at}");
    }
    assert_eq!(Saved::restore(&[]), None);
}

proptest! {
    #[test]
    fn a_session_is_restored_as_it_was_saved(parts in parts()) {
        let bytes = parts.saved().save().expect("a short session");
        prop_assert_eq!(Saved::restore(&bytes), Some(parts.saved()));
    }

    #[test]
    fn a_changed_byte_a_cut_and_a_tail_are_refused(parts in parts(), at: usize, change in 1u8.., tail in 1usize..9) {
        let bytes = parts.saved().save().expect("a short session");
        let at = at % bytes.len();
        let mut changed = bytes.clone();
        changed[at] ^= change;
        prop_assert_eq!(Saved::restore(&changed), None);
        prop_assert_eq!(Saved::restore(&bytes[..at]), None);
        let longer = [bytes, vec![0; tail]].concat();
        prop_assert_eq!(Saved::restore(&longer), None);
    }

    /// With a checksum that fits, so that it is the reader that refuses: what it takes is saved as the same bytes, and its
    /// lists are no longer than the bytes allow.
    #[test]
    fn other_bytes_are_refused_or_are_some_session_and_never_panic_i6(
        parts in parts(),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut: usize,
        junk in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
    ) {
        let mut bytes = parts.saved().save().expect("a short session");
        bytes.truncate(bytes.len() - 4);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if cut % 4 == 0 {
            bytes.truncate(cut / 4 % bytes.len());
        }
        if let Some(junk) = junk {
            bytes.truncate(40);
            bytes.extend(junk);
        }
        let bytes = sealed(bytes);
        if let Some(saved) = Saved::restore(&bytes) {
            prop_assert!(24 * saved.sent.len() < bytes.len());
            prop_assert_eq!(saved.save(), Some(bytes.clone()));
        }
    }
}
