//! `make bench`: logins and round trips, the gateway beside a bare TLS server, several interleaved rounds.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use keys::profile::Profile;
use vouch_benches::farm::{BenchDevice, plant, plant_fleet};
use vouch_benches::process::{Kind, LOAD_CPU, SERVE, ServerProcess, pin, serve};
use vouch_benches::table::{Goal, HEAD, Rounds, line};
use vouch_benches::{load, process, storm, vault};

/// Rounds; each measures everything once, so that the noise of the machine falls on all alike.
const ROUNDS: usize = 7;
const LOGINS: usize = 1_500;
const ROUND_TRIPS: usize = 3_000;

/// The gateway's full login beside the bare one: rate, so CPU of bare through CPU of ours.
const LOGIN_GOAL: Goal = Goal::AtLeast(0.80);
/// Device, agent and back beside a bare echo: medians.
const ROUND_TRIP_GOAL: Goal = Goal::AtMost(2.0);

/// Opening what is stored beside the cipher alone: speeds.
const CIPHER_GOAL: Goal = Goal::AtLeast(0.80);

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        None => measure(),
        Some(word) if word == SERVE => {
            let kind = arguments.next().and_then(|kind| Kind::named(kind.to_str()?)).context("which server?")?;
            let dir = PathBuf::from(arguments.next().context("which folder?")?);
            serve(kind, dir)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(word) if word == "storm" => storm(arguments.filter_map(|word| word.into_string().ok())),
        Some(word) if word == "vault" => vault(),
        Some(other) => anyhow::bail!("{other:?}? Run it without arguments, or with `storm` or `vault`"),
    }
}

/// `vouch-bench vault`: what a device stores, beside a plain file and beside the cipher alone.
fn vault() -> Result<ExitCode> {
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

/// `vouch-bench storm [COUNT...] [--one-address]`: whole fleets, the gateway beside the bare server.
fn storm(arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    let (options, counts): (Vec<_>, Vec<_>) = arguments.partition(|word| word == "--one-address");
    let sources = if options.is_empty() { storm::SOURCES } else { 1 };
    let counts = counts.iter().map(|count| count.parse()).collect::<Result<Vec<u32>, _>>()?;
    let counts = if counts.is_empty() { vec![1_000, 10_000, 19_000] } else { counts };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!(
        "| devices | server | B each, gentle | B each, storm | B each, peak | median, s | last, s | failures | CPU us each |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for count in counts {
        let dir = tempfile::tempdir()?;
        let dir = dir.path().join("server");
        let devices: Vec<_> = runtime.block_on(plant_fleet(&dir, count))?.into_iter().map(Arc::new).collect();
        pin(LOAD_CPU)?;
        for kind in [Kind::Bare, Kind::Gateway] {
            let seen = runtime.block_on(storm::measure(kind, &dir, &devices, sources))?;
            println!(
                "| {} | {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {} | {} |",
                seen.devices,
                kind.name(),
                seen.gentle_bytes,
                seen.storm_bytes,
                seen.peak_bytes,
                seen.median.as_secs_f64(),
                seen.last.as_secs_f64(),
                seen.failures,
                seen.cpu_each.as_micros()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The servers side by side over one folder.
struct Pair {
    bare: ServerProcess,
    gateway: ServerProcess,
}

/// Values of one comparison.
#[derive(Default)]
struct Comparison {
    bare: Rounds,
    ours: Rounds,
    ratio: Rounds,
}

fn measure() -> Result<ExitCode> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path().join("server");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let devices: Vec<_> = runtime.block_on(plant(&dir))?.into_iter().map(Arc::new).collect();
    let mut servers =
        Pair { bare: ServerProcess::start(Kind::Bare, &dir)?, gateway: ServerProcess::start(Kind::Gateway, &dir)? };
    pin(LOAD_CPU)?;
    let mut logins = [Comparison::default(), Comparison::default()];
    let mut trips = [Comparison::default(), Comparison::default()];
    // The first round fills caches and is thrown away.
    for round in 0..=ROUNDS {
        for (index, profile) in Profile::ALL.into_iter().enumerate() {
            let group: Vec<_> = devices.iter().filter(|device| device.profile == profile).cloned().collect();
            let login = servers.logins(&runtime, &group)?;
            let trip = servers.round_trips(&runtime, &group)?;
            if round > 0 {
                logins[index].add(login, |bare, ours| bare / ours);
                trips[index].add(trip, |bare, ours| ours / bare);
            }
        }
        eprint!("{}", if round < ROUNDS { "." } else { "\n" });
    }
    println!(
        "Server on CPU {}, devices on CPU {LOAD_CPU}, one worker thread; median (least - most) of",
        process::SERVER_CPU
    );
    println!(
        "{ROUNDS} interleaved rounds of {LOGINS} logins and {ROUND_TRIPS} round trips each; the ratio is the median of the rounds' ratios.\n"
    );
    println!("{HEAD}");
    let mut all_reached = true;
    for (what, comparisons, goal) in
        [("login, server CPU", &logins, LOGIN_GOAL), ("round trip, p50", &trips, ROUND_TRIP_GOAL)]
    {
        for (comparison, profile) in comparisons.iter().zip(Profile::ALL) {
            let Comparison { bare, ours, ratio } = comparison;
            println!("{}", line(&format!("{what}, {profile}"), bare, ours, ratio, goal));
            all_reached &= goal.reached(ratio.median());
        }
    }
    Ok(if all_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Comparison {
    fn add(&mut self, (bare, ours): (f64, f64), ratio: fn(f64, f64) -> f64) {
        self.bare.push(bare);
        self.ours.push(ours);
        self.ratio.push(ratio(bare, ours));
    }
}

impl Pair {
    /// CPU microseconds for one login: bare, gateway.
    fn logins(&mut self, runtime: &tokio::runtime::Runtime, devices: &[Arc<BenchDevice>]) -> Result<(f64, f64)> {
        let cost = |server: &mut ServerProcess| -> Result<f64> {
            let before = server.cpu_at_rest()?;
            runtime.block_on(load::logins(server.addr, devices, LOGINS))?;
            Ok((server.cpu_at_rest()? - before).as_secs_f64() * 1e6 / LOGINS as f64)
        };
        Ok((cost(&mut self.bare)?, cost(&mut self.gateway)?))
    }

    /// Median microseconds of a round trip: bare, gateway.
    fn round_trips(&mut self, runtime: &tokio::runtime::Runtime, devices: &[Arc<BenchDevice>]) -> Result<(f64, f64)> {
        let device = devices.first().context("a device")?;
        let median = |server: &ServerProcess, kind| -> Result<f64> {
            Ok(runtime.block_on(load::round_trip(server.addr, kind, device, ROUND_TRIPS))?.as_secs_f64() * 1e6)
        };
        Ok((median(&self.bare, Kind::Bare)?, median(&self.gateway, Kind::Gateway)?))
    }
}
