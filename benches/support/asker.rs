//! One kept connection that asks the server: as cheap to the machine that it shares with the server as may be. Never looks into a body.

use std::fmt;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Server;

/// More than any answer here has.
const BUFFER_BYTES: usize = 8 << 20;

pub(crate) struct Asker {
    stream: TcpStream,
    /// The lines of each request's head that are the same in all.
    lines: String,
    buffer: Vec<u8>,
    request: String,
}

/// Where in the buffer the answer's body lies.
#[derive(Clone, Copy)]
struct Body {
    begin: usize,
    end: usize,
}

impl Asker {
    pub(crate) async fn connect(server: &Server) -> Self {
        let host = server.url.strip_prefix("http://").expect("plain");
        let stream = TcpStream::connect(host).await.expect("connected");
        stream.set_nodelay(true).expect("a socket");
        let lines = format!("Host: {host}\r\nAuthorization: Bearer {}\r\n", server.key);
        Self { stream, lines, buffer: vec![0; BUFFER_BYTES], request: String::new() }
    }

    /// The body of the answer, which must be 200; `accept` is a subtype of `application`.
    pub(crate) async fn ask(&mut self, address: fmt::Arguments<'_>, accept: &str) -> &[u8] {
        self.request.clear();
        fmt::write(&mut self.request, format_args!("GET {address} HTTP/1.1\r\n{}Accept: application/{accept}\r\n\r\n", self.lines)).expect("memory");
        self.stream.write_all(self.request.as_bytes()).await.expect("sent");
        let (mut filled, mut body) = (0, None);
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await.expect("read");
            assert!(read > 0, "the server closed the connection");
            filled += read;
            body = body.or_else(|| body_of(&self.buffer[..filled]));
            if let Some(Body { begin, end }) = body
                && filled >= end
            {
                assert_eq!(filled, end, "one answer to one request");
                return &self.buffer[begin..end];
            }
        }
    }
}

/// Reads a head, once it is there.
fn body_of(bytes: &[u8]) -> Option<Body> {
    const MOST_HEAD_BYTES: usize = 2_048;
    let begin = bytes.windows(4).take(MOST_HEAD_BYTES).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..begin]).expect("a head is text");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    Some(Body { begin, end: begin + length.parse::<usize>().expect("a number") })
}
