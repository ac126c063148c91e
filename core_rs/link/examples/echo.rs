//! An echo server around a [`Link`] alone: what the WebSocket conformance suite talks to (`make autobahn`).
//!
//! `echo [HOST:PORT]`, 127.0.0.1:9001 unless told. A message comes back as it came: text, binary, or a raw frame. One
//! thread and one blocking socket for each connection; other HTTP gets its connection closed.

use std::io::{Error, Read as _, Result, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::{env, thread};

use link::{Flow, Link, LinkLimits, Payload, Status, put_header};

/// The suite's largest message is 16 MiB (case 9).
const LIMITS: LinkLimits = LinkLimits { frame_bytes: 32 << 20, http_head_bytes: 8 << 10 };

/// The close code of a message above the limit (RFC 6455, 7.4.1).
const TOO_BIG: u16 = 1009;

fn main() -> Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(&address).map_err(|error| Error::other(format!("{address}: {error}")))?;
    println!("echo on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut link = Link::sniffing();
    let mut buffer = vec![0; 64 << 10];
    let mut out = Vec::new();
    loop {
        let read = stream.read(&mut buffer)?;
        let Some(data) = buffer.get_mut(..read).filter(|data| !data.is_empty()) else { return Ok(()) };
        let status = link.feed(data, &LIMITS, &mut out, &mut |payload: Payload<'_>, out: &mut Vec<u8>| {
            put_header(out, payload.framing, payload.bytes.len());
            out.extend_from_slice(payload.bytes);
            Flow::Continue
        });
        if let Some((_, message)) = link.error() {
            link.close(&mut out, TOO_BIG, &message);
        }
        stream.write_all(&out)?;
        out.clear();
        if status != Status::Open {
            return hang_up(stream, &mut buffer);
        }
    }
}

/// Ends the connection without a reset: what the peer still sends is read and dropped, so that it gets our last bytes.
fn hang_up(mut stream: TcpStream, buffer: &mut [u8]) -> Result<()> {
    stream.shutdown(Shutdown::Write)?;
    while stream.read(buffer)? > 0 {}
    Ok(())
}
