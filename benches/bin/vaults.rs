//! What a device stores, beside a plain file and beside the cipher alone.

use std::process::ExitCode;

use anyhow::Result;
use vouch_benches::process::{LOAD_CPU, pin};
use vouch_benches::table::{Goal, line};
use vouch_benches::vault;

/// Decrypting and verifying an image beside the cipher alone: speeds.
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
    let vault::Comparison { bare, ours, ratio } = vault::record_in_memory()?;
    let what = format!("opening a record of {} MiB in fresh memory, MB/s", vault::LARGE >> 20);
    println!("| {what} | {} | {} | {:.2} | | |", bare.show(), ours.show(), ratio.median());
    let vault::Comparison { bare, ours, ratio } = vault::image_in_memory()?;
    let what = format!("decrypting an image of {} MiB, MB/s", vault::IMAGE >> 20);
    println!("{}", line(&what, &bare, &ours, &ratio, CIPHER_GOAL));
    Ok(if CIPHER_GOAL.reached(ratio.median()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
