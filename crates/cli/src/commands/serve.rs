//! `vouch serve`: runs the gateway, the agents and central in one process.

mod troubles;

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use protocol::facts::PORTS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use server::gateway::{GatewayEvent, GatewayLimits, Listen};
use server::status::Troubles;
use server::{KEEPALIVE_S, LIMITS, Running, Server, ServerConfig, TURNS_BEFORE_IO};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use self::troubles::NoteTroubles;
use super::StopSignals;
use crate::output::{Output, Tone, paint};
use crate::printer::Printer;

/// A limit of open files that leaves room for fewer devices than this is worth a warning.
const FEW_DEVICES: usize = 10_000;

/// Run the server: the gateway for devices, the agents, and central with its API.
///
/// On Ctrl-C or SIGTERM it tells its devices when to come back, writes what is under way, and ends with exit code 0. A second signal ends it
/// at once with exit code 1: nothing that was acknowledged is lost, but devices that were not told come back by their own pauses.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The folder that `vouch init` made.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// Where devices are served: an address (ports 31314, 993 and 443 of it), or RULE=IP:PORT for one port; several times.
    /// Without it: all addresses of this machine.
    #[arg(long = "gateway", value_name = "IP|RULE=IP:PORT", value_parser = gateway)]
    gateways: Vec<GatewayAddress>,

    /// Where central and the agents' URLs are. Plain HTTP: put a TLS proxy in front before you open it to a network.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "IP:PORT")]
    http: SocketAddr,

    /// The address under which people reach central and the agents, such as that of the TLS proxy.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// After how many seconds of silence a device is asked whether it is there.
    #[arg(long, default_value_t = KEEPALIVE_S, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    keepalive: u32,

    /// Let agents make requests to private, loopback and link-local addresses. Whoever may deploy then reaches, from here, what this
    /// machine reaches: its own services, its network, a cloud's metadata.
    #[arg(long)]
    danger_agents_private_addresses: bool,

    /// How many TLS handshakes may be under way at once.
    #[arg(long, default_value_t = GatewayLimits::default().door, value_name = "COUNT", value_parser = handshakes())]
    handshakes: usize,

    /// How many of them may come from one source address (IPv6: one /64). Raise it for a site behind one address.
    #[arg(long, default_value_t = GatewayLimits::default().door_per_source, value_name = "COUNT", value_parser = handshakes())]
    handshakes_per_source: usize,

    /// How many devices a second are to come back after this server was told to stop: they are spread over a time that grows with their number.
    #[arg(long, default_value_t = GatewayLimits::default().come_back_per_second, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    come_back_rate: u32,

    /// What to log on standard error, as in `info` or `vouch_server=debug`.
    #[arg(long, env = "VOUCH_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

/// One word after `--gateway`.
#[derive(Clone, Debug)]
enum GatewayAddress {
    Whole(IpAddr),
    One(Listen),
}

impl Serve {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let filter = EnvFilter::try_new(&self.log).with_context(|| format!("--log {:?} is no filter", self.log))?;
        let troubles = Troubles::new(&LIMITS);
        let printed =
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
        tracing_subscriber::registry()
            .with(printed.with_filter(filter))
            .with(NoteTroubles(troubles.clone()).with_filter(LevelFilter::WARN))
            .init();
        let open_files = raise_open_files();
        let config = ServerConfig {
            listen: self.listen(),
            gateway: GatewayLimits {
                door: self.handshakes,
                door_per_source: self.handshakes_per_source,
                come_back_per_second: self.come_back_rate,
                ..GatewayLimits::default()
            }
            .fitted(open_files),
            dir: self.dir,
            http: self.http,
            public_url: self.public_url,
            keepalive_s: self.keepalive,
            danger_agents_private_addresses: self.danger_agents_private_addresses,
            limits: LIMITS,
            troubles,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().event_interval(TURNS_BEFORE_IO).build();
        let runtime = runtime.context("cannot start the runtime")?;
        let mut printer = None;
        let ended = runtime.block_on(async {
            let places = config.gateway.connections;
            if places < FEW_DEVICES {
                tracing::warn!(
                    open_files,
                    devices = places,
                    "this process may open so few files that no more devices find room; raise the limit, with `ulimit -Hn` or \
                     LimitNOFILE= of a systemd unit"
                );
            }
            let mut signals = StopSignals::new();
            let running = Server::start(config).await?;
            // Subscribed before anybody is told where to connect, so that no event is missed.
            let events = output.is_json().then(|| running.events().subscribe());
            announce(&running, output);
            printer = events.map(|events| report(events, *output));
            signals.next().await;
            output.say(&paint(Tone::Quiet, "stopping: devices are told when to come back; a second signal ends it at once"));
            tokio::select! {
                () = running.stop() => Ok(()),
                // What was acknowledged is on the disk already.
                () = signals.next() => bail!("stopped at once, without waiting for what was under way"),
            }
        });
        // Whatever still works after that is not waited for.
        runtime.shutdown_background();
        if let Some(printer) = printer {
            printer.finish();
        }
        ended
    }

