//! `vouch library`: sources that code asks for with `#require "Name:1.2.3"`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::central::{Central, LoginFile};
use crate::output::Output;

/// Add libraries, which device and agent code ask for with `#require "Name:1.2.3"`, and list them.
#[derive(Debug, Subcommand)]
pub(crate) enum Library {
    Add(Add),
    List(List),
}

/// Add a version of a library; a version never changes.
#[derive(Args, Debug)]
pub(crate) struct Add {
    /// The library's source.
    file: PathBuf,

    /// Name and version, as code asks for them.
    #[arg(long = "as", value_name = "NAME:VERSION", value_parser = name_and_version)]
    id: (String, String),

    #[command(flatten)]
    login: LoginFile,
}

/// List your libraries with all their versions.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    login: LoginFile,
}

fn name_and_version(text: &str) -> Result<(String, String), String> {
    let (name, version) = text.rsplit_once(':').ok_or("a name, a colon and a version were expected, as Name:1.2.3")?;
    Ok((name.to_owned(), version.to_owned()))
}

impl Library {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Self::Add(command) => command.run(output),
            Self::List(command) => command.run(output),
        }
    }
}

impl Add {
    fn run(self, output: &Output) -> Result<()> {
        let code = fs::read(&self.file).with_context(|| format!("{} cannot be read", self.file.display()))?;
        let code = String::from_utf8(code).map_err(|_| anyhow!("{} is not UTF-8", self.file.display()))?;
        let (name, version) = self.id;
        let attributes = json!({ "name": name, "version": version, "code": code });
        let body = json!({ "data": { "type": "library", "attributes": attributes } });
        let answer = Central::open(&self.login)?.post("/libraries", &body)?;
        show(output, &answer["data"]);
        Ok(())
    }
}

impl List {
    fn run(self, output: &Output) -> Result<()> {
        for library in Central::open(&self.login)?.list("/libraries")? {
            show(output, &library);
        }
        Ok(())
    }
}

fn show(output: &Output, library: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (id, sha256) = (text(&library["id"]), text(&library["attributes"]["sha256"]));
    output.result(&json!({ "library": id, "sha256": sha256 }), &format!("{id}  SHA-256 {sha256}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_follows_the_last_colon() {
        assert_eq!(name_and_version("a:b:1.2.3"), Ok(("a:b".to_owned(), "1.2.3".to_owned())));
        assert!(name_and_version("Name").is_err());
    }
}
