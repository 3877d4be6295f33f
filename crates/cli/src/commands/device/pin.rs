//! `vouch device pin`: sets an input of a simulated board.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use apphost::board::PINS;
use clap::Args;
use device::board::levels::{self, Setting};
use serde_json::json;

use crate::output::Output;

/// Set an input of the simulated board, also while the device runs: 23.5, or `auto` for what the board's file says.
#[derive(Args, Debug)]
pub(crate) struct Pin {
    /// The device's folder.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// The pin, such as pin1.
    #[arg(value_name = "PIN")]
    pin: String,

    /// The value in the pin's unit (volts, unless board.toml says otherwise), or `auto`.
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: String,
}

impl Pin {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let value = match self.value.as_str() {
            "auto" => None,
            number => {
                let value = number.parse().ok().filter(|value: &f32| value.is_finite());
                Some(value.ok_or_else(|| anyhow!("{number:?} is no value: write a number such as 23.5, or auto"))?)
            }
        };
        if !PINS.contains(&self.pin.as_str()) {
            bail!("there is no {:?}; there are {}", self.pin, PINS.join(", "));
        }
        if !self.dir.join("keys").is_dir() {
            bail!("{} is no device: make one with `vouch device provision`", self.dir.display());
        }
        let setting = Setting { pin: self.pin, value };
        levels::set(&self.dir, &setting).with_context(|| format!("cannot write to {}", self.dir.display()))?;
        let shown = value.map_or_else(|| "auto".to_owned(), |value| value.to_string());
        output.result(&json!({ "pin": setting.pin, "value": value }), &format!("{} {shown}", setting.pin));
        Ok(())
    }
}
