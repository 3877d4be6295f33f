//! `vouch device list`: all devices with what is known of them now.

use std::collections::HashMap;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use jiff::Timestamp;
use rustix::termios::tcgetwinsize;
use serde_json::Value;

use crate::central::{Central, LoginFile, PAGE_SIZE};
use crate::moment;
use crate::names::{self, id};
use crate::output::{Output, Tone};
use crate::table::{self, Cell, Table};

/// List the devices that central knows: since when connected or last seen, from where, on which OS and application.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those of this device group, by its name or id.
    #[arg(long, value_name = "GROUP", conflicts_with = "product")]
    group: Option<String>,

    /// Only those of this product, by its name or id.
    #[arg(long, value_name = "PRODUCT")]
    product: Option<String>,

    /// Only those in no group.
    #[arg(long, conflicts_with_all = ["group", "product"])]
    unassigned: bool,

    /// Only those that are connected.
    #[arg(long)]
    online: bool,

    /// Only those that are not connected.
    #[arg(long, conflicts_with = "online")]
    offline: bool,

    /// Show them again and again on this terminal, until Ctrl-C.
    #[arg(long)]
    watch: bool,

    /// How many seconds pass between two looks with --watch.
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,

    #[command(flatten)]
    file: LoginFile,
}

impl List {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let path = self.path(&mut central)?;
        if self.watch {
            return self.watch(&mut central, &path, output);
        }
        let devices = self.devices(&mut central, &path, usize::MAX)?;
        table::list(output, &devices, self.none(), || {
            table(&devices, &names::by_id(&mut central, "/devicegroups")?, Timestamp::now())
        })
    }

    fn none(&self) -> &'static str {
        let all = self.group.is_none() && self.product.is_none() && !self.unassigned && !self.online && !self.offline;
        if all {
            "no device yet: make a token for one with `vouch enrolment-token`"
        } else {
            "none of the devices: `vouch device list` shows all"
        }
    }

    fn path(&self, central: &mut Central) -> Result<String> {
        let filter = match &self.product {
            _ if self.unassigned => "?filter[devicegroup.owner.id]=null".to_owned(),
            Some(product) => names::in_product(central, Some(product))?,
            None => names::in_group(central, self.group.as_deref())?,
        };
        Ok(format!("/devices{filter}"))
    }

    /// At most about `most` of those that are wanted.
    fn devices(&self, central: &mut Central, path: &str, most: usize) -> Result<Vec<Value>> {
        let wanted = |device: &Value| {
            let online = device["attributes"]["device_online"] == true;
            (!self.online || online) && (!self.offline || !online)
        };
        let enough = |devices: &[Value]| devices.iter().filter(|device| wanted(device)).count() > most;
        let mut devices = central.list_until(path, PAGE_SIZE, enough)?;
        devices.retain(wanted);
        Ok(devices)
    }

    fn watch(&self, central: &mut Central, path: &str, output: &Output) -> Result<()> {
        ensure!(
            stdout().is_terminal() && !output.is_json(),
            "--watch redraws a terminal: without one, run `vouch device list --json` as often as you like"
        );
        let groups = names::by_id(central, "/devicegroups")?;
        loop {
            // Asked each time: the window may have another size now.
            let (rows, columns) = tcgetwinsize(stdout()).map_or((24, 80), |size| (size.ws_row, size.ws_col));
            let room = usize::from(rows).saturating_sub(3).max(1);
            let devices = self.devices(central, path, room)?;
            let now = Timestamp::now();
            let shown = devices.get(..room).unwrap_or(&devices);
            let mut lines = vec![format!("{}; every {} s, until Ctrl-C", moment::shown(now), self.every)];
            lines.extend(table(shown, &groups, now)?.lines(Some(usize::from(columns))));
            if devices.len() > shown.len() {
                lines.push("there are more: choose with --group, --product, --online or --offline".to_owned());
            }
            output.redraw(&lines)?;
            std::thread::sleep(Duration::from_secs(self.every));
        }
    }
}

