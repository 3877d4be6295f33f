//! `vouch deployment`: what was deployed, when and where.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::central::{Central, LoginFile, encoded};
use crate::moment;
use crate::names::{self, id};
use crate::output::{Output, Tone};
use crate::table::{self, Cell, Table};

/// List deployments, and delete those that no device may run any more.
#[derive(Debug, Subcommand)]
pub(crate) enum Deployment {
    List(List),
    Delete(Delete),
}

impl Deployment {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Self::List(command) => command.run(output),
            Self::Delete(command) => command.run(output),
        }
    }
}

/// List deployments, the newest first; `current` is what a group's devices start.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those of this device group, by its name or id.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    #[command(flatten)]
    file: LoginFile,
}

impl List {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let path = format!("/deployments{}", names::in_group(&mut central, self.group.as_deref())?);
        let deployments = central.list(&path)?;
        table::list(output, &deployments, "there is no deployment yet", || {
            let groups = names::by_id(&mut central, "/devicegroups")?;
            let mut table = Table::new(&["DEPLOYMENT", "MADE", "CODE", "GROUP", "STATE", "DESCRIPTION"]);
            for deployment in &deployments {
                let (attributes, group) =
                    (&deployment["attributes"], &deployment["relationships"]["devicegroup"]["id"]);
                let current = groups.get(group).map(|group| &group["relationships"]["current_deployment"]["id"]);
                table.add(vec![
                    Cell::plain(id(deployment)?),
                    Cell::plain(moment::shown(moment::of(&attributes["created_at"])?)),
                    Cell::plain(attributes["sha"].as_str().and_then(|sha| sha.get(..8)).unwrap_or_default()),
                    Cell::plain(names::name_of(&groups, group)),
                    match current == Some(&deployment["id"]) {
                        true => Cell::toned(Tone::Good, "current"),
                        false => Cell::toned(Tone::Quiet, "old"),
                    },
                    Cell::plain(attributes["description"].as_str().unwrap_or_default()),
                ]);
            }
            Ok(table)
        })
    }
}

/// Delete a deployment with its code. Not the group's oldest supported one, or a newer one: `vouch deploy` moves that mark.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The deployment's id.
    #[arg(value_name = "DEPLOYMENT")]
    deployment: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Delete {
    fn run(self, output: &Output) -> Result<()> {
        Central::open(&self.file)?.delete(&format!("/deployments/{}", encoded(&self.deployment)), &Value::Null)?;
        output.result(&json!({ "deleted": self.deployment }), &format!("deployment {} is deleted", self.deployment));
        Ok(())
    }
}
