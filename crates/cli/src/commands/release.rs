//! `vouch release`: OS releases, from the build to the server that holds them.

mod app;
mod approve;
mod build;
mod log;
mod server_keys;
mod sign;
mod upload;
mod verify;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::central::{Central, LoginFile};
use crate::moment;
use crate::names::{self, id};
use crate::output::{Output, Tone, paint};
use crate::table::{self, Cell, Table};

/// Build, approve, sign and check OS releases; upload them to the server, list and show those that it holds.
#[derive(Debug, Subcommand)]
pub(crate) enum Release {
    ServerKeys(server_keys::ServerKeys),
    Build(build::Build),
    Approve(approve::Approve),
    Sign(sign::Sign),
    Assemble(sign::Assemble),
    Verify(verify::Verify),
    Inspect(verify::Inspect),
    Upload(upload::Upload),
    Log(log::Log),
    #[command(subcommand)]
    App(app::App),
    List(List),
    Show(Show),
}

impl Release {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Self::ServerKeys(command) => command.run(output),
            Self::Build(command) => command.run(output),
            Self::Approve(command) => command.run(output),
            Self::Sign(command) => command.run(output),
            Self::Assemble(command) => command.run(output),
            Self::Verify(command) => command.run(output),
            Self::Inspect(command) => command.run(output),
            Self::Upload(command) => command.run(output),
            Self::Log(command) => command.run(output),
            Self::App(command) => command.run(output),
            Self::List(command) => command.run(output),
            Self::Show(command) => command.run(output),
        }
    }
}

/// List the releases, the newest upload first.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    file: LoginFile,
}

impl List {
    fn run(self, output: &Output) -> Result<()> {
        let releases = Central::open(&self.file)?.list("/releases")?;
        table::list(output, &releases, "there is no release yet", || {
            let mut table = Table::new(&["VERSION", "PRODUCT", "MODELS", "EPOCH", "UPLOADED", "RELEASE"]);
            for release in &releases {
                let attributes = &release["attributes"];
                table.add(vec![
                    Cell::toned(Tone::Strong, word(&attributes["version"])),
                    Cell::plain(word(&attributes["product"])),
                    Cell::plain(models(release).join(", ")),
                    Cell::plain(attributes["security_epoch"].to_string()),
                    Cell::plain(moment::shown(moment::of(&attributes["uploaded_at"])?)),
                    Cell::plain(id(release)?),
                ]);
            }
            Ok(table)
        })
    }
}

/// Show one release with its images.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Its version or id.
    #[arg(value_name = "RELEASE")]
    release: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Show {
    fn run(self, output: &Output) -> Result<()> {
        let release = names::release(&mut Central::open(&self.file)?, &self.release)?;
        let attributes = &release["attributes"];
        let mut lines = vec![
            format!("{} {}", word(&attributes["product"]), paint(Tone::Strong, &word(&attributes["version"]))),
            format!("  release         {}", id(&release)?),
            format!("  security epoch  {}", attributes["security_epoch"]),
            format!("  uploaded        {}", moment::shown(moment::of(&attributes["uploaded_at"])?)),
        ];
        for image in attributes["images"].as_array().into_iter().flatten() {
            let models: Vec<_> = image["models"].as_array().into_iter().flatten().map(word).collect();
            lines.push(format!(
                "  image           {}: {} bytes, {}",
                models.join(", "),
                image["size"],
                word(&image["sha256"])
            ));
        }
        output.result(&release, &lines.join("\n"));
        Ok(())
    }
}

/// The models that a release has images for.
fn models(release: &Value) -> Vec<String> {
    let images = release["attributes"]["images"].as_array().into_iter().flatten();
    images.flat_map(|image| image["models"].as_array().into_iter().flatten().map(word).collect::<Vec<_>>()).collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}
