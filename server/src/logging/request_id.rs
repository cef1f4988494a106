//! Which request this task works on, so that what is logged and answered on its behalf can name it. Never travels beyond its task.

use std::future::Future;

use smol_str::{SmolStr, format_smolstr};

tokio::task_local! {
    static CURRENT: RequestId;
}

/// Longest id taken from a client.
const MAX_BYTES: usize = 64;

/// Visible ASCII without anything that a log or a header would have to quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(SmolStr);

impl RequestId {
    /// The `number`th request of a connection.
    pub fn of(connection: u64, number: u64) -> Self {
        Self(format_smolstr!("{:012x}-{number}", connection & 0xffff_ffff_ffff))
    }

    /// One that a client or a proxy gave, if it is sane.
    pub fn given(text: &[u8]) -> Option<Self> {
        let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        let text = std::str::from_utf8(text).ok().filter(|text| (1..=MAX_BYTES).contains(&text.len()))?;
        text.as_bytes().iter().all(sane).then(|| Self(SmolStr::new(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Runs `work` on behalf of this request.
    pub async fn during<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The request that this task works on, if any.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_when_nothing_in_it_needs_quoting() {
        for sane in ["a", "0192f0c1-2345-7abc-8def-0123456789ab", "trace:1.2_3"] {
            assert_eq!(RequestId::given(sane.as_bytes()).as_ref().map(RequestId::as_str), Some(sane));
        }
        let long = "x".repeat(65);
        for odd in [&b""[..], b"a b", b"a\nb", b"\"", b"{}", "\u{e9}".as_bytes(), b"\xff", long.as_bytes()] {
            assert_eq!(RequestId::given(odd), None, "{odd:?}");
        }
    }

    #[tokio::test]
    async fn it_is_known_during_its_request_and_nowhere_else() {
        assert_eq!(RequestId::current(), None);
        let id = RequestId::of(0xabc, 7);
        assert_eq!(id.as_str(), "000000000abc-7");
        assert_eq!(id.clone().during(async { RequestId::current() }).await, Some(id));
        assert_eq!(RequestId::current(), None);
    }
}
