//! Finds what a person names: by id, by a name that only one has, or since there is only one.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use crate::central::{Central, encoded};

/// What people name.
struct Kind {
    what: &'static str,
    /// Central's collection of them.
    collection: &'static str,
    /// The attribute that people know them by.
    name: &'static str,
    /// The command whose list shows them.
    command: &'static str,
}

const DEVICE: Kind = Kind { what: "device", collection: "devices", name: "name", command: "device" };
const PRODUCT: Kind = Kind { what: "product", collection: "products", name: "name", command: "product" };
const GROUP: Kind = Kind { what: "device group", collection: "devicegroups", name: "name", command: "group" };
const RELEASE: Kind = Kind { what: "release", collection: "releases", name: "version", command: "release" };

/// The id of a resource that central sent.
pub(crate) fn id(resource: &Value) -> Result<&str> {
    resource["id"].as_str().ok_or_else(|| anyhow!("central sent a resource without an id"))
}

/// A device, by its id, its agent's id or its name.
pub(crate) fn device(central: &mut Central, wanted: &str) -> Result<Value> {
    find(central, &DEVICE, wanted)
}

/// A product, by its id or its name.
pub(crate) fn product(central: &mut Central, wanted: &str) -> Result<Value> {
    find(central, &PRODUCT, wanted)
}

/// The same; with none given, the only one there is.
pub(crate) fn product_or_only(central: &mut Central, wanted: Option<&str>) -> Result<Value> {
    find_or_only(central, &PRODUCT, wanted)
}

/// A device group, by its id or its name.
pub(crate) fn group(central: &mut Central, wanted: &str) -> Result<Value> {
    find(central, &GROUP, wanted)
}

/// The same; with none given, the only one there is.
pub(crate) fn group_or_only(central: &mut Central, wanted: Option<&str>) -> Result<Value> {
    find_or_only(central, &GROUP, wanted)
}

/// A release, by its id or its version.
pub(crate) fn release(central: &mut Central, wanted: &str) -> Result<Value> {
    find(central, &RELEASE, wanted)
}

/// A listing's query for what belongs to this device group; everything with none given.
pub(crate) fn in_group(central: &mut Central, wanted: Option<&str>) -> Result<String> {
    filter(central, &GROUP, "devicegroup", wanted)
}

/// A listing's query for what belongs to this product; everything with none given.
pub(crate) fn in_product(central: &mut Central, wanted: Option<&str>) -> Result<String> {
    filter(central, &PRODUCT, "product", wanted)
}

/// All resources of a listing by their ids.
pub(crate) fn by_id(central: &mut Central, path: &str) -> Result<HashMap<Value, Value>> {
    Ok(central.list(path)?.into_iter().map(|resource| (resource["id"].clone(), resource)).collect())
}

/// The name of the one with this id; empty where it is not among them.
pub(crate) fn name_of<'a>(resources: &'a HashMap<Value, Value>, id: &Value) -> &'a str {
    resources.get(id).and_then(|resource| resource["attributes"]["name"].as_str()).unwrap_or_default()
}

fn filter(central: &mut Central, kind: &Kind, relation: &str, wanted: Option<&str>) -> Result<String> {
    let Some(wanted) = wanted else { return Ok(String::new()) };
    Ok(format!("?filter[{relation}.id]={}", id(&find(central, kind, wanted)?)?))
}

fn find(central: &mut Central, kind: &Kind, wanted: &str) -> Result<Value> {
    // Dots mean something in a path, even when they are encoded.
    if !wanted.chars().all(|letter| letter == '.')
        && let Some(answer) = central.found(&format!("/{}/{}", kind.collection, encoded(wanted)))?
    {
        return Ok(answer["data"].clone());
    }
    let all = central.list(&format!("/{}", kind.collection))?;
    only(all.iter().filter(|resource| resource["attributes"][kind.name] == wanted), kind, Some(wanted))
}

fn find_or_only(central: &mut Central, kind: &Kind, wanted: Option<&str>) -> Result<Value> {
    match wanted {
        Some(wanted) => find(central, kind, wanted),
        None => only(central.list(&format!("/{}", kind.collection))?.iter(), kind, None),
    }
}

fn only<'a>(mut found: impl Iterator<Item = &'a Value>, kind: &Kind, wanted: Option<&str>) -> Result<Value> {
    let Kind { what, name, command, .. } = kind;
    match (found.next(), found.next(), wanted) {
        (Some(one), None, _) => Ok(one.clone()),
        (None, _, Some(wanted)) => bail!("there is no {what} {wanted:?}: `vouch {command} list` shows all"),
        (None, _, None) => bail!("there is no {what} yet: make one with `vouch {command} create`"),
        (_, _, Some(wanted)) => {
            bail!("several have the {name} {wanted:?}: give the id of the {what}, which `vouch {command} list` shows")
        }
        (_, _, None) => {
            bail!("there are several {what}s: choose one with --{command}; `vouch {command} list` shows them")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_two_have_names_neither() {
        let named = |id: &str, name: &str| json!({ "id": id, "attributes": { "name": name } });
        let all = [named("1", "a"), named("2", "b"), named("3", "b")];
        let found = |name: &str| {
            only(all.iter().filter(|one| one["attributes"]["name"] == name), &GROUP, Some(name))
                .map_err(|error| error.to_string())
        };
        assert_eq!(found("a").unwrap()["id"], "1");
        assert!(found("b").unwrap_err().contains("give the id"));
        assert!(found("c").unwrap_err().contains("`vouch group list` shows all"));
        assert_eq!(only(all[..1].iter(), &GROUP, None).unwrap()["id"], "1");
        assert!(only(all.iter(), &GROUP, None).unwrap_err().to_string().contains("choose one with --group"));
        assert!(only([].iter(), &GROUP, None).unwrap_err().to_string().contains("no device group yet"));
    }
}
