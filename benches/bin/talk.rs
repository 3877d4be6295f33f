//! Acknowledged messages and their round trips, devices and agents beside a broker, several interleaved rounds.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use vouch_benches::farm::{BenchDevice, plant_talkers};
use vouch_benches::load;
use vouch_benches::messages::{self, Way};
use vouch_benches::mosquitto::Broker;
use vouch_benches::process::{Kind, LOAD_CPU, SERVER_CPU, ServerProcess, pin};
use vouch_benches::table::{Goal, Rounds};

const ROUNDS: usize = 5;
/// Devices that speak at the same time; in the other comparison it is one.
const MANY: usize = 100;
const MESSAGES: usize = 100_000;
const ROUND_TRIPS: usize = 3_000;

/// Messages acknowledged by a handler beside messages acknowledged by the broker and received by its subscriber: rate of ours through theirs.
const RATE_GOAL: Goal = Goal::AtLeast(3.0);
/// Device, agent and back beside client, broker, answering client, broker and back.
const ROUND_TRIP_GOAL: Goal = Goal::AtMost(1.0);

/// The values of one kind of load.
#[derive(Default)]
struct Talk {
    broker: Rounds,
    broker_cpu: Rounds,
    ours: Rounds,
    ours_cpu: Rounds,
    ratio: Rounds,
}

/// One comparison of round trips.
#[derive(Clone, Copy)]
struct Trip {
    way: Way,
    /// Which percentile.
    part: usize,
    goal: Option<Goal>,
}

const TRIPS: [Trip; 4] = [
    Trip { way: Way::Answered, part: 50, goal: None },
    Trip { way: Way::Answered, part: 99, goal: Some(ROUND_TRIP_GOAL) },
    Trip { way: Way::OwnEcho, part: 50, goal: None },
    Trip { way: Way::OwnEcho, part: 99, goal: None },
];

pub(crate) fn measure() -> Result<ExitCode> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path().join("server");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let devices = runtime.block_on(plant_talkers(&dir, MANY as u32))?;
    let devices: Vec<_> = devices.into_iter().map(Arc::new).collect();
    let broker = Broker::start(&dir)?;
    let mut gateway = ServerProcess::start(Kind::Gateway, &dir)?;
    pin(LOAD_CPU)?;
    let mut talks = [Talk::default(), Talk::default()];
    let mut trips = TRIPS.map(|trip| (trip, Talk::default()));
    // The first round fills caches and is thrown away.
    for round in 0..=ROUNDS {
        for (talk, count) in talks.iter_mut().zip([1, MANY]) {
            let speaking = devices.get(..count).context("devices")?;
            let (theirs, ours) = rates(&runtime, &broker, &mut gateway, speaking)?;
            if round > 0 {
                talk.broker.push(theirs.0);
                talk.broker_cpu.push(theirs.1);
                talk.ours.push(ours.0);
                talk.ours_cpu.push(ours.1);
                talk.ratio.push(ours.0 / theirs.0);
            }
        }
        let device = devices.first().context("a device")?;
        let echo = runtime.block_on(messages::round_trips(broker.addr, device, Way::OwnEcho, ROUND_TRIPS))?;
        let answered = runtime.block_on(messages::round_trips(broker.addr, device, Way::Answered, ROUND_TRIPS))?;
        let ours = runtime.block_on(load::round_trip(gateway.addr, Kind::Gateway, device, ROUND_TRIPS))?;
        for ((trip, talk), part) in trips.iter_mut().map(|(trip, talk)| ((trip.way, talk), trip.part)) {
            let theirs = if trip == Way::Answered { &answered } else { &echo };
            let (theirs, ours) = (percentile(theirs, part)?, percentile(&ours, part)?);
            if round > 0 {
                talk.broker.push(theirs);
                talk.ours.push(ours);
                talk.ratio.push(ours / theirs);
            }
        }
        eprint!("{}", if round < ROUNDS { "." } else { "\n" });
    }
    report(&talks, &trips)
}

fn report(talks: &[Talk; 2], trips: &[(Trip, Talk)]) -> Result<ExitCode> {
    println!(
        "Server or broker on CPU {SERVER_CPU}, devices or clients on CPU {LOAD_CPU}; median (least - most) of {ROUNDS} interleaved"
    );
    println!(
        "rounds of {MESSAGES} messages of 128 B, {} under way, and {ROUND_TRIPS} round trips.\n",
        messages::OUTSTANDING
    );
    println!(
        "| what | mosquitto | CPU us each | gateway and agents | CPU us each | ratio | goal | |\n|---|---|---|---|---|---|---|---|"
    );
    let mut all_reached = true;
    for (talk, who) in talks.iter().zip(["1 device".to_owned(), format!("{MANY} devices")]) {
        let verdict = if RATE_GOAL.reached(talk.ratio.median()) { "reached" } else { "MISSED" };
        all_reached &= RATE_GOAL.reached(talk.ratio.median());
        println!(
            "| messages acknowledged per second, {who} | {} | {} | {} | {} | {:.2} | {} | {verdict} |",
            talk.broker.show(),
            talk.broker_cpu.show(),
            talk.ours.show(),
            talk.ours_cpu.show(),
            talk.ratio.median(),
            RATE_GOAL.show()
        );
    }
    for (Trip { way, part, goal }, talk) in trips {
        let verdict = goal.map_or("", |goal| if goal.reached(talk.ratio.median()) { "reached" } else { "MISSED" });
        all_reached &= goal.is_none_or(|goal| goal.reached(talk.ratio.median()));
        let what = match way {
            Way::Answered => "answered by a subscriber, by an agent",
            Way::OwnEcho => "the broker's echo, answered by an agent",
        };
        println!(
            "| round trip, {what}, p{part}, us | {} | | {} | | {:.2} | {} | {verdict} |",
            talk.broker.show(),
            talk.ours.show(),
            talk.ratio.median(),
            goal.map_or(String::new(), Goal::show)
        );
    }
    Ok(if all_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Messages per second and CPU microseconds for each: of the broker, of ours.
fn rates(
    runtime: &tokio::runtime::Runtime,
    broker: &Broker,
    gateway: &mut ServerProcess,
    devices: &[Arc<BenchDevice>],
) -> Result<((f64, f64), (f64, f64))> {
    let each = |took: Duration, cpu: Duration| {
        (MESSAGES as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / MESSAGES as f64)
    };
    let before = broker.cpu()?;
    let took = runtime.block_on(messages::to_subscriber(broker.addr, devices, MESSAGES))?;
    let theirs = each(took, broker.cpu()? - before);
    let before = gateway.cpu_at_rest()?;
    let took = runtime.block_on(messages::to_agents(gateway.addr, devices, MESSAGES))?;
    let ours = each(took, gateway.cpu_at_rest()? - before);
    Ok((theirs, ours))
}

/// Microseconds.
fn percentile(sorted: &[Duration], part: usize) -> Result<f64> {
    Ok(sorted.get(sorted.len() * part / 100).context("round trips")?.as_secs_f64() * 1e6)
}
