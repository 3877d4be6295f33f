//! Logins and round trips, the gateway beside a bare TLS server, several interleaved rounds.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use keys::profile::Profile;
use vouch_benches::farm::{BenchDevice, plant};
use vouch_benches::load;
use vouch_benches::process::{Kind, LOAD_CPU, SERVER_CPU, ServerProcess, pin};
use vouch_benches::table::{Goal, HEAD, Rounds, line};

/// Rounds; each measures everything once, so that the noise of the machine falls on all alike.
const ROUNDS: usize = 7;
const LOGINS: usize = 1_500;
const ROUND_TRIPS: usize = 3_000;

/// The gateway's full login beside the bare one: rate, so CPU of bare through CPU of ours.
const LOGIN_GOAL: Goal = Goal::AtLeast(0.80);
/// Device, agent and back beside a bare echo: medians.
const ROUND_TRIP_GOAL: Goal = Goal::AtMost(2.0);

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

pub(crate) fn measure() -> Result<ExitCode> {
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
    println!("Server on CPU {}, devices on CPU {LOAD_CPU}, one worker thread; median (least - most) of", SERVER_CPU);
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
            let times = runtime.block_on(load::round_trip(server.addr, kind, device, ROUND_TRIPS))?;
            Ok(times.get(times.len() / 2).context("a round trip")?.as_secs_f64() * 1e6)
        };
        Ok((median(&self.bare, Kind::Bare)?, median(&self.gateway, Kind::Gateway)?))
    }
}
