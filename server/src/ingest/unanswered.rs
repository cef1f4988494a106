//! Work whose caller may go away: it is done to its end all the same. Knows nothing of what it is.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::task::TaskTracker;

/// Works in its caller's task. Dropped before it is done, it goes on by itself: the log has the events, and a hung-up phone changes nothing of what
/// becomes of them.
pub(super) struct Unanswered<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    open: Option<Pin<Box<F>>>,
    tasks: TaskTracker,
}

impl<F> Unanswered<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    pub(super) fn new(work: F, tasks: TaskTracker) -> Self {
        Self { open: Some(Box::pin(work)), tasks }
    }
}

impl<F> Future for Unanswered<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        // Taken out meanwhile: what panics is not tried again.
        let mut open = this.open.take().expect("it is not polled again once it is done");
        let polled = open.as_mut().poll(context);
        if polled.is_pending() {
            this.open = Some(open);
        }
        polled
    }
}

impl<F> Drop for Unanswered<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        if let Some(open) = self.open.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.tasks.spawn(async move { drop(open.await) });
        }
    }
}
