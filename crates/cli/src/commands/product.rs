//! `vouch product`: what you make; each has device groups.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::central::{Central, LoginFile};
use crate::names::{self, id};
use crate::output::{Output, Tone, paint};
use crate::table::{self, Cell, Table};

/// Create, list, rename and delete products; a product has device groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Product {
    Create(Create),
    List(List),
    Rename(Rename),
    Delete(Delete),
}

impl Product {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Self::Create(command) => command.run(output),
            Self::List(command) => command.run(output),
            Self::Rename(command) => command.run(output),
            Self::Delete(command) => command.run(output),
        }
    }
}

/// Create a product.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name, which no other product of yours has.
    #[arg(value_name = "NAME")]
    name: String,

    /// What it is.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    description: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Create {
    fn run(self, output: &Output) -> Result<()> {
        let attributes = json!({ "name": self.name, "description": self.description });
        let body = json!({ "data": { "type": "product", "attributes": attributes } });
        let made = Central::open(&self.file)?.post("/products", &body)?;
        let id = id(&made["data"])?;
        let next = format!("next: vouch group create NAME --product {id}");
        output.result(&made["data"], &format!("{} product {} ({id})\n{next}", paint(Tone::Good, "made"), self.name));
        Ok(())
    }
}

/// List the products.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    file: LoginFile,
}

impl List {
    fn run(self, output: &Output) -> Result<()> {
        let products = Central::open(&self.file)?.list("/products")?;
        table::list(output, &products, "there is no product yet", || {
            let mut table = Table::new(&["PRODUCT", "NAME", "DESCRIPTION"]);
            for product in &products {
                let text = |name: &str| product["attributes"][name].as_str().unwrap_or_default();
                table.add(vec![Cell::plain(id(product)?), Cell::plain(text("name")), Cell::plain(text("description"))]);
            }
            Ok(table)
        })
    }
}

/// Give a product another name.
#[derive(Args, Debug)]
pub(crate) struct Rename {
    /// The product's name or id.
    #[arg(value_name = "PRODUCT")]
    product: String,

    /// Its new name.
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Rename {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let product = names::product(&mut central, &self.product)?;
        let renamed = central.rename("products", &product, &self.name)?;
        output.result(&renamed, &format!("product {} is now called {}", self.product, self.name));
        Ok(())
    }
}

/// Delete a product that has no device groups any more.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The product's name or id.
    #[arg(value_name = "PRODUCT")]
    product: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Delete {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let product = names::product(&mut central, &self.product)?;
        central.delete(&format!("/products/{}", id(&product)?), &Value::Null)?;
        output.result(&json!({ "deleted": product["id"] }), &format!("product {} is deleted", self.product));
        Ok(())
    }
}