    fn listen(&self) -> Vec<Listen> {
        let everywhere =
            [GatewayAddress::Whole(Ipv4Addr::UNSPECIFIED.into()), GatewayAddress::Whole(Ipv6Addr::UNSPECIFIED.into())];
        let chosen = if self.gateways.is_empty() { &everywhere[..] } else { &self.gateways };
        let all = |ip: IpAddr| PORTS.map(|port| Listen { rule_port: port, addr: SocketAddr::new(ip, port) }).to_vec();
        chosen
            .iter()
            .flat_map(|address| match address {
                GatewayAddress::Whole(ip) => all(*ip),
                GatewayAddress::One(listen) => vec![*listen],
            })
            .collect()
    }
}

/// With none at all no device would ever get in.
fn handshakes() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=65_536)
}

/// Lets this process open as many files as it ever may, and says how many that is: each connection is one.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Where raising is refused, the limits fit what is there.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let open_files = if raised.is_ok() { limit.maximum } else { limit.current };
    open_files.unwrap_or(u64::MAX)
}

fn gateway(text: &str) -> Result<GatewayAddress, String> {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
        return Ok(GatewayAddress::Whole(ip));
    }
    let bad = || {
        format!(
            "{text:?}: write an address such as 192.0.2.1, or a port of the rule and where it is, such as 443=192.0.2.1:10443"
        )
    };
    let (rule, addr) = text.split_once('=').ok_or_else(bad)?;
    let rule_port = rule.parse().ok().filter(|port| PORTS.contains(port)).ok_or_else(bad)?;
    Ok(GatewayAddress::One(Listen { rule_port, addr: addr.parse().map_err(|_| bad())? }))
}

fn announce(running: &Running, output: &Output) {
    let listens = running.listens();
    let gateway: Vec<_> =
        listens.iter().map(|listen| json!({ "rule_port": listen.rule_port, "addr": listen.addr })).collect();
    let places: Vec<String> = listens.iter().map(|listen| listen.addr.to_string()).collect();
    output.result(
        &json!({ "event": "serving", "http": running.http(), "gateway": gateway }),
        &format!(
            "{} devices at {}\ncentral and agents at http://{}",
            paint(Tone::Good, "serving"),
            places.join(", "),
            running.http()
        ),
    );
}

/// Prints what happens at the gateway, for scripts and evidence; for people the log says enough.
fn report(mut events: Receiver<Arc<GatewayEvent>>, output: Output) -> Printer {
    let next = move || match events.blocking_recv() {
        Ok(event) => Some(serde_json::to_value(&*event)),
        Err(RecvError::Lagged(count)) => Some(Ok(json!({ "event": "missed", "count": count }))),
        Err(RecvError::Closed) => None,
    };
    Printer::start(next, move |event| match event {
        Ok(value) => output.json_line(&value),
        Err(error) => tracing::error!(%error, "an event cannot be written as JSON"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_all_ports_of_the_rule_and_a_port_for_itself() {
        assert!(matches!(gateway("192.0.2.1"), Ok(GatewayAddress::Whole(_))));
        assert!(matches!(gateway("[2001:db8::1]"), Ok(GatewayAddress::Whole(_))));
        let one = gateway("443=[2001:db8::1]:10443");
        assert!(matches!(one, Ok(GatewayAddress::One(Listen { rule_port: 443, addr })) if addr.port() == 10443));
        for bad in ["80=192.0.2.1:80", "443", "443=192.0.2.1", "host.example", ""] {
            assert!(gateway(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_door_that_lets_nobody_in_is_refused() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            serve: Serve,
        }
        for option in ["--handshakes", "--handshakes-per-source"] {
            let line = |count| <Line as clap::Parser>::try_parse_from(["vouch", "--dir", "x", option, count]);
            assert!(line("0").is_err());
            let one = line("1").map(|line| line.serve.handshakes.min(line.serve.handshakes_per_source));
            assert_eq!(one.ok(), Some(1));
        }
    }
}
