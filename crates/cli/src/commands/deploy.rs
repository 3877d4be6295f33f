//! `vouch deploy`: sends the two halves of an application to central, which compiles them and hands them to the devices.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use crate::central::{Central, LoginFile, Refused};
use crate::names;
use crate::output::{Output, Tone, paint};

/// Deploy a device app and an agent app to a device group; its devices fetch it at once.
#[derive(Args, Debug)]
pub(crate) struct Deploy {
    /// The device app's source.
    #[arg(long, value_name = "FILE")]
    device: PathBuf,

    /// The agent app's source.
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,

    /// The device group's name or id; not needed while there is only one.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// What this deployment is, for those who read the list later.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// The approval of the owner's quorum, as `vouch release app approve` signed it: where the owner has one and it has not approved
    /// this very device app before.
    #[arg(long, value_name = "FILE")]
    approval: Option<PathBuf>,

    /// Do not restart running devices: they take the deployment at their next start.
    #[arg(long)]
    no_restart: bool,

    /// Ask the apps that run (`server.onshutdown`) and let each take the deployment when it is ready. Apps that do not listen, and those older
    /// than the group's minimum supported deployment, restart at once.
    #[arg(long, conflicts_with = "no_restart")]
    when_ready: bool,

    #[command(flatten)]
    file: LoginFile,
}

impl Deploy {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let (device_code, agent_code) = (read(&self.device)?, read(&self.agent)?);
        let approval = self.approval.as_deref().map(read).transpose()?;
        let mut central = Central::open(&self.file)?;
        let group = names::group_or_only(&mut central, self.group.as_deref())?;
        let body = json!({ "data": {
            "type": "deployment",
            "attributes": { "device_code": device_code, "agent_code": agent_code, "description": self.description.clone().unwrap_or_default(), "approval": approval },
            "relationships": { "devicegroup": { "type": group["type"], "id": group["id"] } },
        }});
        let answer =
            central.post("/deployments", &body).map_err(|error| self.explain(error, &device_code, &agent_code))?;
        let (id, sha) = (text(&answer["data"]["id"]), text(&answer["data"]["attributes"]["sha"]));
        let path = format!("/devicegroups/{}", text(&group["id"]));
        if self.when_ready {
            central.post(&format!("{path}/conditional_restart"), &Value::Null)?;
        } else if !self.no_restart {
            // Every device runs it from now on, so that nothing older needs to be kept for one.
            let minimum = json!({ "data": { "type": "deployment", "id": id } });
            central.put(&format!("{path}/relationships/min_supported_deployment"), &minimum)?;
            central.post(&format!("{path}/restart"), &Value::Null)?;
        }
        let name = text(&group["attributes"]["name"]);
        output.result(
            &json!({ "deployment": id, "sha": sha, "group": group["id"] }),
            &format!("{} {sha}\nto device group {name}; deployment {id}", paint(Tone::Good, "deployed")),
        );
        Ok(())
    }

    /// Turns a compile error into file, row, column, the source line and a caret.
    fn explain(&self, error: anyhow::Error, device_code: &str, agent_code: &str) -> anyhow::Error {
        let Some(refused) = error.downcast_ref::<Refused>() else { return error };
        let Some(entry) =
            refused.body["errors"].as_array().and_then(|errors| errors.iter().find(|entry| entry["code"] == "CX005"))
        else {
            return error;
        };
        let mut report = Vec::new();
        for problem in entry["meta"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let (path, code) = match problem["file"].as_str() {
                Some("agent_code") => (&self.agent, agent_code),
                _ => (&self.device, device_code),
            };
            report.push(point(path, code, problem));
        }
        anyhow!("the application does not compile; nothing was deployed\n{}", report.join("\n"))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn point(path: &Path, code: &str, problem: &Value) -> String {
    let number =
        |name: &str| problem[name].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(1).max(1);
    let (row, column) = (number("row"), number("column"));
    let line = code.lines().nth(row - 1).unwrap_or_default();
    // Tabs stay tabs under the line, so that the caret stands where the reader sees the error.
    let indent: String = line.chars().take(column - 1).map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    format!("{}:{row}:{column}: {}\n  {line}\n  {indent}^", path.display(), text(&problem["text"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_column() {
        let problem = json!({ "file": "device_code", "row": 2, "column": 3, "text": "expression expected" });
        let shown = point(Path::new("device.nut"), "one\n\tx = ;\n", &problem);
        assert_eq!(shown, "device.nut:2:3: expression expected\n  \tx = ;\n  \t ^");
    }

    #[test]
    fn a_place_outside_the_source_is_still_printed() {
        let problem = json!({ "row": 99, "column": 0, "text": "odd" });
        assert_eq!(point(Path::new("a.nut"), "x", &problem), "a.nut:99:1: odd\n  \n  ^");
    }
}
