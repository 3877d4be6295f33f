//! `vouch login`: exchanges a password for tokens that the other commands use.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::central::{Central, LoginFile};
use crate::commands::password;
use crate::output::Output;

/// Log in to central; the other commands then use that login.
#[derive(Args, Debug)]
pub(crate) struct Login {
    /// Central's address; http:// only on this machine.
    #[arg(long, env = "VOUCH_CENTRAL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    central: String,

    /// Trust the certificates in this PEM file for https:// instead of the public ones.
    #[arg(long, value_name = "FILE")]
    central_ca: Option<PathBuf>,

    /// The account: its name or e-mail address.
    #[arg(long, value_name = "NAME")]
    user: String,

    /// The file that holds the password, or - for standard input; asked for on the terminal when absent.
    #[arg(long, value_name = "FILE|-")]
    password_file: Option<PathBuf>,

    #[command(flatten)]
    file: LoginFile,
}

impl Login {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let password = password::read(self.password_file.as_deref())?;
        let central = Central::log_in(&self.file, &self.central, self.central_ca, &self.user, &password)?;
        let path = central.path().display().to_string();
        output.result(
            &json!({ "login_file": path, "user": self.user }),
            &format!("logged in as {}; kept in {path}", self.user),
        );
        Ok(())
    }
}
