//! A phone whose app was recorded: sends the very bytes of a recording over a socket and reads the very bytes of the answer. Knows no protocol.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::DEADLINE;

pub(crate) struct Phone {
    address: String,
    key: String,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Phone {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        Self { address: url.trim_start_matches("http://").to_owned(), key: key.to_owned() }
    }

    /// Sends `tests/recordings/{name}.http`. What stands in braces there is the key, as it is or as the password of HTTP Basic.
    pub(crate) async fn replay(&self, name: &str) -> Reply {
        self.send(&recording(name)).await
    }

    /// Sends a request with its credential in braces.
    pub(crate) async fn send(&self, request: &str) -> Reply {
        let mut request = request.replace("{KEY}", &self.key);
        while let Some(at) = request.find("{BASIC:") {
            let end = at + request[at..].find('}').expect("closed");
            let login = STANDARD.encode(format!("{}:{}", &request[at + "{BASIC:".len()..end], self.key));
            request.replace_range(at..=end, &login);
        }
        let exchange = async {
            let mut stream = TcpStream::connect(&self.address).await.expect("connects");
            stream.write_all(request.as_bytes()).await.expect("written");
            read(&mut stream).await
        };
        tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
    }
}

/// The bytes of a recording.
pub(crate) fn recording(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/recordings/{name}.http"));
    std::fs::read_to_string(&file).expect("a recording")
}

async fn read(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = split(&bytes) {
            let length = head.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(usize::MAX) {
                return Reply { status: head[9..12].parse().expect("a status"), body: body.to_owned(), head: head.to_owned() };
            }
        }
        let count = stream.read(&mut buffer).await.expect("readable");
        if count == 0 {
            let (head, body) = split(&bytes).expect("a whole head");
            return Reply { status: head[9..12].parse().expect("a status"), body: body.to_owned(), head: head.to_owned() };
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

fn split(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).expect("text").split_once("\r\n\r\n")
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}
