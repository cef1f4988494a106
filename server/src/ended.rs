//! Says when a credential is good no more, to whatever it opened, and knows whether any of that is left. Judges no credential.

use std::sync::Arc;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Cancelled when a credential is good no more. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Ended(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    token: CancellationToken,
    /// What ends this one too, and is in use as long as this one is there.
    #[expect(dead_code, reason = "held so that the giver is in use: that is all it is for")]
    giver: Option<Ended>,
}

impl Ended {
    /// Ends with this one or before it.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Held { token: self.0.token.child_token(), giver: Some(self.clone()) }))
    }

    pub fn cancel(&self) {
        self.0.token.cancel();
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.token.is_cancelled()
    }

    pub fn cancelled(&self) -> WaitForCancellationFutureOwned {
        self.0.token.clone().cancelled_owned()
    }

    /// Whether anybody else holds it: an open socket, a request under way, a ticket or session that it gave.
    pub fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_use_until_the_last_of_what_it_opened_is_gone() {
        let key = Ended::default();
        assert!(!key.is_in_use());
        let ticket = key.child();
        let session = ticket.clone();
        drop(ticket);
        assert!(key.is_in_use() && !session.is_in_use());
        session.cancel();
        assert!(session.is_cancelled() && !key.is_cancelled(), "a child's end is its own");
        drop(session);
        assert!(!key.is_in_use());
        let child = key.child();
        key.cancel();
        assert!(child.is_cancelled());
    }
}
