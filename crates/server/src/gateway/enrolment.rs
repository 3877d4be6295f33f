//! Enrolment of one device: its request is checked, its token redeemed, its TLS key certified.

use std::sync::Arc;

use keys::pki::{Csr, lifetime};
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::tls::exporter;
use protocol::enrol::{Enrolled, ServerEnrolment, ServerEnrolmentConfig, ServerEnrolmentEvent, VerifiedRequest};
use protocol::limits::LIMITS;
use protocol::reason::EnrolRefusal;
use tokio::time::timeout;

use super::arrival::{Inside, LAST_WORDS, TurnedAway};
use super::counters::Turned;
use super::edge::{Caller, Edge};
use super::events::GatewayEventKind;
use super::login::tls_facts;
use super::tls_socket::TlsSocket;
use crate::bus::AgentControl;
use crate::fleet::{DeviceLogin, NewDevice, RedeemRefused};
use crate::store::RedeemError;

/// Serves one enrolment connection: one request, one answer.
///
/// # Errors
/// [`TurnedAway`], after the device was told why.
pub(super) async fn serve(
    caller: &Caller,
    mut socket: TlsSocket,
    profile: Profile,
    early: &[u8],
    inside: Inside,
) -> Result<(), TurnedAway> {
    let now = caller.edge.now();
    let exporter =
        exporter(socket.tls()).map_err(|error| TurnedAway::new(Turned::HandshakeFailed, error.to_string()))?;
    caller.emit(|| GatewayEventKind::Handshake(tls_facts(caller, &socket, profile, None)));
    let roots = caller.edge.pki.server_roots.to_cbor();
    let mut machine = ServerEnrolment::new(ServerEnrolmentConfig { roots, exporter, profile, limits: LIMITS }, now);
    machine.handle_bytes(early, now);
    let run = run(caller, &mut socket, &mut machine);
    let outcome =
        timeout(caller.edge.limits.enrolment_deadline, run).await.unwrap_or(Err(Turned::ChallengeDeadline.into()));
    drop(inside);
    socket.close(LAST_WORDS).await;
    outcome
}

async fn run(caller: &Caller, socket: &mut TlsSocket, machine: &mut ServerEnrolment) -> Result<(), TurnedAway> {
    let mut outcome = None;
    loop {
        while let Some(event) = machine.poll_event() {
            outcome = Some(match event {
                ServerEnrolmentEvent::Redeem(request) => answer(caller, machine, *request).await,
                ServerEnrolmentEvent::Refused(reason) => Err(refused(caller, reason)),
                ServerEnrolmentEvent::Broken(error) => Err(TurnedAway::new(Turned::Broken, error.to_string())),
            });
        }
        let gone = |error: std::io::Error| TurnedAway::new(Turned::Gone, error.to_string());
        if let Some(bytes) = machine.poll_transmit() {
            socket.write(&bytes).map_err(gone)?;
        }
        socket.flush().await.map_err(gone)?;
        if let Some(outcome) = outcome {
            return outcome;
        }
        let now = caller.edge.now();
        let read = socket.read(|plain| machine.handle_bytes(plain, now)).await;
        read.map_err(|error| TurnedAway::new(Turned::Gone, error.to_string()))?;
    }
}

/// Redeems the token, then certifies. In this order: without a good token nobody makes the server sign.
async fn answer(caller: &Caller, machine: &mut ServerEnrolment, request: VerifiedRequest) -> Result<(), TurnedAway> {
    let enrolled = match redeem(&caller.edge, &request).await {
        Ok(device) => certify(&caller.edge, request, device).await,
        Err(reason) => Err(reason),
    };
    let (device, chain) = match enrolled {
        Ok(enrolled) => enrolled,
        Err(reason) => {
            machine.refuse(reason);
            return Err(refused(caller, reason));
        }
    };
    let enrolled = Enrolled { unix_ms: caller.edge.now().unix_ms, device_id: device.id, tls_chain: chain };
    machine.enrolled(enrolled).map_err(|error| TurnedAway::new(Turned::Unavailable, error.to_string()))?;
    caller.edge.counters.count_enrolment();
    // Its group may have a deployment already; its agent then lives from now on, not only from the next restart.
    caller.edge.bus.control_agents(AgentControl::Reload(device.spki)).await;
    tracing::info!(device = %device.id, peer = %caller.peer, "device enrolled");
    caller.emit(|| GatewayEventKind::Enrolled {
        device_id: device.id.to_string(),
        identity_spki_sha256: device.spki.to_string(),
    });
    Ok(())
}

