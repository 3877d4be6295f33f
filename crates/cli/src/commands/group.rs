//! `vouch group`: devices of a product that run the same deployment.

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::central::{Central, LoginFile};
use crate::names::{self, id};
use crate::output::{Output, Tone, paint};
use crate::table::{self, Cell, Table};

/// What a group may be for, as people write it and as central does.
const TYPES: [(&str, &str); 5] = [
    ("development", "development_devicegroup"),
    ("pre-production", "pre_production_devicegroup"),
    ("production", "production_devicegroup"),
    ("pre-dut", "pre_dut_devicegroup"),
    ("dut", "dut_devicegroup"),
];

/// Create, list, rename and delete device groups, set the constants of their code and what is demanded of their devices, restart them.
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    Create(Create),
    List(List),
    Rename(Rename),
    Env(Env),
    Set(Set),
    Restart(Restart),
    Delete(Delete),
}

impl Group {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Self::Create(command) => command.run(output),
            Self::List(command) => command.run(output),
            Self::Rename(command) => command.run(output),
            Self::Env(command) => command.run(output),
            Self::Set(command) => command.run(output),
            Self::Restart(command) => command.run(output),
            Self::Delete(command) => command.run(output),
        }
    }
}

/// The type of a group, as people write it.
pub(crate) fn shown_type(kind: &Value) -> String {
    let kind = kind.as_str().unwrap_or_default();
    TYPES.iter().find(|(_, wire)| *wire == kind).map_or(kind, |(shown, _)| shown).to_owned()
}

/// Create a device group.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name, which no other group of the product has.
    #[arg(value_name = "NAME")]
    name: String,

    /// The product's name or id; not needed while there is only one.
    #[arg(long, value_name = "PRODUCT")]
    product: Option<String>,

    /// What it is for.
    #[arg(long = "type", default_value = TYPES[0].0, value_name = "TYPE",
          value_parser = PossibleValuesParser::new(TYPES.map(|(shown, _)| shown)))]
    kind: String,

    /// What it is.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    description: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Create {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let product = names::product_or_only(&mut central, self.product.as_deref())?;
        let kind = TYPES.iter().find(|(shown, _)| *shown == self.kind).map_or("", |(_, wire)| wire);
        let body = json!({ "data": {
            "type": kind,
            "attributes": { "name": self.name, "description": self.description },
            "relationships": { "product": { "type": "product", "id": product["id"] } },
        }});
        let made = central.post("/devicegroups", &body)?;
        let id = id(&made["data"])?;
        let next = format!("next: vouch enrolment-token --group {id}, or vouch device move DEVICE --group {id}");
        output
            .result(&made["data"], &format!("{} device group {} ({id})\n{next}", paint(Tone::Good, "made"), self.name));
        Ok(())
    }
}

/// List the device groups.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those of this product, by its name or id.
    #[arg(long, value_name = "PRODUCT")]
    product: Option<String>,

    #[command(flatten)]
    file: LoginFile,
}

impl List {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let path = format!("/devicegroups{}", names::in_product(&mut central, self.product.as_deref())?);
        let groups = central.list(&path)?;
        table::list(output, &groups, "there is no device group yet", || {
            let products = names::by_id(&mut central, "/products")?;
            let mut table = Table::new(&["GROUP", "NAME", "TYPE", "PRODUCT", "KEYS", "DEPLOYED"]);
            for group in &groups {
                let related = &group["relationships"];
                table.add(vec![
                    Cell::plain(id(group)?),
                    Cell::plain(group["attributes"]["name"].as_str().unwrap_or_default()),
                    Cell::plain(shown_type(&group["type"])),
                    Cell::plain(names::name_of(&products, &related["product"]["id"])),
                    Cell::plain(group["attributes"]["attestation"].as_str().unwrap_or_default()),
                    Cell::plain(related["current_deployment"]["id"].as_str().unwrap_or_default()),
                ]);
            }
            Ok(table)
        })
    }
}

/// Give a device group another name.
#[derive(Args, Debug)]
pub(crate) struct Rename {
    /// The group's name or id.
    #[arg(value_name = "GROUP")]
    group: String,

    /// Its new name.
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Rename {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let group = names::group(&mut central, &self.group)?;
        let renamed = central.rename("devicegroups", &group, &self.name)?;
        output.result(&renamed, &format!("device group {} is now called {}", self.group, self.name));
        Ok(())
    }
}

