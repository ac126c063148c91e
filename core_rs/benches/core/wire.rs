//! Frames from bytes and to bytes, against what `prost` generates.

use std::borrow::Cow;
use std::hint::black_box;

use _core::wire::types::{Ack, ClientFrame, Message, Send, ServerFrame, Target};
use _core::wire::{decode_client, message};
use prost::Message as _;
use smallvec::smallvec;

use crate::generated;
use crate::measure::Bench;

const BODY: [u8; 160] = [0x5a; 160];

pub fn cases(bench: &mut Bench) {
    decode_send(bench);
    decode_ack(bench);
    encode_message(bench);
    frame_stored(bench);
}

fn decode_send(bench: &mut Bench) {
    let mut bytes = Vec::new();
    ClientFrame::Send(Send {
        id: Cow::Borrowed(b"0123456789ab"),
        target: Target::User(Cow::Borrowed("somebody")),
        body: Cow::Borrowed(&BODY),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: Vec::new(),
    })
    .encode(&mut bytes);
    let prost = || {
        let frame = generated::ClientFrame::decode(black_box(bytes.as_slice())).unwrap();
        match frame.frame {
            Some(generated::Client::Send(send)) => assert_eq!(send.body.len(), BODY.len()),
            _ => panic!("another frame"),
        }
    };
    bench.compare("decode a send of 160 B", 1, ("prost", prost), || match decode_client(black_box(&bytes)).unwrap() {
        ClientFrame::Send(send) => assert_eq!(send.body.len(), BODY.len()),
        _ => panic!("another frame"),
    });
}

fn decode_ack(bench: &mut Bench) {
    let mut bytes = Vec::new();
    let (conversation, receipts) = ([7; 16], Cow::Borrowed(&[5; 20][..]));
    let accepted = smallvec![(conversation, 4000)];
    ClientFrame::Ack(Ack { conversation: Some(conversation), seq: 1 << 20, receipts, accepted }).encode(&mut bytes);
    let prost = || {
        let frame = generated::ClientFrame::decode(black_box(bytes.as_slice())).unwrap();
        match frame.frame {
            Some(generated::Client::Ack(ack)) => assert_eq!(ack.seq, 1 << 20),
            _ => panic!("another frame"),
        }
    };
    bench.compare("decode an ack", 1, ("prost", prost), || match decode_client(black_box(&bytes)).unwrap() {
        ClientFrame::Ack(ack) => assert_eq!(ack.seq, 1 << 20),
        _ => panic!("another frame"),
    });
}

fn sample() -> Message<'static> {
    Message {
        conversation: [7; 16],
        seq: 1 << 20,
        sender: "somebody",
        device: 1,
        id: b"0123456789ab",
        time: 1_750_000_000_000,
        body: &BODY,
        media: Vec::new(),
        to: "",
        change: None,
    }
}

fn generated_sample() -> generated::ServerFrame {
    let message = generated::StoredMessage {
        conversation: vec![7; 16],
        seq: 1 << 20,
        sender: "somebody".into(),
        device: 1,
        id: b"0123456789ab".to_vec(),
        time: 1_750_000_000_000,
        body: BODY.to_vec(),
        ..Default::default()
    };
    generated::ServerFrame { frame: Some(generated::Server::Message(message)) }
}

fn encode_message(bench: &mut Bench) {
    let (frame, theirs) = (ServerFrame::Message(sample()), generated_sample());
    let expected = theirs.encode_to_vec();
    let (mut a, mut b) = (Vec::with_capacity(512), Vec::with_capacity(512));
    let prost = || {
        a.clear();
        black_box(&theirs).encode(&mut a).unwrap();
        assert_eq!(a.len(), expected.len());
    };
    bench.compare("encode a message of 160 B", 1, ("prost", prost), || {
        b.clear();
        black_box(&frame).encode(&mut b);
        assert_eq!(b.len(), expected.len());
    });
    assert!(b.is_empty() || b == expected, "another encoding than the generated codec's");
}

fn frame_stored(bench: &mut Bench) {
    let mut stored = Vec::new();
    message::encode_stored(&sample(), &mut stored);
    let expected = generated_sample().encode_to_vec();
    let (mut a, mut b) = (Vec::with_capacity(512), Vec::with_capacity(512));
    let copy = || {
        a.clear();
        a.extend_from_slice(black_box(&expected));
        black_box(&a);
    };
    bench.compare("a message frame from its stored form", 1, ("copying as many bytes", copy), || {
        b.clear();
        message::put_message_frame(&mut b, black_box(&stored), None);
        assert_eq!(b.len(), expected.len());
    });
    assert!(b.is_empty() || b == expected, "another frame than the generated codec's");
}
