//! What a proof must say beyond being this device's: where the key lives, and that the vault did not fall behind.

use keys::public::SpkiHash;
use protocol::eat::Eat;
use protocol::reason::Refusal;

use super::edge::Edge;
use crate::fleet::proof::level_name;
use crate::fleet::{AlarmKind, DeviceLogin, LogEntry, LogType, Proved};
use crate::store::Judged;

/// Whether a device that proved itself may come in with what it proved; that is on the disk then.
///
/// # Errors
/// Why not; an alarm is raised.
pub(super) async fn judge(edge: &Edge, found: &DeviceLogin, claims: &Eat) -> Result<(), Refusal> {
    level(edge, found, claims).await?;
    let proved = Proved::of(claims, edge.now().unix_ms);
    match edge.store.judge_proof(found.spki, &proved).await {
        Ok(Judged::Known) => Ok(()),
        Ok(Judged::New) => {
            let written = edge.bus.journal().proved(found.spki, proved).await;
            written.await.map_err(|_| {
                edge.store.forget_proof(&found.spki);
                Refusal::Unavailable
            })
        }
        Ok(Judged::Fell(before)) => {
            let shown = |proved: &Proved| proved.generation.map_or("none".to_owned(), |number| number.to_string());
            let what = if proved.fell_behind(&before) {
                "its vault is older than before"
            } else {
                "its vault was older than before, and nobody has accepted that"
            };
            let text = format!(
                "{what} (generation {}, was {}): its storage was put back or copied. If you know why, `vouch device accept-older-vault {}`",
                shown(&proved),
                shown(&before),
                found.id
            );
            raise(edge, found, AlarmKind::VaultFell, &text).await;
            Err(Refusal::VaultFell)
        }
        Err(error) => {
            tracing::error!(device = %found.id, %error, "cannot read what a device proved last; it is told to come back");
            Err(Refusal::Unavailable)
        }
    }
}

/// Whether the device's identity key lives where it was enrolled and where its group wants it.
///
/// # Errors
/// It does not; an alarm is raised.
pub(super) async fn level(edge: &Edge, found: &DeviceLogin, claims: &Eat) -> Result<(), Refusal> {
    if found.takes(claims.attestation) {
        return Ok(());
    }
    let enrolled = found.attestation.map_or("unknown", level_name);
    let text = format!(
        "its keys live elsewhere than they must: proved {}, enrolled {enrolled}, its group demands {}",
        level_name(claims.attestation),
        found.demand
    );
    raise(edge, found, AlarmKind::Attestation, &text).await;
    Err(Refusal::AttestationTooLow)
}

/// Raises an alarm, which is on the disk then, and says so in the device's log and the server's.
pub(super) async fn raise(edge: &Edge, found: &DeviceLogin, kind: AlarmKind, text: &str) {
    raise_for(edge, found.spki, found.production, kind, text).await;
}

/// The same for a device that is connected.
pub(super) async fn raise_for(edge: &Edge, device: SpkiHash, production: bool, kind: AlarmKind, text: &str) {
    match edge.store.raise_alarm(device, kind, text).await {
        Ok(true) => {
            tracing::warn!(device = %device, alarm = kind.as_str(), "{text}");
            let text = format!("ALARM {}: {text}", kind.as_str()).into();
            let line = LogEntry { device, at_ms: edge.now().unix_ms, kind: LogType::Status, production, text };
            edge.bus.log(line).await;
        }
        Ok(false) => {}
        Err(error) => {
            tracing::error!(device = %device, %error, alarm = kind.as_str(), "an alarm could not be kept: {text}")
        }
    }
}
