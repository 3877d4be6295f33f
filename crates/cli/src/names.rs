//! Finds what a person names: by id, or by a name that only one has.

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use crate::central::{Central, Refused, encoded};

/// The id of a resource that central sent.
pub(crate) fn id(resource: &Value) -> Result<&str> {
    resource["id"].as_str().ok_or_else(|| anyhow!("central sent a resource without an id"))
}

/// A device, by its id, its agent's id or its name.
pub(crate) fn device(central: &mut Central, wanted: &str) -> Result<Value> {
    if let Some(device) = by_id(central, "devices", wanted)? {
        return Ok(device);
    }
    let devices = central.list("/devices")?;
    only(&devices, "device", wanted, "vouch device list")
}

/// A product, by its id or its name.
pub(crate) fn product(central: &mut Central, wanted: &str) -> Result<Value> {
    if let Some(product) = by_id(central, "products", wanted)? {
        return Ok(product);
    }
    let products = central.list("/products")?;
    only(&products, "product", wanted, "vouch product list")
}

/// A device group, by its id or its name.
pub(crate) fn group(central: &mut Central, wanted: &str) -> Result<Value> {
    if let Some(group) = by_id(central, "devicegroups", wanted)? {
        return Ok(group);
    }
    let groups = central.list("/devicegroups")?;
    only(&groups, "device group", wanted, "vouch group list")
}

fn by_id(central: &mut Central, collection: &str, wanted: &str) -> Result<Option<Value>> {
    // Dots mean something in a path, even when they are encoded.
    if wanted.is_empty() || wanted.chars().all(|letter| letter == '.') {
        return Ok(None);
    }
    match central.get(&format!("/{collection}/{}", encoded(wanted))) {
        Ok(answer) => Ok(Some(answer["data"].clone())),
        Err(error) if error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == 404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn only(all: &[Value], what: &str, wanted: &str, list: &str) -> Result<Value> {
    let mut found = all.iter().filter(|resource| resource["attributes"]["name"] == wanted);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.clone()),
        (None, _) => bail!("there is no {what} {wanted:?}: `{list}` shows all"),
        _ => bail!("several have the name {wanted:?}: give the id of the {what}, which `{list}` shows"),
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
        assert_eq!(only(&all, "product", "a", "list").unwrap()["id"], "1");
        assert!(only(&all, "product", "b", "list").unwrap_err().to_string().contains("give the id"));
        assert!(only(&all, "product", "c", "list").unwrap_err().to_string().contains("`list` shows all"));
    }
}
