//! Any valid frame, for property tests.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Union;
use smallvec::SmallVec;

use super::any_group::{cursors, group, manage, stored_change};
use crate::codes;
use crate::types::*;

/// Numbers near the edges of each varint length as often as others.
pub fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), any::<u64>(), (0u32..64, 0u64..2).prop_map(|(bit, less)| (1u64 << bit) - less), 0u64..1000]
}

fn small() -> impl Strategy<Value = u32> {
    number().prop_map(|value| value as u32)
}

pub fn id16() -> impl Strategy<Value = ConversationId> {
    any::<[u8; 16]>()
}

pub fn user() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9.@]{1,64}", "[^\\p{C}]{1,16}", Just("\"\\/<é😀>".to_owned())]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{0,40}", any::<String>()]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    // Around the lengths at which a varint grows, too.
    prop_oneof![
        9 => vec(any::<u8>(), 0..4),
        9 => vec(any::<u8>(), 100..200),
        1 => vec(any::<u8>(), 16_380..16_390),
    ]
}

fn media() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 1..=MAX_MEDIA_ID), 0..=3)
}

fn device() -> impl Strategy<Value = u32> {
    prop_oneof![1u32..20, 1u32..]
}

fn list() -> impl Strategy<Value = DeviceList<'static>> {
    (user(), number(), vec(small(), 0..20)).prop_map(|(user, version, devices)| DeviceList {
        user: Cow::Owned(user),
        version,
        devices: devices.into(),
    })
}

fn bodies() -> impl Strategy<Value = Vec<DeviceBody<'static>>> {
    proptest::collection::btree_map((user(), device()), vec(any::<u8>(), 0..200), 0..5).prop_map(|bodies| {
        let each = |((user, device), body)| DeviceBody { user: Cow::Owned(user), device, body: Cow::Owned(body) };
        bodies.into_iter().map(each).collect()
    })
}

fn target() -> impl Strategy<Value = Target<'static>> {
    prop_oneof![
        user().prop_map(|user| Target::User(Cow::Owned(user))),
        id16().prop_map(Target::Conversation),
        (user(), device()).prop_map(|(user, device)| Target::Device(Cow::Owned(user), device)),
    ]
}

fn send() -> impl Strategy<Value = Send<'static>> {
    (vec(any::<u8>(), 1..=MAX_ID), target(), body(), bodies(), vec(list(), 0..3), media()).prop_map(
        |(id, target, body, bodies, lists, media)| Send {
            id: Cow::Owned(id),
            target,
            body: if bodies.is_empty() { Cow::Owned(body) } else { Cow::Borrowed(&[]) },
            bodies,
            lists,
            media: media.into_iter().map(Cow::Owned).collect(),
        },
    )
}

/// A receipt version.
fn version() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=MAX_VERSION)
}

/// Messages that were accepted, some neighbours of one conversation.
fn accepted() -> impl Strategy<Value = SmallVec<[(ConversationId, u64); 1]>> {
    let runs = vec((id16(), vec(number(), 1..4)), 0..3);
    runs.prop_map(|runs| runs.into_iter().flat_map(|(id, seqs)| seqs.into_iter().map(move |seq| (id, seq))).collect())
}

pub fn client_frame() -> impl Strategy<Value = ClientFrame<'static>> {
    let hello = (small(), text(), any::<bool>(), "[ -~]{0,64}", small(), small(), version()).prop_map(
        |(protocol, token, receive, client, window_messages, window_bytes, receipts)| {
            ClientFrame::Hello(Hello {
                protocol,
                token: Cow::Owned(token),
                receive,
                client: Cow::Owned(client),
                window_messages,
                window_bytes,
                receipts: Cow::Owned(receipts),
            })
        },
    );
    let ack = (prop::option::of(id16()), number(), version(), accepted()).prop_map(
        |(conversation, seq, receipts, accepted)| {
            let (seq, receipts) = (conversation.map_or(0, |_| seq), Cow::Owned(receipts));
            ClientFrame::Ack(Ack { conversation, seq, receipts, accepted })
        },
    );
    let read = (id16(), number(), vec(user(), 0..4)).prop_map(|(conversation, seq, authors)| {
        ClientFrame::Read(Read { conversation, seq, authors: authors.into_iter().map(Cow::Owned).collect() })
    });
    prop_oneof![
        2 => hello,
        4 => send().prop_map(ClientFrame::Send),
        2 => ack,
        2 => read,
        1 => number().prop_map(|nonce| ClientFrame::Ping { nonce }),
        1 => number().prop_map(|nonce| ClientFrame::Pong { nonce }),
        1 => user().prop_map(|user| ClientFrame::DevicesGet { user: Cow::Owned(user) }),
        4 => manage(),
        1 => prop::option::of(id16()).prop_map(|conversation| ClientFrame::GroupGet { conversation }),
        1 => (id16(), number()).prop_map(|(conversation, seq)| ClientFrame::ProgressGet { conversation, seq }),
        1 => (prop_oneof![Just(String::new()), user()], any::<bool>())
            .prop_map(|(user, off)| ClientFrame::Block { user: Cow::Owned(user), off }),
    ]
}