async fn redeem(edge: &Edge, request: &VerifiedRequest) -> Result<DeviceLogin, EnrolRefusal> {
    let device = NewDevice {
        identity: Arc::new(request.identity.clone()),
        key_agreement_spki: request.key_agreement.spki_der().to_vec(),
        tls_spki: request.tls_key.spki_hash(),
        profile: request.profile,
        model: request.model.clone(),
        attestation: request.attestation,
    };
    let redeemed = edge.store.redeem_token(&request.token_id, &request.secret_sha256, edge.now().unix_ms, device).await;
    redeemed.map_err(|error| match error {
        RedeemError::Refused(refused) => match refused {
            RedeemRefused::Unknown => EnrolRefusal::UnknownToken,
            RedeemRefused::Expired => EnrolRefusal::TokenExpired,
            RedeemRefused::UsedUp => EnrolRefusal::TokenUsedUp,
            RedeemRefused::AlreadyEnrolled | RedeemRefused::DeviceIdTaken => EnrolRefusal::AlreadyEnrolled,
            RedeemRefused::AttestationTooLow => EnrolRefusal::AttestationTooLow,
            RedeemRefused::Invalid(_) => EnrolRefusal::BadRequest,
        },
        RedeemError::Store(error) => {
            tracing::error!(%error, "cannot redeem an enrolment token; the device is told to try again");
            EnrolRefusal::Unavailable
        }
    })
}

/// Issues the TLS certificate on a blocking thread, a bounded number at a time: a signature in hardware may take a while.
async fn certify(
    edge: &Edge,
    request: VerifiedRequest,
    device: DeviceLogin,
) -> Result<(DeviceLogin, Vec<Vec<u8>>), EnrolRefusal> {
    let _turn = edge.issuing.acquire().await.map_err(|_| EnrolRefusal::Unavailable)?;
    let (pki, now, id) = (Arc::clone(&edge.pki), edge.now(), device.id);
    let issued = tokio::task::spawn_blocking(move || {
        let csr = Csr::parse_and_verify(&request.csr).map_err(|error| error.to_string())?;
        let lifetime = lifetime(KeyPurpose::device_tls(request.profile));
        let issued = pki.device_authority(request.profile).issue_device(&csr, id, now, lifetime);
        issued.map_err(|error| error.to_string())
    });
    match issued.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(certificate) => Ok((device, vec![certificate.to_vec()])),
        Err(error) => {
            tracing::error!(device = %id, error, "cannot certify a device's TLS key; the device is told to try again");
            Err(EnrolRefusal::Unavailable)
        }
    }
}

/// Anybody can bring a request or a token that is none; only who knows a token's secret, or has an enrolled device's key, is worth a warning.
fn refused(caller: &Caller, reason: EnrolRefusal) -> TurnedAway {
    match reason {
        EnrolRefusal::TokenExpired
        | EnrolRefusal::TokenUsedUp
        | EnrolRefusal::AlreadyEnrolled
        | EnrolRefusal::AttestationTooLow => {
            tracing::warn!(peer = %caller.peer, %reason, "enrolment refused");
        }
        _ => tracing::debug!(peer = %caller.peer, %reason, "enrolment refused"),
    }
    TurnedAway::new(Turned::Refused, reason.to_string())
}
