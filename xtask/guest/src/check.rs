//! One power cut after the other: the disk as it may have been left, recovered by the kernel, judged by the device's code.

use std::path::Path;

use anyhow::Result;
use fastrand::Rng;
use serde_json::json;

use crate::crash::{Replay, points};
use crate::disk::{Disk, acknowledged};
use crate::log::Log;
use crate::machine::Machine;
use crate::os::IMAGES;
use crate::state::{Fault, judge};

/// Cuts the power at `count` points of one writer's log and reports each.
pub(crate) fn check(
    machine: &mut Machine,
    scratch: &Disk,
    base: &[u8],
    log: &Log,
    name: &str,
    count: usize,
    seed: u64,
) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    let points = points(log, base.len())?;
    let drawn = points.draw(count, &mut random);
    machine.report(
        &json!({ "writer": name, "requests": log.entries.len(), "possible": points.all.len(), "points": drawn.len() }),
    );
    let mut replay = Replay::new(base, log);
    for point in drawn {
        let bytes = replay.cut(point, &mut random)?;
        // The very first acknowledgement may be among what was lost.
        let number = acknowledged(&bytes).unwrap_or(0);
        scratch.write(&bytes)?;
        let (verdict, why) = match scratch.mount() {
            Err(error) => ("unmountable", Some(format!("{error:#}"))),
            Ok(mounted) => {
                let judged = judge(mounted.path(), Path::new(IMAGES), number);
                mounted.unmount()?;
                match judged {
                    Ok(()) => ("ok", None),
                    Err(Fault::Lost(why)) => ("lost", Some(why)),
                    Err(Fault::Torn(why)) => ("torn", Some(why)),
                    Err(Fault::Unbootable(why)) => ("unbootable", Some(why)),
                }
            }
        };
        machine.report(&json!({ "point": point, "acknowledged": number, "verdict": verdict, "why": why }));
    }
    Ok(())
}