/// Server frames borrow; a test may leak what they borrow from.
pub fn kept<T: ?Sized>(value: impl Into<Box<T>>) -> &'static T {
    Box::leak(value.into())
}

pub fn str() -> impl Strategy<Value = &'static str> {
    text().prop_map(kept::<str>)
}

fn bytes() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..40).prop_map(kept::<[u8]>)
}

fn limits() -> impl Strategy<Value = Limits> {
    (vec(small(), 10), number(), number()).prop_map(|(n, idle_ms, hold_ms)| Limits {
        body_bytes: n[0],
        frame_bytes: n[1],
        id_bytes: n[2],
        window_messages: n[3],
        window_bytes: n[4],
        unaccepted_messages: n[5],
        unaccepted_bytes: n[6],
        devices: n[7],
        repeats: n[8],
        idle_ms,
        hold_ms,
        group_members: n[9],
    })
}

fn message() -> impl Strategy<Value = ServerFrame<'static>> {
    let change = prop::option::weighted(0.3, stored_change().prop_map(Box::new));
    (id16(), number(), str(), small(), bytes(), number(), body(), media(), str(), change).prop_map(
        |(conversation, seq, sender, device, id, time, body, media, to, change)| {
            let (body, media) = (kept(body), media.into_iter().map(kept::<[u8]>).collect());
            ServerFrame::Message(Message { conversation, seq, sender, device, id, time, body, media, to, change })
        },
    )
}

fn welcome() -> impl Strategy<Value = ServerFrame<'static>> {
    (str(), small(), number(), limits(), number(), number(), str(), any::<bool>(), bytes()).prop_map(
        |(user, device, time, limits, pending_messages, pending_conversations, server, receive, receipts)| {
            ServerFrame::Welcome(Welcome {
                user,
                device,
                time,
                limits,
                pending_messages,
                pending_conversations,
                server,
                receive,
                receipts,
            })
        },
    )
}

fn error() -> impl Strategy<Value = ServerFrame<'static>> {
    let retry = prop_oneof![Just(Retry::Never), Just(Retry::After), Just(Retry::Reconnect), Just(Retry::Changed)];
    (0..codes::ALL.len(), text(), retry, number(), bytes(), prop::option::of(id16()), vec(list(), 0..3)).prop_map(
        |(code, message, retry, retry_ms, id, conversation, lists)| {
            let (code, message) = (codes::ALL[code].name, Cow::Owned(message));
            ServerFrame::Error(ErrorFrame { code, message, retry, retry_ms, id, conversation, lists })
        },
    )
}

pub fn server_frame() -> impl Strategy<Value = ServerFrame<'static>> {
    use SkipReason::*;
    let reason = Union::new([Expired, Cap, NoBody, Lost, Blocked].map(Just));
    let accepted = (bytes(), id16(), number(), number())
        .prop_map(|(id, conversation, seq, time)| ServerFrame::Accepted { id, conversation, seq, time });
    let receipt =
        (id16(), str(), number(), number(), bytes()).prop_map(|(conversation, user, delivered, read, version)| {
            ServerFrame::Receipt { conversation, user, delivered, read, version }
        });
    let skip = (id16(), number(), number(), reason, str(), bytes()).prop_map(
        |(conversation, from, to, reason, user, version)| ServerFrame::Skip {
            conversation,
            from,
            to,
            reason,
            user,
            version,
        },
    );
    let progress = (id16(), number(), cursors()).prop_map(|(conversation, seq, cursors)| ServerFrame::Progress {
        conversation,
        seq,
        cursors,
    });
    let receipts = (prop::option::of(id16()), cursors(), bytes())
        .prop_map(|(conversation, cursors, version)| ServerFrame::Receipts { conversation, cursors, version });
    prop_oneof![
        2 => welcome(),
        2 => accepted,
        4 => message(),
        2 => receipt,
        1 => skip,
        2 => error(),
        1 => number().prop_map(|nonce| ServerFrame::Ping { nonce }),
        1 => (number(), number()).prop_map(|(nonce, time)| ServerFrame::Pong { nonce, time }),
        1 => Just(ServerFrame::Replaced),
        1 => (str(), number()).prop_map(|(reason, reconnect_ms)| ServerFrame::Goodbye { reason, reconnect_ms }),
        1 => list().prop_map(ServerFrame::Devices),
        2 => group(),
        1 => vec(id16(), 0..4).prop_map(|ids| ServerFrame::Groups(kept::<[ConversationId]>(ids))),
        1 => progress,
        1 => receipts,
        1 => vec(str(), 0..4).prop_map(ServerFrame::Blocks),
    ]
}
