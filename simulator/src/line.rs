//! A slow line to a server, such as a phone's: what the server sends comes with so many bits a second and so much later. Changes no byte.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What a line carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// From the server; the other way it carries everything.
    pub bits_per_s: f64,
    /// Each way.
    pub delay: Duration,
}

/// A line that was laid: it carries connections until it is dropped.
#[derive(Debug)]
pub struct Laid {
    address: SocketAddr,
    _carrying: JoinSet<()>,
}

/// What the line takes in ahead: the rest waits where a real one would let it wait, at the server.
const BUFFER_BYTES: u32 = 4 << 10;
/// Taken at once, about: an Ethernet frame.
const PIECE_BYTES: usize = 1_500;
/// Pieces under way on a line with a delay.
const UNDER_WAY: usize = 4_096;

impl Line {
    /// Lays it to a server.
    pub async fn lay(self, host: &str) -> io::Result<Laid> {
        let to = tokio::net::lookup_host(host).await?.next().ok_or_else(|| io::Error::other(format!("`{host}` has no address")))?;
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(self.carry(near, to));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Laid { address, _carrying: carrying })
    }

    /// Until either end is gone.
    async fn carry(self, near: TcpStream, to: SocketAddr) {
        let Ok(far) = connect(to).await else { return };
        // Small pieces are to go at once; where that cannot be said the line is a little slower.
        drop(near.set_nodelay(true));
        drop(far.set_nodelay(true));
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = pass(far_in, near_out, Some(self.bits_per_s), self.delay) => {}
            () = pass(near_in, far_out, None, self.delay) => {}
        }
    }
}

impl Laid {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.connect(to).await
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, bits_per_s: Option<f64>, delay: Duration) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let takes = async {
        let mut free = Instant::now();
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(bytes @ 1..) = from.read(&mut piece).await {
            if let Some(bits_per_s) = bits_per_s {
                free = free.max(Instant::now()) + Duration::from_secs_f64(bytes as f64 * 8.0 / bits_per_s);
                tokio::time::sleep_until(free).await;
            }
            if sender.send((Instant::now() + delay, piece[..bytes].to_vec())).await.is_err() {
                return;
            }
        }
        drop(sender);
    };
    let gives = async {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(takes, gives);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_arrives_whole_and_not_faster_than_the_line_carries() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let line = Line { bits_per_s: 800_000.0, delay: Duration::from_millis(20) };
        let laid = line.lay(&server.local_addr().expect("an address").to_string()).await.expect("laid");
        let mut near = TcpStream::connect(laid.address()).await.expect("connected");
        let (mut far, _) = server.accept().await.expect("accepted");
        let sent: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).take(50_000).collect();
        let began = Instant::now();
        let (written, read) = tokio::join!(far.write_all(&sent), async {
            let mut read = vec![0; sent.len()];
            near.read_exact(&mut read).await.map(|_| read)
        });
        written.expect("written");
        assert_eq!(read.expect("read"), sent);
        assert!(began.elapsed() >= Duration::from_millis(500), "{:?} for half a second's worth", began.elapsed());
        near.write_all(b"back").await.expect("written");
        let mut back = [0; 4];
        far.read_exact(&mut back).await.expect("read");
        assert_eq!(&back, b"back");
    }
}
