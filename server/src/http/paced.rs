//! A request's body that must keep a pace, so that a client who sends it drop by drop does not hold a connection and memory for ever. Reads no content.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as AxumBody;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use crate::formats::problem::Problem;
use crate::http::problem::Kind;

/// What a body's time is reckoned by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// For the whole body, however long it is.
    pub total: Duration,
    /// Slower than this over all of it, after a grace, is too slow.
    pub min_bytes_per_s: u32,
}

/// A phone may need this long to get going.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum BodyFault {
    #[error("the body came too slowly")]
    TooSlow,
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

#[derive(Debug)]
pub struct PacedBody {
    body: Incoming,
    pace: Pace,
    read: u64,
    began: Option<Instant>,
    /// Made when the body is waited for the first time: most are there at once.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl PacedBody {
    pub fn new(body: Incoming, pace: Pace) -> Self {
        Self { body, pace, read: 0, began: None, deadline: None }
    }

    /// Polls the time that the bytes read so far have bought.
    fn overdue(&mut self, context: &mut Context<'_>) -> bool {
        let until = *self.began.get_or_insert_with(Instant::now) + self.pace.allows(self.read);
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if deadline.deadline() != until {
            deadline.as_mut().reset(until);
        }
        deadline.as_mut().poll(context).is_ready()
    }
}

impl Pace {
    /// How long a body may have taken by the time that so many bytes of it are there.
    fn allows(&self, read: u64) -> Duration {
        let earned = Duration::from_millis(read.saturating_mul(1000) / u64::from(self.min_bytes_per_s.max(1)));
        GRACE.saturating_add(earned).min(self.total)
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyFault::Broken(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if self.overdue(context) => Poll::Ready(Some(Err(BodyFault::TooSlow))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The whole body of a request, of at most `max` bytes; or why there is none.
pub async fn whole(body: AxumBody, max: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, max).await.map_err(|error| fault(&error, max))
}

fn fault(error: &axum::Error, max: usize) -> Problem {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Kind::TooLarge.says(format!("at most {max} bytes a request"));
        }
        if let Some(BodyFault::TooSlow) = error.downcast_ref() {
            return Kind::RequestTimeout.says("the body came too slowly; nothing of it was stored");
        }
        cause = error.source();
    }
    Kind::MalformedBody.says("the body broke off, or its chunks are not what HTTP says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_buy_time_up_to_the_whole() {
        let pace = Pace { total: Duration::from_mins(1), min_bytes_per_s: 100 };
        let seconds = [0, 100, 1_000, 10_000].map(|read| pace.allows(read).as_secs());
        assert_eq!(seconds, [5, 6, 15, 60]);
    }
}
