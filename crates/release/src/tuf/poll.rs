//! Runs a future whose parts are all there already.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What the future comes to, if it does not wait for anything.
pub(super) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
