//! A load against a server that is played here, on a real socket: it accepts, or keeps silent, and remembers what came.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::frames::{client, put_bytes, put_head, put_number, take_varint};
use super::{Flow, Load, Options, Until, carrier, transcript};

/// A conversation, and seqs below 128.
type Seqs = (u128, Vec<u8>);

/// A name is its token, too.
struct Server {
    address: std::net::SocketAddr,
    answers: Arc<AtomicBool>,
    sends: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Conversation and seqs of each part of an ack that confirms messages.
    confirmed: Arc<Mutex<Vec<Seqs>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, sends) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
        let confirmed = Arc::new(Mutex::new(Vec::new()));
        let (answering, seen, told) = (answers.clone(), sends.clone(), confirmed.clone());
        let seqs = Arc::new(Mutex::new(HashMap::new()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answering, seen, told, seqs) = (answering.clone(), seen.clone(), told.clone(), seqs.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &answering, (&seen, &told), &seqs));
            }
        });
        Self { address, answers, sends, confirmed }
    }

    fn load(&self) -> Load {
        let options = Options {
            server: self.address,
            host: "test".into(),
            websocket: false,
            tag: 7,
            body: 32,
            ack_at_once: true,
            opening: 10,
        };
        Load::new(options).unwrap()
    }
}

