//! One connection, spoken by hand and in the same way to Waypost (HTTP/1.1) and to Redis (RESP): requests are bytes made beforehand, of an answer only what tells
//! its end and its count is read. So no client library is measured. Never speaks TLS and never sends twice.

use std::io;

use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) async fn open(host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(256 << 10) })
    }

    /// Sends a request and returns the body of its answer, which must be a 200.
    pub(crate) async fn http(&mut self, request: &[u8]) -> Result<&[u8], String> {
        self.send(request).await?;
        let head = loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]);
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
        });
        let (ok, length) = (text.starts_with("HTTP/1.1 200"), length.ok_or_else(|| format!("no length: {text}"))?);
        while self.buffer.len() < head + length {
            self.more().await?;
        }
        let body = &self.buffer[head..head + length];
        if ok { Ok(body) } else { Err(format!("{} {}", String::from_utf8_lossy(&self.buffer[..head]), String::from_utf8_lossy(body))) }
    }

    /// Sends commands, waits for as many replies, and returns how many elements the last one has; an error among them is an error.
    pub(crate) async fn resp(&mut self, commands: &[u8], replies: usize) -> Result<u64, String> {
        self.send(commands).await?;
        let mut scan = Scan { at: 0, values: replies, first: None };
        while !scan.over(&self.buffer)? {
            self.more().await?;
        }
        Ok(scan.first.unwrap_or(0))
    }

    /// What came since the last request was sent.
    pub(crate) fn answer(&self) -> &[u8] {
        &self.buffer
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), String> {
        self.buffer.clear();
        self.stream.write_all(request).await.map_err(|error| error.to_string())
    }

    async fn more(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// How far the replies of Redis were gone through; goes on where it stopped.
struct Scan {
    at: usize,
    /// How many values are still to come, whole arrays counted as one until they begin.
    values: usize,
    /// The number of elements of the first array.
    first: Option<u64>,
}

impl Scan {
    /// Whether all replies are here.
    fn over(&mut self, buffer: &[u8]) -> Result<bool, String> {
        while self.values > 0 {
            let Some(line) = buffer.get(self.at..).and_then(|rest| memchr(b'\n', rest)) else { return Ok(false) };
            let (kind, text) = (buffer[self.at], &buffer[self.at + 1..self.at + line]);
            let number = || std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<i64>().ok());
            let mut next = self.at + line + 1;
            let mut inside = 0;
            match kind {
                b'-' => return Err(String::from_utf8_lossy(text).into_owned()),
                b'+' | b':' => {}
                b'$' => next += usize::try_from(number().ok_or("no length")?).map_or(0, |length| length + 2),
                b'*' => {
                    inside = usize::try_from(number().ok_or("no length")?).unwrap_or(0);
                    self.first.get_or_insert(inside as u64);
                }
                _ => return Err(format!("no reply of Redis begins with {kind}")),
            }
            if next > buffer.len() {
                return Ok(false);
            }
            self.values += inside;
            self.values -= 1;
            self.at = next;
        }
        Ok(true)
    }
}

/// A command of these words.
pub(crate) fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    let number = |sign: u8, number: usize, out: &mut Vec<u8>| {
        out.push(sign);
        out.extend_from_slice(number.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    number(b'*', words.len(), out);
    for word in words {
        number(b'$', word.len(), out);
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
