//! `vouch enrolment-token`: makes the token with which a new device may enrol.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::json;

use crate::central::{Central, LoginFile};
use crate::names;
use crate::output::Output;

/// Make a token that lets a device enrol, once or a counted number of times, until it expires.
///
/// The token is a secret: it carries a password and the hash of this server's root certificates.
#[derive(Args, Debug)]
pub(crate) struct EnrolmentToken {
    /// The device group that the device joins; not needed while there is only one.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// How many devices may enrol with it.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    uses: u32,

    /// How long it is valid, in minutes.
    #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=525_600))]
    minutes: u32,

    /// Write the token to this new file of mode 0600 instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    file: LoginFile,
}

impl EnrolmentToken {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        // The file comes first: a token that nobody received would be valid all the same.
        let file = self.out.as_deref().map(NewFile::make).transpose()?;
        let mut central = Central::open(&self.file)?;
        let group = names::group_or_only(&mut central, self.group.as_deref())?;
        let body = json!({ "data": {
            "type": "enrolment_token",
            "attributes": { "uses": self.uses, "minutes": self.minutes },
            "relationships": { "devicegroup": { "type": group["type"], "id": group["id"] } },
        }});
        let answer = central.post("/enrolment_tokens", &body)?;
        let attributes = &answer["data"]["attributes"];
        let token = attributes["token"].as_str().ok_or_else(|| anyhow!("central's answer lacks the token"))?;
        let expires_at = &attributes["expires_at"];
        let Some(file) = file else {
            output.result(&json!({ "token": token, "expires_at": expires_at }), token);
            return Ok(());
        };
        let path = file.fill(token)?.display().to_string();
        output.result(
            &json!({ "token_file": path, "expires_at": expires_at }),
            &format!("token written to {path}; it is a secret"),
        );
        Ok(())
    }
}

/// A file of mode 0600 that did not exist before; it is removed again unless it is filled.
struct NewFile {
    path: Option<PathBuf>,
    file: File,
}

impl NewFile {
    fn make(path: &Path) -> Result<NewFile> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("cannot make {}: does it exist already?", path.display()))?;
        Ok(NewFile { path: Some(path.to_owned()), file })
    }

    fn fill(mut self, text: &str) -> Result<PathBuf> {
        writeln!(self.file, "{text}").context("cannot write the token")?;
        Ok(self.path.take().unwrap_or_default())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What cannot be removed is an empty file.
            let _ = std::fs::remove_file(path);
        }
    }
}
