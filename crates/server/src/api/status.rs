//! What the server says of itself.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Central;
use super::alarms::ShownAlarm;
use super::document::{Relationships, Resource, SelfLink, one, time};
use super::error::ApiError;
use super::request::Bearer;
use crate::repository::Expiring;
use crate::status::{GatewayNumbers, Listener, Severity, Trouble};
use crate::store::{Totals, unix_ms};

#[derive(Serialize)]
struct Attributes {
    version: &'static str,
    started_at: String,
    now: String,
    http: String,
    listeners: Vec<Port>,
    devices: Devices,
    agents_running: usize,
    products: i64,
    devicegroups: i64,
    gateway: Gateway,
    alarms: Vec<ShownAlarm>,
    expiring: Vec<Ending>,
    recent_errors: Vec<Line>,
}

#[derive(Serialize)]
struct Port {
    rule_port: u16,
    address: String,
}

#[derive(Serialize)]
struct Devices {
    total: i64,
    online: usize,
    unassigned: i64,
    revoked: i64,
}

#[derive(Serialize)]
struct Gateway {
    sessions: u64,
    connections: u64,
    handshakes: u64,
    waiting: u64,
    logins: u64,
    enrolments: u64,
    turned_away: BTreeMap<String, u64>,
}

/// What the custodians must sign again.
#[derive(Serialize)]
struct Ending {
    role: &'static str,
    version: u64,
    expires_at: String,
}

#[derive(Serialize)]
struct Line {
    ts: String,
    level: &'static str,
    text: String,
}

pub(super) async fn status(State(central): State<Central>, _: Bearer) -> Result<Response, ApiError> {
    let Totals { products, devicegroups, devices, revoked, unassigned } = central.store.totals().await?;
    let alarms = central.store.alarms(None).await?.into_iter().map(ShownAlarm::from).collect();
    let expiring = central.repository.expiring(central.limits.expiry_warning).await;
    let vitals = &central.vitals;
    Ok(one(Resource {
        kind: "status",
        id: "server".to_owned(),
        links: SelfLink { this: format!("{}/status", central.base) },
        attributes: Attributes {
            version: env!("CARGO_PKG_VERSION"),
            started_at: time(vitals.started_ms),
            now: time(unix_ms()),
            http: vitals.http.to_string(),
            listeners: vitals.listeners.iter().map(Port::from).collect(),
            devices: Devices { total: devices, online: central.bus.connected(), unassigned, revoked },
            agents_running: central.bus.agents(),
            products,
            devicegroups,
            gateway: (vitals.gateway)().into(),
            alarms,
            expiring: expiring.into_iter().map(Ending::from).collect(),
            recent_errors: vitals.troubles.latest().into_iter().map(Line::from).collect(),
        },
        relationships: Relationships::default(),
    }))
}

impl From<&Listener> for Port {
    fn from(listener: &Listener) -> Self {
        Self { rule_port: listener.rule_port, address: listener.address.to_string() }
    }
}

impl From<Expiring> for Ending {
    fn from(Expiring { role, version, expires }: Expiring) -> Self {
        Self { role, version, expires_at: time(expires.saturating_mul(1000)) }
    }
}

impl From<GatewayNumbers> for Gateway {
    fn from(numbers: GatewayNumbers) -> Self {
        Self {
            sessions: numbers.sessions,
            connections: numbers.connections,
            handshakes: numbers.handshakes,
            waiting: numbers.waiting,
            logins: numbers.logins,
            enrolments: numbers.enrolments,
            turned_away: numbers.turned_away.into_iter().collect(),
        }
    }
}

impl From<Trouble> for Line {
    fn from(trouble: Trouble) -> Self {
        let level = match trouble.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        Self { ts: time(trouble.at_ms), level, text: trouble.text }
    }
}
