//! Whether the server can do its work, for a load balancer: anybody may ask, so the database is asked once a second at most.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use tokio::time::timeout;

use super::Central;

/// The last answer of the database.
#[derive(Default)]
pub(super) struct Health {
    last: Mutex<Option<(Instant, bool)>>,
    asking: tokio::sync::Mutex<()>,
}

impl Health {
    /// Whether the database answers: by an answer no older than `kept`, or by asking it. While somebody asks, others get the answer before.
    async fn check(&self, kept: Duration, ask: impl Future<Output = bool>) -> bool {
        let known = self.last();
        if let Some((at, healthy)) = known
            && at.elapsed() < kept
        {
            return healthy;
        }
        let _asking = match (self.asking.try_lock(), known) {
            (Ok(asking), _) => asking,
            (Err(_), Some((_, healthy))) => return healthy,
            // Nothing is known before the first answer.
            (Err(_), None) => {
                let asking = self.asking.lock().await;
                if let Some((_, healthy)) = self.last() {
                    return healthy;
                }
                asking
            }
        };
        let healthy = ask.await;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), healthy));
        healthy
    }

    fn last(&self) -> Option<(Instant, bool)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn health(State(central): State<Central>) -> (StatusCode, &'static str) {
    let ask = async { matches!(timeout(central.limits.database_wait, central.store.ping()).await, Ok(Ok(()))) };
    if central.health.check(central.limits.health_kept, ask).await {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn the_database_is_asked_again_only_when_the_answer_is_old() {
        let health = Health::default();
        assert!(health.check(LONG, async { true }).await);
        assert!(health.check(LONG, async { panic!("the answer is young") }).await);
        assert!(!health.check(Duration::ZERO, async { false }).await);
        assert!(!health.check(LONG, async { true }).await);
        assert!(health.check(Duration::ZERO, async { true }).await);
    }

    #[tokio::test]
    async fn while_the_database_hangs_only_one_waits_for_it() {
        let health = Health::default();
        assert!(health.check(LONG, async { true }).await);
        let mut stuck = Box::pin(health.check(Duration::ZERO, pending()));
        assert!(timeout(Duration::ZERO, &mut stuck).await.is_err());
        assert!(health.check(Duration::ZERO, async { panic!("somebody asks already") }).await);
    }

    #[tokio::test]
    async fn who_asks_before_the_first_answer_shares_it() {
        let health = Health::default();
        let (answer, answered) = tokio::sync::oneshot::channel();
        let first = health.check(Duration::ZERO, async { answered.await.unwrap() });
        let second = health.check(Duration::ZERO, async { panic!("somebody asks already") });
        let (first, second, sent) = tokio::join!(first, second, async { answer.send(true) });
        assert_eq!((first, second, sent), (true, true, Ok(())));
    }
}