/// Show or set the constants that a group gives to the code deployed to it, as __VARS. They are no secrets.
#[derive(Args, Debug)]
pub(crate) struct Env {
    /// The group's name or id.
    #[arg(value_name = "GROUP")]
    group: String,

    /// What to set; a value that is a number is one in the code too.
    #[arg(value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, Value)>,

    /// What to remove; may be given several times.
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,

    #[command(flatten)]
    file: LoginFile,
}

impl Env {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let group = names::group(&mut central, &self.group)?;
        let mut vars = group["attributes"]["env_vars"].as_object().cloned().unwrap_or_default();
        if self.set.is_empty() && self.remove.is_empty() {
            output.result(&json!(vars), &listed(&vars));
            return Ok(());
        }
        for name in &self.remove {
            if vars.remove(name).is_none() {
                bail!("the group has no constant {name:?}; it has: {}", listed(&vars));
            }
        }
        vars.extend(self.set);
        let attributes = json!({ "env_vars": vars });
        let body = json!({ "data": { "type": group["type"], "id": group["id"], "attributes": attributes } });
        central.patch(&format!("/devicegroups/{}", id(&group)?), &body)?;
        let text = format!("{}\nfrom the next `vouch deploy` on", listed(&vars));
        output.result(&json!(vars), &text);
        Ok(())
    }
}

fn listed(vars: &Map<String, Value>) -> String {
    let lines: Vec<_> = vars.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if lines.is_empty() { "no constants".to_owned() } else { lines.join("\n") }
}

fn pair(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let number = value.parse::<serde_json::Number>().ok();
    Ok((name.to_owned(), number.map_or_else(|| Value::from(value), Value::from)))
}

/// Set what is demanded of a group's devices.
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The group's name or id.
    #[arg(value_name = "GROUP")]
    group: String,

    /// Where their identity keys must live. Devices whose keys live elsewhere are refused from now on.
    #[arg(long, value_name = "LEVEL", value_parser = PossibleValuesParser::new(["any", "hardware", "tpm", "secure-element"]))]
    attestation: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Set {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let group = names::group(&mut central, &self.group)?;
        let attributes = json!({ "attestation": self.attestation });
        let body = json!({ "data": { "type": group["type"], "id": group["id"], "attributes": attributes } });
        let answer = central.patch(&format!("/devicegroups/{}", id(&group)?), &body)?;
        let text = match self.attestation.as_str() {
            "any" => format!("the keys of {}'s devices may live anywhere", self.group),
            level => format!("the keys of {}'s devices must live here: {level}; other devices are refused", self.group),
        };
        output.result(&answer["data"], &text);
        Ok(())
    }
}

/// Restart the apps and agents of all devices of a group on its current deployment.
#[derive(Args, Debug)]
pub(crate) struct Restart {
    /// The group's name or id.
    #[arg(value_name = "GROUP")]
    group: String,

    /// Ask the apps that run (`server.onshutdown`) and let each restart when it is ready, unless it is older than the group supports.
    #[arg(long)]
    when_ready: bool,

    #[command(flatten)]
    file: LoginFile,
}

impl Restart {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let group = names::group(&mut central, &self.group)?;
        let (how, when) =
            if self.when_ready { ("conditional_restart", " when they are ready") } else { ("restart", "") };
        central.post(&format!("/devicegroups/{}/{how}", id(&group)?), &Value::Null)?;
        output.result(
            &json!({ "restarted": group["id"], "when_ready": self.when_ready }),
            &format!("the devices of {} start their apps anew{when}", self.group),
        );
        Ok(())
    }
}

/// Delete a device group without devices, with all that was deployed to it.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The group's name or id.
    #[arg(value_name = "GROUP")]
    group: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Delete {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let group = names::group(&mut central, &self.group)?;
        central.delete(&format!("/devicegroups/{}", id(&group)?), &Value::Null)?;
        output.result(&json!({ "deleted": group["id"] }), &format!("device group {} is deleted", self.group));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_a_number_if_it_looks_like_one() {
        assert_eq!(pair("a=1.5"), Ok(("a".to_owned(), json!(1.5))));
        assert_eq!(pair("url=http://h/?x=1"), Ok(("url".to_owned(), json!("http://h/?x=1"))));
        assert_eq!(pair("a=true"), Ok(("a".to_owned(), json!("true"))));
        assert_eq!(pair("a="), Ok(("a".to_owned(), json!(""))));
        assert!(pair("a").is_err());
    }
}
