//! Whole fleets: all at once, and over a restart of the server.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use vouch_benches::farm::plant_fleet;
use vouch_benches::process::{Kind, LOAD_CPU, pin};
use vouch_benches::table::{Goal, judge};
use vouch_benches::{restart, storm};

/// The option that puts all devices behind one address.
const ONE_ADDRESS: &str = "--one-address";

/// `vouch-bench storm [COUNT...] [--one-address]`: the gateway beside the bare server.
pub(crate) fn storm(arguments: &[String]) -> Result<ExitCode> {
    let (sources, counts) = read(arguments, &[1_000, 10_000, 19_000])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!(
        "| devices | server | B each, gentle | B each, storm | storm / gentle | B each, peak | median, s | last, s | median / last | failures | CPU us each |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut pairs = Vec::new();
    for count in counts {
        let dir = tempfile::tempdir()?;
        let dir = dir.path().join("server");
        let devices: Vec<_> = runtime.block_on(plant_fleet(&dir, count))?.into_iter().map(Arc::new).collect();
        pin(LOAD_CPU)?;
        let mut bare_last = 0.0;
        for kind in [Kind::Bare, Kind::Gateway] {
            let seen = runtime.block_on(storm::measure(kind, &dir, &devices, sources))?;
            println!(
                "| {} | {} | {:.0} | {:.0} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} | {} | {} |",
                seen.devices,
                kind.name(),
                seen.gentle_bytes,
                seen.storm_bytes,
                seen.storm_bytes / seen.gentle_bytes,
                seen.peak_bytes,
                seen.median.as_secs_f64(),
                seen.last.as_secs_f64(),
                seen.median.as_secs_f64() / seen.last.as_secs_f64(),
                seen.failures,
                seen.cpu_each.as_micros()
            );
            match kind {
                Kind::Bare => bare_last = seen.last.as_secs_f64(),
                Kind::Gateway => pairs.push((bare_last, seen)),
            }
        }
        // Where a client of the broker comes from makes no difference to its memory.
        if sources > 1 {
            let bytes = runtime.block_on(storm::broker_memory(&dir, &devices))?;
            println!("| {count} | mosquitto | {bytes:.0} | | | | | | | | |");
        }
    }
    println!();
    // In a small fleet's memory is mostly what the server needs in any case.
    let large = pairs.iter().filter(|(_, seen)| seen.devices >= 10_000);
    let all_reached = large.map(|(bare_last, seen)| judged(*bare_last, seen)).fold(true, |all, one| all & one);
    Ok(if all_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether a storm reached its goals, beside the time at which the bare server had the last device back.
fn judged(bare_last: f64, seen: &storm::Seen) -> bool {
    let last = seen.last.as_secs_f64();
    let goals = [
        ("bytes of memory for each", seen.gentle_bytes, Goal::AtMost(12_000.0)),
        ("memory after the storm / gentle", seen.storm_bytes / seen.gentle_bytes, Goal::AtMost(1.5)),
        ("last device, gateway / bare", last / bare_last, Goal::AtMost(1.5)),
        ("median device / last", seen.median.as_secs_f64() / last, Goal::AtMost(0.6)),
        ("failures", seen.failures as f64, Goal::AtMost(0.0)),
    ];
    goals
        .map(|(what, value, goal)| judge(&format!("{} devices, {what}", seen.devices), value, goal))
        .iter()
        .all(|&reached| reached)
}

/// `vouch-bench restart [COUNT...] [--one-address]`: the gateway is told to stop and started again with the fleet connected.
pub(crate) fn restart(arguments: &[String]) -> Result<ExitCode> {
    let (sources, counts) = read(arguments, &[19_000])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!(
        "| devices | stopped after, s | told when to come back | lines kept before | first back, s | half, s | last, s | most in a second | failures | lines in the log |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for count in counts {
        let dir = tempfile::tempdir()?;
        let dir = dir.path().join("server");
        let devices: Vec<_> = runtime.block_on(plant_fleet(&dir, count))?.into_iter().map(Arc::new).collect();
        pin(LOAD_CPU)?;
        let seen = runtime.block_on(restart::measure(&dir, &devices, sources))?;
        let [first, half, last] = seen.back.map(|time| time.as_secs_f64());
        println!(
            "| {} | {:.2} | {} | {} | {first:.2} | {half:.2} | {last:.2} | {} | {} | {} |",
            seen.devices,
            seen.stopped.as_secs_f64(),
            seen.told,
            seen.kept_before,
            seen.busiest_second,
            seen.failures,
            seen.lines
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// How many source addresses, and how many devices.
fn read(arguments: &[String], usual: &[u32]) -> Result<(u16, Vec<u32>)> {
    let (options, counts): (Vec<_>, Vec<_>) = arguments.iter().partition(|word| *word == ONE_ADDRESS);
    let sources = if options.is_empty() { storm::SOURCES } else { 1 };
    let counts = counts.iter().map(|count| count.parse()).collect::<Result<Vec<u32>, _>>()?;
    Ok((sources, if counts.is_empty() { usual.to_vec() } else { counts }))
}
