//! What a change of the fleet means for the devices and agents that run now.

use keys::public::SpkiHash;
use protocol::reason::CloseReason;

use super::Central;
use super::error::ApiError;
use crate::bus::AgentControl;
use crate::fleet::{Demand, DeploymentId, Device, GroupId};
use crate::store::DeviceName;

/// When devices restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// At once.
    Now,
    /// When their apps are ready, unless they are older than their group supports.
    WhenReady,
}

/// Devices of a group that are read from the store at one time.
const PAGE: u32 = 500;

/// Does a change to its end, also when the client goes away or its time is up: a device that is revoked in the store must not keep its
/// session because nobody waits for the answer any more.
pub(super) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(change).await.map_err(|error| ApiError::internal(&error))?
}

impl Central {
    /// Finds a device by its id or, while it is assigned, by its agent's id.
    pub(super) async fn device(&self, text: &str) -> Result<Device, ApiError> {
        let missing = || ApiError::not_found("device");
        // A device id has 16 characters and an agent's id 12, so that no text is both.
        let name =
            text.parse().map(DeviceName::Id).or_else(|_| text.parse().map(DeviceName::Agent)).map_err(|_| missing())?;
        self.store.device(name).await?.ok_or_else(missing)
    }

    /// Starts a device's agent and app anew on the current deployment of its group.
    pub(super) async fn restart(&self, device: &SpkiHash) {
        self.bus.control_agents(AgentControl::Reload(*device)).await;
        self.bus.restart_app(device);
    }

    /// As [`Self::restart`], but an app that is new enough decides itself when it is ready; its agent follows it. What runs is told by the
    /// agent, which is on the deployment of its device.
    pub(super) async fn restart_when_ready(&self, device: &SpkiHash, group: GroupId) -> Result<(), ApiError> {
        let runs = self.bus.agent_deployment(device).filter(|_| self.bus.is_connected(device));
        let minimum = self.store.group(group).await?.and_then(|group| group.min_supported_deployment);
        let is_new_enough = match (runs, minimum) {
            (Some(runs), Some(minimum)) => {
                self.made_ms(runs).await? >= Some(self.made_ms(minimum).await?.unwrap_or_default())
            }
            _ => false,
        };
        if is_new_enough {
            self.bus.restart_app_when_ready(device);
        } else {
            self.restart(device).await;
        }
        Ok(())
    }

    async fn made_ms(&self, deployment: DeploymentId) -> Result<Option<i64>, ApiError> {
        Ok(self.store.deployment(deployment).await?.map(|found| found.created_ms))
    }

    /// Starts the agents and apps of a whole group anew.
    pub(super) async fn restart_group(&self, group: GroupId, how: Restart) -> Result<(), ApiError> {
        let mut after = None;
        loop {
            let devices = self.store.devices_of_group(group, after, PAGE).await?;
            for device in &devices {
                match how {
                    Restart::Now => self.restart(device).await,
                    Restart::WhenReady => self.restart_when_ready(device, group).await?,
                }
            }
            after = devices.last().copied();
            if devices.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    /// Demands where the identity keys of a group's devices live; connected ones whose keys live elsewhere are told to go, and refused when
    /// they come back.
    pub(super) async fn demand_attestation(&self, group: GroupId, demand: Demand) -> Result<(), ApiError> {
        self.store.demand_attestation(group, demand).await?;
        let mut after = None;
        loop {
            let devices = self.store.devices_of_group(group, after, PAGE).await?;
            for device in &devices {
                let proved = self.store.proved(*device).await?;
                if proved.is_some_and(|proved| !demand.is_met_by(proved.attestation)) {
                    self.bus.close_session(device, CloseReason::Drain);
                }
            }
            after = devices.last().copied();
            if devices.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    /// Ends a device's agent and takes its app away.
    pub(super) async fn stop(&self, device: &SpkiHash) {
        self.bus.control_agents(AgentControl::Stop(*device)).await;
        self.bus.app_changed(device);
    }

    /// Ends a device's session and agent: it is revoked, or no longer known.
    pub(super) async fn cut_off(&self, device: &SpkiHash) {
        self.bus.close_session(device, CloseReason::Revoked);
        self.bus.control_agents(AgentControl::Stop(*device)).await;
    }
}
