//! A listener's connections: so many at a time. When all seats are taken, the one gives its seat up
//! that has been waiting for longest, first among those that never sent a whole request; one that is
//! being answered stays.
//!
//! ```text
//!   seated ──► waiting ──whole request──► answering ──answer──► waiting, served
//!                 └── somebody else needs the seat ──► left ◄──────────┘
//! ```

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::lock;

/// How often who needs a seat looks for somebody who may leave.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who leaves first: who never sent a whole request, then who waits for longest since it did.
type Rank = (bool, u64);

/// Who waits, in the order in which they leave.
type Waiting = Arc<Mutex<BTreeMap<Rank, Arc<Notify>>>>;

/// A connection's seat.
pub(crate) struct Seat {
    /// None while its request is answered. Who is not among the waiting with it had to leave.
    rank: Mutex<Option<Rank>>,
    leave: Arc<Notify>,
    waiting: Waiting,
    moments: Arc<AtomicU64>,
}

impl Seat {
    /// The request is whole. Whether it may be answered: somebody else may have the seat now.
    pub fn begin(&self) -> bool {
        let mut rank = lock(&self.rank);
        let Some(waits) = *rank else { return true };
        let stays = lock(&self.waiting).remove(&waits).is_some();
        if stays {
            *rank = None;
        }
        stays
    }

    /// The answer is there.
    pub fn finish(&self) {
        let mut rank = lock(&self.rank);
        if rank.is_none() {
            let waits = (true, self.moments.fetch_add(1, Ordering::Relaxed));
            lock(&self.waiting).insert(waits, Arc::clone(&self.leave));
            *rank = Some(waits);
        }
    }

    /// Returns when the seat was given to somebody else.
    pub async fn left(&self) {
        self.leave.notified().await;
    }
}

/// All seats of a listener.
pub(crate) struct Seats {
    free: Arc<Semaphore>,
    waiting: Waiting,
    moments: Arc<AtomicU64>,
    /// Who was told to leave; gone when it has left.
    leaving: Mutex<Weak<Notify>>,
}

/// A seat that is given back when dropped.
pub(crate) struct Taken {
    pub seat: Arc<Seat>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(rank) = *lock(&self.seat.rank) {
            lock(&self.seat.waiting).remove(&rank);
        }
    }
}

impl Seats {
    pub fn new(count: usize) -> Self {
        let (waiting, moments, leaving) = Default::default();
        Self { free: Arc::new(Semaphore::new(count)), waiting, moments, leaving }
    }

    /// A seat; where none is free, somebody leaves. Waits while all are being answered.
    pub async fn take(&self) -> Taken {
        let permit = loop {
            if self.free.available_permits() == 0 {
                self.make_room();
            }
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(permit) = timeout(LOOK_AGAIN, free).await {
                break permit.expect("never closed");
            }
        };
        let rank = (false, self.moments.fetch_add(1, Ordering::Relaxed));
        let leave = Arc::<Notify>::default();
        lock(&self.waiting).insert(rank, Arc::clone(&leave));
        let (waiting, moments) = (Arc::clone(&self.waiting), Arc::clone(&self.moments));
        let seat = Arc::new(Seat { rank: Mutex::new(Some(rank)), leave, waiting, moments });
        Taken { seat, _permit: permit }
    }

    /// Has the first of those who wait leave, unless somebody is leaving.
    fn make_room(&self) {
        let mut leaving = lock(&self.leaving);
        if leaving.strong_count() > 0 {
            return;
        }
        if let Some((_, leave)) = lock(&self.waiting).pop_first() {
            leave.notify_one();
            *leaving = Arc::downgrade(&leave);
        }
    }
}

/// A request's body; says when it is whole.
pub(super) struct Watched {
    body: Incoming,
    seat: Arc<Seat>,
}

impl Watched {
    /// # Errors
    /// When the request is whole and may not be answered any more.
    fn check(&self) -> Result<(), BoxError> {
        match self.body.is_end_stream() && !self.seat.begin() {
            true => Err("somebody else has the connection's seat".into()),
            false => Ok(()),
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(match self.check() {
            Ok(()) => frame.map(|frame| frame.map_err(BoxError::from)),
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Answers a request of a seat's client by `routes`.
pub(super) async fn attend<S>(
    seat: Arc<Seat>,
    routes: S,
    request: Request<Incoming>,
) -> Result<Response, S::Error>
where
    S: Service<Request<Watched>, Response = Response>,
{
    let request = request.map(|body| Watched { body, seat: Arc::clone(&seat) });
    if request.body().check().is_err() {
        return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    let response = routes.call(request).await;
    seat.finish();
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    /// Who of these had to leave.
    fn gone(seats: &[&Taken]) -> Vec<bool> {
        let left = |taken: &&Taken| {
            lock(&taken.seat.rank)
                .is_some_and(|rank| !lock(&taken.seat.waiting).contains_key(&rank))
        };
        seats.iter().map(left).collect()
    }

    #[tokio::test]
    async fn who_never_asked_leaves_before_who_was_served_and_nobody_who_is_answered() {
        let seats = Seats::new(3);
        let take = || now(seats.take()).expect("a free seat");
        let (served, idle, answered) = (take(), take(), take());
        assert!(served.seat.begin() && answered.seat.begin());
        served.seat.finish();
        assert!(now(seats.take()).is_none(), "not before somebody left");
        assert_eq!(gone(&[&served, &idle, &answered]), [false, true, false]);
        assert!(now(idle.seat.left()).is_some() && !idle.seat.begin());
        drop(idle);
        let newer = take();
        assert!(newer.seat.begin());
        assert!(now(seats.take()).is_none());
        assert_eq!(gone(&[&served, &answered, &newer]), [true, false, false]);
        assert!(now(seats.take()).is_none());
        assert_eq!(gone(&[&answered, &newer]), [false, false], "both are being answered");
        drop(served);
        drop((take(), answered, newer));
        assert_eq!(lock(&seats.waiting).len(), 0);
        assert_eq!(seats.free.available_permits(), 3);
    }
}
