//! Hot frames are read and written without touching the allocator.
//!
//! A test of its own because the allocator is the process's.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;

use smallvec::smallvec;
use wire::types::{Ack, ClientFrame, Message, Read, Send, ServerFrame, Target};
use wire::{decode_client, message};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn reading_a_hot_frame_allocates_nothing() {
    let send = Send {
        id: Cow::Borrowed(&[7; 12]),
        target: Target::User("bob".into()),
        body: Cow::Borrowed(&[9; 160]),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: Vec::new(),
    };
    let hot = [
        ClientFrame::Send(send),
        ClientFrame::Ack(Ack {
            conversation: Some([1; 16]),
            seq: 300,
            receipts: Cow::Borrowed(&[8; 20]),
            accepted: smallvec![([1; 16], 70_000)],
        }),
        ClientFrame::Read(Read { conversation: [1; 16], seq: 300, authors: Vec::new() }),
        ClientFrame::Ping { nonce: u64::MAX },
    ];
    for frame in hot {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(allocations(|| assert_eq!(decode_client(&bytes).unwrap(), frame)), 0, "{frame:?}");
    }
}

#[test]
fn writing_a_hot_frame_into_a_buffer_with_room_allocates_nothing() {
    let mut stored = Vec::new();
    let message = Message {
        conversation: [1; 16],
        seq: 300,
        sender: "ann",
        device: 1,
        id: &[7; 12],
        time: 1_700_000_000_000,
        body: &[9; 160],
        media: Vec::new(),
        to: "",
        change: None,
    };
    message::encode_stored(&message, &mut stored);
    let hot = [
        ServerFrame::Message(message),
        ServerFrame::Accepted { id: &[7; 12], conversation: [1; 16], seq: 300, time: 1_700_000_000_000 },
        ServerFrame::Receipt { conversation: [1; 16], user: "bob", delivered: 300, read: 299, version: &[8; 20] },
    ];
    let mut out = Vec::with_capacity(1024);
    for frame in hot {
        out.clear();
        assert_eq!(allocations(|| frame.encode(&mut out)), 0, "{frame:?}");
        assert_eq!(out.len(), frame.encoded_len());
    }
    out.clear();
    assert_eq!(allocations(|| message::put_message_frame(&mut out, &stored, Some("bob"))), 0);
}