fn serve(
    mut stream: TcpStream,
    answers: &AtomicBool,
    (seen, confirmed): (&Mutex<Vec<Vec<u8>>>, &Mutex<Vec<Seqs>>),
    seqs: &Mutex<HashMap<(u128, Vec<u8>), u64>>,
) -> Option<()> {
    let mut magic = [0; 5];
    stream.read_exact(&mut magic).ok()?;
    assert_eq!(magic, carrier::MAGIC);
    let mut name = String::new();
    loop {
        let frame = read_frame(&mut stream)?;
        let (number, inner) = field(&mut &frame[..]);
        let mut answer = Vec::new();
        if number == client::HELLO {
            name = String::from_utf8(inner_field(&inner, 2)).unwrap();
            put_head(&mut answer, 1, 0);
        } else if number == client::SEND {
            let id = inner_field(&inner, 1);
            seen.lock().unwrap().push(id.clone());
            if !answers.load(Ordering::SeqCst) {
                continue;
            }
            let conversation = transcript::direct_id(&name, std::str::from_utf8(&inner_field(&inner, 2)).unwrap());
            let mut seqs = seqs.lock().unwrap();
            let next = seqs.keys().filter(|(transcript, _)| *transcript == conversation).count() as u64 + 1;
            let seq = *seqs.entry((conversation, id.clone())).or_insert(next);
            let mut accepted = Vec::new();
            put_bytes(&mut accepted, 1, &id);
            put_bytes(&mut accepted, 2, &conversation.to_be_bytes());
            put_number(&mut accepted, 3, seq);
            put_bytes(&mut answer, 2, &accepted);
        } else if number == client::ACK {
            let mut rest = &inner[..];
            while !rest.is_empty() {
                if let (4, accepted) = field(&mut rest) {
                    let conversation = inner_field(&accepted, 1).try_into().map(u128::from_be_bytes).unwrap();
                    confirmed.lock().unwrap().push((conversation, inner_field(&accepted, 2)));
                }
            }
            continue;
        } else {
            continue;
        }
        let mut whole = Vec::new();
        carrier::put_header(&mut whole, false, answer.len());
        whole.extend_from_slice(&answer);
        stream.write_all(&whole).ok()?;
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = Vec::new();
    while length.last().is_none_or(|byte| byte & 0x80 != 0) {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        length.push(byte[0]);
    }
    let mut frame = vec![0; take_varint(&mut &length[..]).unwrap() as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn field(rest: &mut &[u8]) -> (u8, Vec<u8>) {
    let tag = take_varint(rest).unwrap();
    if tag & 7 == 0 {
        return ((tag >> 3) as u8, take_varint(rest).unwrap().to_be_bytes().to_vec());
    }
    let len = take_varint(rest).unwrap() as usize;
    let (bytes, after) = rest.split_at(len);
    *rest = after;
    ((tag >> 3) as u8, bytes.to_vec())
}

fn inner_field(inner: &[u8], wanted: u8) -> Vec<u8> {
    let mut rest = inner;
    while !rest.is_empty() {
        let (number, value) = field(&mut rest);
        if number == wanted {
            return value;
        }
    }
    panic!("no field {wanted}");
}

fn until(load: &mut Load, done: impl Fn(&Load) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done(load) {
        load.run(20, None).unwrap();
        assert_eq!(load.trouble(), [""; 0]);
        assert!(Instant::now() < deadline, "{:?}", load.counts());
    }
}

const EACH: Flow = Flow { window: 1, limit: 2, until: Until::Accepted };

#[test]
fn a_client_with_more_streams_than_it_may_have_in_flight_sends_all_of_them() {
    let server = Server::start();
    let mut load = server.load();
    let sender = load.add_peer("sender", "sender");
    let streams = 2 * super::send::WAITING as u32;
    for number in 0..streams {
        let name = format!("recipient {number}");
        let recipient = load.add_peer(&name, &name);
        load.add_direct(sender, recipient, EACH);
    }
    load.connect(&[sender]);
    until(&mut load, |load| load.counts().open == 1);
    load.send(true);
    until(&mut load, |load| load.counts().accepted == u64::from(2 * streams));
    assert_eq!(load.counts().unaccepted, 0);
    // Each stream has its own conversation, and so one or two parts, none twice.
    let mut confirmed: Vec<_> = std::mem::take(&mut *server.confirmed.lock().unwrap());
    assert!(confirmed.iter().all(|(_, seqs)| matches!(seqs[..], [1] | [2] | [1, 2])), "{confirmed:?}");
    assert!(confirmed.len() as u32 > streams, "{} of {streams}", confirmed.len());
    confirmed.sort_unstable();
    assert!(confirmed.is_sorted_by(|a, b| a < b), "{confirmed:?}");
    assert_eq!(server.sends.lock().unwrap().len(), 2 * streams as usize);
}

#[test]
fn what_was_not_accepted_is_sent_again_with_the_same_ids_in_the_same_order() {
    let server = Server::start();
    server.answers.store(false, Ordering::SeqCst);
    let mut load = server.load();
    let sender = load.add_peer("sender", "sender");
    for name in ["ann", "bob", "eve"] {
        let recipient = load.add_peer(name, name);
        load.add_direct(sender, recipient, EACH);
    }
    load.connect(&[sender]);
    until(&mut load, |load| load.counts().open == 1);
    load.send(true);
    until(&mut load, |_| server.sends.lock().unwrap().len() == 3);
    let first = std::mem::take(&mut *server.sends.lock().unwrap());
    load.leave(&[sender]);
    assert_eq!(load.counts().wanted, 0);
    server.answers.store(true, Ordering::SeqCst);
    load.connect(&[sender]);
    until(&mut load, |load| load.counts().accepted == 6);
    assert_eq!(server.sends.lock().unwrap()[..3], first);
    assert_eq!(load.counts().sent, 6, "a repeat is no new message");
    // Nobody was there to get them: that is what is wrong in the end.
    assert!(load.verify().iter().any(|what| what.contains("has messages up to 0 of 2")), "{:?}", load.verify());
}

#[test]
fn a_server_that_ends_a_connection_is_trouble() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut load = Server { address: listener.local_addr().unwrap(), ..Server::start() }.load();
    let peer = load.add_peer("ann", "ann");
    load.connect(&[peer]);
    load.run(20, None).unwrap();
    drop(listener.accept().unwrap());
    load.run(1000, None).unwrap();
    assert_eq!(load.trouble().len(), 1);
    assert!(load.trouble()[0].starts_with("ann: the "), "{:?}", load.trouble());
}
