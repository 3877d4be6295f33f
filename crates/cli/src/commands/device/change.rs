//! `vouch device rename|move|unassign|restart|revoke|delete`: what changes one device or several.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::central::{Central, LoginFile};
use crate::names::{self, id};
use crate::output::Output;

/// Give a device a name.
#[derive(Args, Debug)]
pub(crate) struct Rename {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    /// Its new name; "" takes the name away.
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Rename {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let device = names::device(&mut central, &self.device)?;
        let renamed = central.rename("devices", &device, &self.name)?;
        let text = match self.name.as_str() {
            "" => format!("device {} has no name now", id(&device)?),
            name => format!("device {} is now called {name}", id(&device)?),
        };
        output.result(&renamed, &text);
        Ok(())
    }
}

/// Move devices into a device group, from another one or from none; they start its application at once.
#[derive(Args, Debug)]
pub(crate) struct Move {
    /// The devices' ids, names or agent ids.
    #[arg(value_name = "DEVICE", required = true)]
    devices: Vec<String>,

    /// The device group's name or id.
    #[arg(long, value_name = "GROUP")]
    group: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Move {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let group = names::group(&mut central, &self.group)?;
        let mut ids = Vec::new();
        for device in &self.devices {
            ids.push(id(&names::device(&mut central, device)?)?.to_owned());
        }
        central.post(&format!("/devicegroups/{}/relationships/devices", id(&group)?), &named(&ids))?;
        let name = group["attributes"]["name"].as_str().unwrap_or_default();
        output.result(&json!({ "devices": ids, "group": group["id"] }), &format!("{} in group {name}", ids.join(", ")));
        Ok(())
    }
}

/// Take a device out of its group: its application and its agent end.
#[derive(Args, Debug)]
pub(crate) struct Unassign {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Unassign {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let device = names::device(&mut central, &self.device)?;
        let id = id(&device)?;
        let was = unassign(&mut central, &device)?;
        let text = if was { "is in no group now" } else { "was in no group" };
        output.result(&json!({ "device": id, "unassigned": was }), &format!("device {id} {text}"));
        Ok(())
    }
}

/// Restart a device's app and agent on the current deployment.
#[derive(Args, Debug)]
pub(crate) struct Restart {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    /// Ask the app that runs (`server.onshutdown`) and let it restart when it is ready, unless it is older than its group supports.
    #[arg(long)]
    when_ready: bool,

    #[command(flatten)]
    file: LoginFile,
}

impl Restart {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let device = names::device(&mut central, &self.device)?;
        let id = id(&device)?;
        let (how, said) = if self.when_ready {
            ("conditional_restart", "restarts when it is ready")
        } else {
            ("restart", "restarts")
        };
        central.post(&format!("/devices/{id}/{how}"), &Value::Null)?;
        output.result(
            &json!({ "device": id, "restarted": true, "when_ready": self.when_ready }),
            &format!("device {id} {said}"),
        );
        Ok(())
    }
}

/// Refuse a device from now on and end its live session.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Revoke {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let device = names::device(&mut central, &self.device)?;
        let id = id(&device)?;
        central.post(&format!("/devices/{id}/revoke"), &Value::Null)?;
        output.result(
            &json!({ "device": id, "revoked": true }),
            &format!("device {id} is revoked: its session has ended and it is refused from now on"),
        );
        Ok(())
    }
}

/// Let a device in again that was refused since its vault is older than before, with the vault it has now.
///
/// Do it only when you know why, for example after its storage was restored from a copy: otherwise somebody put back an old state of it, or
/// copied it. What the device proves next counts, however old it is.
#[derive(Args, Debug)]
pub(crate) struct AcceptOlderVault {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    #[command(flatten)]
    file: LoginFile,
}

impl AcceptOlderVault {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let device = names::device(&mut central, &self.device)?;
        let id = id(&device)?;
        central.post(&format!("/devices/{id}/accept_older_vault"), &Value::Null)?;
        output.result(
            &json!({ "device": id, "accepted": true }),
            &format!("device {id} is let in with the vault it has now; it comes by itself, within minutes"),
        );
        Ok(())
    }
}

/// Say that you have looked into a device's alarms; an older vault must be accepted instead.
#[derive(Args, Debug)]
pub(crate) struct DismissAlarms {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    #[command(flatten)]
    file: LoginFile,
}

impl DismissAlarms {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let device = names::device(&mut central, &self.device)?;
        let id = id(&device)?;
        central.delete(&format!("/devices/{id}/alarms"), &Value::Null)?;
        output.result(&json!({ "device": id, "dismissed": true }), &format!("the alarms of device {id} are dismissed"));
        Ok(())
    }
}

/// Forget a device with its log, its diary and what its agent saved. A revoked one stays known, since it must stay refused.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    /// Take it out of its group first.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    file: LoginFile,
}

impl Delete {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let device = names::device(&mut central, &self.device)?;
        let id = id(&device)?;
        if self.force {
            unassign(&mut central, &device)?;
        }
        central.delete(&format!("/devices/{id}"), &Value::Null)?;
        output.result(&json!({ "device": id, "deleted": true }), &format!("device {id} is forgotten"));
        Ok(())
    }
}

/// Takes a device out of its group; whether it was in one.
fn unassign(central: &mut Central, device: &Value) -> Result<bool> {
    let Some(group) = device["relationships"]["devicegroup"]["id"].as_str() else { return Ok(false) };
    central.delete(&format!("/devicegroups/{group}/relationships/devices"), &named(&[id(device)?.to_owned()]))?;
    Ok(true)
}

fn named(ids: &[String]) -> Value {
    json!({ "data": ids.iter().map(|id| json!({ "type": "device", "id": id })).collect::<Vec<_>>() })
}
