//! What a device stores, beside a plain file and beside the cipher alone.

use std::process::ExitCode;

use anyhow::Result;
use vouch_benches::process::{LOAD_CPU, pin};
use vouch_benches::table::{Goal, line};
use vouch_benches::vault;

/// Opening what is stored beside the cipher alone: speeds.
const CIPHER_GOAL: Goal = Goal::AtLeast(0.80);

/// `vouch-bench vault`: what a device stores, beside a plain file and beside the cipher alone.
pub(crate) fn measure() -> Result<ExitCode> {
    pin(LOAD_CPU)?;
    // Not where temporary files are: that may be memory, which syncs nothing.
    let dir = tempfile::tempdir_in(".")?;
    println!("| what | bare | ours | ratio | goal | |\n|---|---|---|---|---|---|");
    for size in vault::SIZES {
        let (writes, reads) = vault::on_disk(dir.path(), size)?;
        for (what, vault::Comparison { bare, ours, ratio }) in [("write", writes), ("read", reads)] {
            println!("| {what} of {size} B, us | {} | {} | {:.2} | | |", bare.show(), ours.show(), ratio.median());
        }
    }
    let mut all_reached = true;
    for (what, comparison) in [
        (format!("opening a record of {} MiB, MB/s", vault::LARGE >> 20), vault::record_in_memory()?),
        (format!("decrypting an image of {} MiB, MB/s", vault::IMAGE >> 20), vault::image_in_memory()?),
    ] {
        let vault::Comparison { bare, ours, ratio } = comparison;
        println!("{}", line(&what, &bare, &ours, &ratio, CIPHER_GOAL));
        all_reached &= CIPHER_GOAL.reached(ratio.median());
    }
    Ok(if all_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