fn table(devices: &[Value], groups: &HashMap<Value, Value>, now: Timestamp) -> Result<Table> {
    let mut table =
        Table::new(&["DEVICE", "NAME", "STATE", "FOR", "ADDRESS", "PROFILE", "KEYS", "OS", "APP", "FREE", "GROUP"]);
    for device in devices {
        let attributes = &device["attributes"];
        let text = |name: &str| attributes[name].as_str().unwrap_or_default();
        let since = match &attributes["device_state_changed_at"] {
            Value::Null => String::new(),
            time => moment::since(moment::of(time)?, now),
        };
        let free = attributes["free_memory"].as_u64().map_or_else(String::new, |bytes| format!("{} kB", bytes / 1_000));
        table.add(vec![
            Cell::plain(id(device)?),
            Cell::plain(text("name")),
            state(attributes),
            Cell::plain(since),
            Cell::plain(text("ip_address")),
            Cell::plain(text("tls_profile")),
            keys(attributes),
            Cell::plain(text("swversion")),
            Cell::plain(text("deployment_sha").get(..8).unwrap_or_default()),
            Cell::plain(free),
            Cell::plain(names::name_of(groups, &device["relationships"]["devicegroup"]["id"])),
        ]);
    }
    Ok(table)
}

/// Where its identity key lives.
fn keys(attributes: &Value) -> Cell {
    match attributes["attestation_level"].as_str() {
        Some(level @ "software") => Cell::toned(Tone::Quiet, level),
        Some(level) => Cell::plain(level),
        None => Cell::toned(Tone::Quiet, "not reported"),
    }
}

fn state(attributes: &Value) -> Cell {
    if attributes["revoked"] == true {
        Cell::toned(Tone::Bad, "revoked")
    } else if attributes["alarms"].as_array().is_some_and(|alarms| !alarms.is_empty()) {
        let online = if attributes["device_online"] == true { "online" } else { "offline" };
        Cell::toned(Tone::Bad, format!("{online}, ALARM"))
    } else if attributes["device_online"] == true {
        Cell::toned(Tone::Good, "online")
    } else if attributes["device_state_changed_at"].is_null() {
        Cell::toned(Tone::Quiet, "never seen")
    } else {
        Cell::toned(Tone::Quiet, "offline")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(attributes: Value) -> String {
        let device = json!({ "id": "0011223344556677", "attributes": attributes,
                             "relationships": { "devicegroup": { "id": "g" } } });
        let groups = HashMap::from([(json!("g"), json!({ "attributes": { "name": "shop" } }))]);
        let now = "2026-01-31T10:05:00Z".parse().unwrap();
        table(&[device], &groups, now).unwrap().lines(None).remove(1)
    }

    #[test]
    fn a_connected_device_shows_since_when_and_from_where() {
        let line = shown(json!({
            "name": "till\n2", "device_online": true, "device_state_changed_at": "2026-01-31T08:00:00.000Z",
            "ip_address": "192.0.2.7", "tls_profile": "modern", "attestation_level": "tpm", "swversion": "1.2.3", "free_memory": 123_456,
            "deployment_sha": "0123456789abcdef", "revoked": false,
        }));
        for part in
            ["till 2", "online", "2 h 5 min", "192.0.2.7", "modern", "tpm", "1.2.3", "01234567 ", "123 kB", "shop"]
        {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn a_revoked_device_is_not_shown_as_online_and_a_new_one_not_as_lost() {
        assert!(shown(json!({ "revoked": true, "device_online": true })).contains("revoked"));
        assert!(shown(json!({ "device_online": false, "device_state_changed_at": null })).contains("never seen"));
        let seen = json!({ "device_online": false, "device_state_changed_at": "2026-01-31T10:04:00.000Z" });
        assert!(shown(seen).contains("offline"));
        let alarmed = json!({ "device_online": true, "alarms": [{ "kind": "vault-fell" }] });
        assert!(shown(alarmed).contains("online, ALARM"));
    }
}
