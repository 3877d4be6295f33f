//! `vouch init`: makes a server's folder: roots, gateway certificates, database, first account.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use keys::keystore::KeystoreSpec;
use keys::pkcs11::TokenSpec;
use keys::secret::Secret;
use serde_json::json;
use server::{FIRST_ACCOUNT, InitOptions, InitReport};

use super::password;
use crate::output::{Output, Tone, paint};

/// Make the folder that a server runs on: the operator's roots, the gateway's certificates, the database, the first account.
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The folder to make; it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// A name or address that devices are given for this server; may be given several times.
    #[arg(long = "name", required = true, value_name = "NAME")]
    names: Vec<String>,

    /// The operator's name, as it stands in the root certificates.
    #[arg(long, default_value = "Vouchsafe operator", value_name = "TEXT")]
    operator: String,

    /// The first account's name.
    #[arg(long, default_value = FIRST_ACCOUNT, value_name = "NAME")]
    account: String,

    /// The file with the first account's password, or - for standard input; without it one is made and kept in DIR.
    #[arg(long, value_name = "FILE|-")]
    password_file: Option<PathBuf>,

    /// Where the keys of the roots and of the gateway are born and stay: a PKCS#11 token (pkcs11:LIBRARY;token=LABEL;
    /// pin-file=FILE). Without it they are in files of DIR.
    #[arg(long, value_name = "pkcs11:...", value_parser = operator_keys)]
    keys: Option<TokenSpec>,
}

impl Init {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let password = self.password_file.as_deref().map(|file| password::read(Some(file))).transpose()?;
        let password = password.map(|text| Secret::new(text.as_bytes().to_vec()));
        output.say(&paint(Tone::Quiet, "making roots, certificates and the database ..."));
        let (names, account) = (self.names.join(", "), self.account.clone());
        let report = make_with(InitOptions {
            dir: self.dir.clone(),
            names: self.names,
            operator: self.operator,
            account: self.account,
            password,
            token: self.keys,
        })?;
        let dir = self.dir.display().to_string();
        let password_file = report.password_file.as_ref().map(|file| file.display().to_string());
        let roots = const_hex::encode(report.roots_sha256);
        let kept = password_file.as_ref().map_or_else(String::new, |file| format!("\n  password  in {file}"));
        let login = password_file.as_ref().map_or_else(String::new, |file| format!(" --password-file {file}"));
        output.result(
            &json!({ "dir": dir, "account": account, "password_file": password_file, "roots_sha256": roots }),
            &format!(
                "{} {dir}\n  names     {names}\n  roots     SHA-256 {roots}\n  account   {account}{kept}\n\
                 next: vouch serve --dir {dir}\nthen: vouch login --user {account}{login}",
                paint(Tone::Good, "made")
            ),
        );
        Ok(())
    }
}

/// Makes a server with the usual account and a password of its own.
pub(crate) fn make(dir: &Path, names: &[String]) -> Result<InitReport> {
    make_with(InitOptions {
        dir: dir.to_owned(),
        names: names.to_vec(),
        operator: "Vouchsafe demonstration".to_owned(),
        account: FIRST_ACCOUNT.to_owned(),
        password: None,
        token: None,
    })
}

/// An operator's keys are in a token or in files; a TPM belongs to one machine, and a root must outlive machines.
pub(super) fn operator_keys(text: &str) -> Result<TokenSpec, String> {
    match text.parse() {
        Ok(KeystoreSpec::Pkcs11(token)) => Ok(token),
        Ok(other) => {
            Err(format!("an operator's keys are in a PKCS#11 token, or in files without --keys, not in {other}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn make_with(options: InitOptions) -> Result<InitReport> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    Ok(runtime.block_on(server::init(options, &server::LIMITS))?)
}
