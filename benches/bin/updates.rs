//! `vouch-bench updates`: OS images to many devices at once.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use vouch_benches::farm::plant_fleet;
use vouch_benches::process::{Kind, LOAD_CPU, ServerProcess, pin};
use vouch_benches::table::{Goal, Rounds, judge};
use vouch_benches::updates::{Nginx, cpu_per_gigabyte, fleet, prepare};

/// The length of the image, bytes.
const LEN: u32 = 10_000_000;
/// Devices that fetch at once when CPU time is compared.
const AT_ONCE: u32 = 16;
const ROUNDS: usize = 5;
/// The gateway's CPU beside the bare server's: bare through ours.
const CPU_GOAL: Goal = Goal::AtLeast(0.75);
/// Another device's pings while the fleet updates, beside those before.
const PING_GOAL: Goal = Goal::AtMost(5.0);
const NGINX_PORT: u16 = 18_443;
/// Devices and length of the image, to see what memory depends on.
const FLEETS: [(u32, u32); 4] = [(101, LEN), (101, 4 * LEN), (101, 16 * LEN), (1_001, LEN)];

pub(crate) fn measure() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("server");
    let devices: Vec<_> = runtime.block_on(plant_fleet(&dir, AT_ONCE))?.into_iter().map(Arc::new).collect();
    runtime.block_on(prepare(&dir, LEN))?;
    pin(LOAD_CPU)?;
    let nginx = Nginx::start(&folder.path().join("nginx"), LEN, NGINX_PORT)?;
    let [mut bare, mut ours, mut beside, mut ratio] = [const { Rounds::new() }; 4];
    let mut servers = [ServerProcess::start(Kind::Bare, &dir)?, ServerProcess::start(Kind::Gateway, &dir)?];
    for _ in 0..ROUNDS {
        let [yardstick, gateway] = &mut servers;
        let least = runtime.block_on(cpu_per_gigabyte(yardstick, Kind::Bare, &devices, LEN))?;
        let used = runtime.block_on(cpu_per_gigabyte(gateway, Kind::Gateway, &devices, LEN))?;
        beside.push(nginx.cpu_per_gigabyte(AT_ONCE as usize, LEN)?);
        bare.push(least);
        ours.push(used);
        ratio.push(least / used);
    }
    drop((servers, nginx));
    println!("| server | CPU s for each gigabyte |\n|---|---|");
    for (name, rounds) in [("bare rustls", &bare), ("gateway", &ours), ("nginx", &beside)] {
        println!("| {name} | {} |", rounds.show_hundredths());
    }
    println!();
    let mut all_reached = judge("CPU, bare / gateway", ratio.median(), CPU_GOAL);
    println!();
    println!(
        "| devices | image, MB | bytes each | server's memory, sessions open, MB | highest meanwhile, MB | ping p99 before, ms | meanwhile, ms | took, s |\n|---|---|---|---|---|---|---|---|"
    );
    let mut slower = Vec::new();
    for (count, len) in FLEETS {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("server");
        let devices: Vec<_> = runtime.block_on(plant_fleet(&dir, count))?.into_iter().map(Arc::new).collect();
        runtime.block_on(prepare(&dir, len))?;
        let seen = runtime.block_on(fleet(&dir, &devices, len))?;
        let (mb, ms) = (|bytes: u64| bytes as f64 / 1e6, |time: std::time::Duration| time.as_secs_f64() * 1e3);
        println!(
            "| {} | {} | {} | {:.1} | {:.1} | {:.2} | {:.2} | {:.1} |",
            count - 1,
            len / 1_000_000,
            seen.bytes_each,
            mb(seen.open),
            mb(seen.peak),
            ms(seen.p99_before),
            ms(seen.p99),
            seen.took.as_secs_f64()
        );
        slower.push((count - 1, len / 1_000_000, ms(seen.p99) / ms(seen.p99_before)));
    }
    println!();
    for (count, mb, ratio) in slower {
        all_reached &=
            judge(&format!("ping p99 beside {count} devices and {mb} MB, meanwhile / before"), ratio, PING_GOAL);
    }
    Ok(if all_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
