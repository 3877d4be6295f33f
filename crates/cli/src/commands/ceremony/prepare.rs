//! `vouch ceremony prepare`: a blank card or HSM gets a label and its first PINs.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use keys::pkcs11::Module;
use keys::secret::Secret;
use serde_json::json;

use super::cards::TokenPlace;
use crate::commands::password;
use crate::output::{Output, Tone, paint};

/// Give a blank smartcard or HSM its label and its first PINs.
///
/// A token that holds something already is never touched. SoftHSM always has a blank one.
#[derive(Args, Debug)]
pub(crate) struct Prepare {
    /// What it shall be: pkcs11:/path/of/library.so;token=LABEL; with ;serial=NUMBER where several are blank.
    #[arg(value_name = "PLACE")]
    token: TokenPlace,

    /// The file with the PIN that its user shall have.
    #[arg(long, value_name = "FILE")]
    pin_file: PathBuf,

    /// The file with the PIN that its security officer shall have.
    #[arg(long, value_name = "FILE")]
    so_pin_file: PathBuf,
}

impl Prepare {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let secret =
            |file: &PathBuf| -> Result<Secret> { Ok(Secret::new(password::read(Some(file))?.as_bytes().to_vec())) };
        let (pin, so_pin) = (secret(&self.pin_file)?, secret(&self.so_pin_file)?);
        let module = Module::load(&self.token.module)?;
        let is_meant = |serial: &str| self.token.token.serial.as_ref().is_none_or(|wanted| wanted == serial);
        let blank = module.tokens()?.into_iter().find(|token| !token.initialised && is_meant(&token.serial));
        let blank = blank.with_context(|| {
            let library = self.token.module.display();
            format!("{library} has no blank token: insert one, or erase one with its maker's tool first")
        })?;
        let made = module.initialise(&blank, &self.token.token.label, &so_pin, &pin)?;
        output.result(
            &json!({ "token": made.label, "maker": made.maker, "model": made.model, "serial": made.serial }),
            &format!(
                "{} {:?}: {} {}, serial number {}",
                paint(Tone::Good, "prepared"),
                made.label,
                made.maker,
                made.model,
                made.serial
            ),
        );
        Ok(())
    }
}
