//! The signed result of a device's self-test: verified, kept, and told to people when something was possible that must not be.

use std::sync::Arc;

use keys::public::SpkiHash;
use protocol::limits::LIMITS;
use protocol::self_test::{SelfTest, SelfTestOutcome};

use super::{Done, Session};
use crate::fleet::AlarmKind;
use crate::gateway::edge::{Caller, Edge};
use crate::gateway::judgement::raise_for;
use crate::gateway::report::Reporter;

impl Session {
    /// Takes what the device sent as the result of its self-test. One that does not count is told in the device's log.
    pub(super) fn self_test(&mut self, caller: &Caller, cose: Vec<u8>) {
        let (edge, report) = (Arc::clone(&caller.edge), self.report);
        self.busy = Some(Box::pin(async move {
            take(edge, report, cose).await;
            Done::Taken
        }));
    }
}

async fn take(edge: Arc<Edge>, report: Reporter, cose: Vec<u8>) {
    let said = match verified(&edge, report.device, &cose).await {
        Ok(result) => keep(&edge, report, &result, &cose).await,
        Err(why) => Some(format!("Self-test not taken: {why}")),
    };
    if let Some(text) = said {
        edge.bus.log(report.status(edge.now(), &text)).await;
    }
}

async fn verified(edge: &Edge, device: SpkiHash, cose: &[u8]) -> Result<SelfTest, String> {
    let found = edge.store.device_login(device).await.map_err(|error| error.to_string())?;
    let identity = found.ok_or("the device is not known any more")?.identity;
    SelfTest::verify(&identity, cose, &LIMITS).map_err(|error| error.to_string())
}

/// Keeps a verified result; what is to be said about it.
async fn keep(edge: &Edge, report: Reporter, result: &SelfTest, cose: &[u8]) -> Option<String> {
    if let Err(error) = edge.store.keep_self_test(report.device, cose).await {
        tracing::error!(device = %report.device, %error, "the result of a self-test could not be kept");
        return Some("Self-test not kept: the server could not write it".to_owned());
    }
    let with = |outcome| result.checks.iter().filter(move |check| check.outcome == outcome);
    let possible: Vec<_> = with(SelfTestOutcome::NotRefused).map(|check| check.id.as_str()).collect();
    if !possible.is_empty() {
        let text = format!("its self-test found possible what must be refused: {}", possible.join(", "));
        raise_for(edge, report.device, report.production, AlarmKind::SelfTest, &text).await;
    }
    let count = |outcome| with(outcome).count();
    Some(format!(
        "Self-test: {} refused, {} not refused, {} not available",
        count(SelfTestOutcome::Refused),
        possible.len(),
        count(SelfTestOutcome::NotAvailable)
    ))
}
