//! A device below its parent: static addresses on a real wire between network namespaces, and the way back from wrong ones.

use std::process::Command;

use serde_json::Value;

use crate::network::{DEVICE_ADDRESS, DeviceNamespace, SERVER_ADDRESS, in_own_namespaces, tool};
use crate::support::{Server, Watched, output, vouch};

/// CAP_NET_ADMIN alone, as /proc shows it (capability 12).
const NET_ADMIN_ONLY: &str = "0000000000001000";

/// A device on a wire, enrolled over an address that is gone again.
struct Bench {
    namespace: DeviceNamespace,
    _server: Server,
    root: tempfile::TempDir,
}

impl Bench {
    fn new(server_address: &str) -> Bench {
        let namespace = DeviceNamespace::new();
        tool("ip -6 address add fd77::1/64 dev wire0 nodad");
        let root = tempfile::tempdir().unwrap();
        let mut server = Server::start(root.path(), &[server_address]);
        let bench_tool = |words: &str| tool(&format!("{} {words}", namespace.enter().join(" ")));
        bench_tool("ip -6 address add fd77::2/64 dev wire1 nodad");
        let enter = namespace.enter();
        server.run_devices_through(&enter.iter().map(String::as_str).collect::<Vec<_>>());
        server.provision_to_boot(&root.path().join("device"), "modern", &["--address", server_address]);
        bench_tool(&format!("ip address del {DEVICE_ADDRESS}/24 dev wire1"));
        bench_tool("ip -6 address del fd77::2/64 dev wire1");
        bench_tool("ip link set wire1 down");
        Bench { namespace, _server: server, root }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.root.path().join("device")
    }

    fn inside(&self, program: &str) -> Command {
        let enter = self.namespace.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(program);
        command
    }

    fn boot(&self) -> Watched {
        let mut command = self.inside(env!("CARGO_BIN_EXE_vouch"));
        command.args(["--json", "device", "boot", "--interface", "wire1", "--dir"]).arg(self.dir());
        Watched::start("boot", command)
    }

    /// Stores a network configuration to be tried.
    fn network(&self, arguments: &str) -> Value {
        let mut command = vouch();
        command.args(["--json", "device", "network", "--dir"]).arg(self.dir()).args(arguments.split_whitespace());
        serde_json::from_str(&output(command)).unwrap()
    }

    fn ip(&self, arguments: &str) -> String {
        let mut command = self.inside("ip");
        command.args(arguments.split_whitespace());
        output(command)
    }

    fn diary(&self) -> String {
        let mut command = vouch();
        command.args(["device", "diary", "--dir"]).arg(self.dir());
        output(command)
    }
}

/// Ends a process as a service manager does, and waits for its end.
pub(crate) fn end(mut process: Watched) {
    tool(&format!("kill -TERM {}", process.pid()));
    process.ended();
}

pub(crate) fn status(pid: u32, field: &str) -> String {
    status_of(pid, field).unwrap()
}

fn status_of(pid: u32, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

pub(crate) fn child_of(parent: u32) -> u32 {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    // Others may end while they are looked at.
    let mut children = processes.filter(|pid: &u32| status_of(*pid, "PPid") == Some(parent.to_string()));
    children.next().expect("a child")
}

#[test]
fn a_static_network_is_put_in_force_and_taken_out_by_a_parent_with_that_one_privilege() {
    in_own_namespaces(
        "boot::a_static_network_is_put_in_force_and_taken_out_by_a_parent_with_that_one_privilege",
        || {
            let bench = Bench::new(SERVER_ADDRESS);
            let stored = bench.network(&format!(
                "--static 10.77.0.9/255.255.255.0 --gateway {SERVER_ADDRESS} --dns {SERVER_ADDRESS}"
            ));
            assert_eq!(stored["trial"]["config"]["prefix"], 24);
            let mut device = bench.boot();
            device.event("welcomed");
            assert!(bench.ip("-4 address show dev wire1").contains("inet 10.77.0.9/24 brd 10.77.0.255"));
            assert!(
                bench
                    .ip("-4 route show default")
                    .starts_with(&format!("default via {SERVER_ADDRESS} dev wire1 proto 118 metric 10"))
            );
            let shown = bench.network("");
            assert_eq!(shown["confirmed"]["address"], "10.77.0.9");
            assert!(shown.get("trial").is_none(), "{shown}");

            let (parent, child) = (device.pid(), child_of(device.pid()));
            for (field, expected) in
                [("CapEff", NET_ADMIN_ONLY), ("CapPrm", NET_ADMIN_ONLY), ("CapBnd", NET_ADMIN_ONLY)]
            {
                assert_eq!(status(parent, field), expected, "parent {field}");
            }
            for field in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                assert_eq!(status(child, field), "0000000000000000", "child {field}");
            }
            assert_eq!((status(parent, "NoNewPrivs"), status(child, "NoNewPrivs")), ("1".to_owned(), "1".to_owned()));

            end(device);
            assert!(!bench.ip("-4 address show dev wire1").contains("inet "), "the address is taken out again");
            assert_eq!(bench.ip("-4 route show default"), "");
        },
    );
}

#[test]
fn a_static_network_that_does_not_reach_the_server_is_undone() {
    in_own_namespaces("boot::a_static_network_that_does_not_reach_the_server_is_undone", || {
        let bench = Bench::new(SERVER_ADDRESS);
        bench.network(&format!("--static 10.77.0.9/24 --gateway {SERVER_ADDRESS} --dns {SERVER_ADDRESS}"));
        let mut device = bench.boot();
        device.event("welcomed");
        end(device);
        bench.network("--static 10.78.0.9/24 --gateway 10.78.0.1 --dns 10.78.0.1");
        for _ in 0..3 {
            let mut device = bench.boot();
            device.wait("failed attempt", |event| event["event"] == "attempt" && event["result"]["is"] != "network");
            assert!(bench.ip("-4 address show dev wire1").contains("inet 10.78.0.9/24"));
            end(device);
        }
        let mut device = bench.boot();
        let said = device.wait("way back", |event| event["result"]["is"] == "network");
        let why = said["result"]["why"].as_str().unwrap();
        assert_eq!(why, "the new network configuration is undone: it did not reach the server in 3 starts");
        device.event("welcomed");
        assert!(bench.ip("-4 address show dev wire1").contains("inet 10.77.0.9/24"));
        end(device);
        assert!(bench.diary().contains(why));
    });
}

#[test]
fn a_static_network_of_ipv6_reaches_the_server() {
    in_own_namespaces("boot::a_static_network_of_ipv6_reaches_the_server", || {
        let bench = Bench::new("fd77::1");
        bench.network("--static fd77::9/64 --gateway fd77::1 --dns fd77::1");
        let mut device = bench.boot();
        device.event("welcomed");
        assert!(bench.ip("-6 address show dev wire1").contains("inet6 fd77::9/64"));
        assert!(bench.ip("-6 route show default").starts_with("default via fd77::1 dev wire1 proto 118 metric 10"));
        end(device);
        assert!(!bench.ip("-6 address show dev wire1").contains("fd77::9"));
    });
}

#[test]
fn without_the_privilege_a_parent_says_so_and_starts_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all", "--inh-caps", "-all", env!("CARGO_BIN_EXE_vouch")]);
    command.args(["device", "boot", "--interface", "lo", "--dir"]).arg(root.path());
    let result = command.output().expect("the tool `setpriv` (util-linux) is needed");
    assert!(!result.status.success());
    let text = String::from_utf8_lossy(&result.stderr).into_owned();
    assert!(text.contains("CAP_NET_ADMIN"), "{text}");
}
