//! A device behind a real firewall: two network namespaces, nftables rules, the real ports.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Server, output};

/// Set in the copy of this test that runs inside its own namespaces.
const INSIDE: &str = "VOUCH_TEST_IN_NAMESPACE";
pub(crate) const DEVICE_ADDRESS: &str = "10.77.0.2";
pub(crate) const SERVER_ADDRESS: &str = "10.77.0.1";

/// Runs the named test again in user, network and mount namespaces of its own, so that root is not needed.
pub(crate) fn in_own_namespaces(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let result = command.output().expect("the tool `unshare` (util-linux) is needed: run scripts/setup test");
    let text = format!("{}{}", String::from_utf8_lossy(&result.stdout), String::from_utf8_lossy(&result.stderr));
    assert!(result.status.success(), "{text}");
    assert!(text.contains("1 passed"), "the inner test did not run: {text}");
}

pub(crate) fn tool(words: &str) {
    let mut parts = words.split_whitespace();
    let mut command = Command::new(parts.next().unwrap());
    command.args(parts);
    output(command);
}

/// The device's side of the wire: a second network namespace, held open by a sleeping process.
pub(crate) struct DeviceNamespace(Child);

impl DeviceNamespace {
    pub(crate) fn new() -> DeviceNamespace {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let holder = Command::new("unshare").args(["--net", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let link = format!("/proc/{}/ns/net", holder.id());
        let deadline = Instant::now() + PATIENCE;
        while std::fs::read_link(&link).is_ok_and(|namespace| namespace == own) {
            assert!(Instant::now() < deadline, "the second namespace does not come up");
            std::thread::yield_now();
        }
        let namespace = DeviceNamespace(holder);
        tool("ip link set lo up");
        tool("ip link add wire0 type veth peer name wire1");
        tool(&format!("ip link set wire1 netns {}", namespace.0.id()));
        tool(&format!("ip address add {SERVER_ADDRESS}/24 dev wire0"));
        tool("ip link set wire0 up");
        for inside in
            ["ip link set lo up", &format!("ip address add {DEVICE_ADDRESS}/24 dev wire1"), "ip link set wire1 up"]
        {
            tool(&format!("{} {inside}", namespace.enter().join(" ")));
        }
        namespace
    }

    /// The process that holds it open.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn enter(&self) -> Vec<String> {
        ["nsenter", "-t", &self.0.id().to_string(), "-n"].map(str::to_owned).to_vec()
    }
}

impl Drop for DeviceNamespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every TCP port of the device, asked from the server's side of the wire.
fn open_ports(address: &str) -> Vec<u16> {
    let open = |port: &u16| {
        let target: SocketAddr = format!("{address}:{port}").parse().unwrap();
        match TcpStream::connect_timeout(&target, Duration::from_secs(5)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => false,
            other => panic!("port {port}: expected a refusal, got {other:?}"),
        }
    };
    (1..=u16::MAX).filter(open).collect()
}

#[test]
fn with_31314_dropped_and_993_refused_the_device_uses_443_and_nothing_on_it_listens() {
    in_own_namespaces(
        "network::with_31314_dropped_and_993_refused_the_device_uses_443_and_nothing_on_it_listens",
        || {
            let namespace = DeviceNamespace::new();
            tool("nft add table inet wall");
            tool("nft add chain inet wall input { type filter hook input priority 0 ; }");
            tool("nft add rule inet wall input tcp dport 31314 drop");
            tool("nft add rule inet wall input tcp dport 993 reject with tcp reset");

            let root = tempfile::tempdir().unwrap();
            let mut server = Server::start(root.path(), &[SERVER_ADDRESS]);
            let enter = namespace.enter();
            server.run_devices_through(&enter.iter().map(String::as_str).collect::<Vec<_>>());
            let dir = root.path().join("device");
            server.provision(&dir, "modern", &["--address", SERVER_ADDRESS]);
            let mut device = server.run_device(&dir);
            device.event("welcomed");

            let attempts: Vec<(u64, String)> = device
                .seen()
                .iter()
                .filter(|event| event["event"] == "attempt")
                .map(|event| (event["rule_port"].as_u64().unwrap(), event["result"]["is"].as_str().unwrap().to_owned()))
                .collect();
            let expected = [(31314, "tcp_no_answer"), (993, "tcp_refused"), (443, "welcomed")];
            let seen: Vec<(u64, &str)> = attempts.iter().map(|(port, result)| (*port, result.as_str())).collect();
            assert_eq!(seen, expected);

            let listening = output({
                let mut command = Command::new(&enter[0]);
                command.args(&enter[1..]).args(["ss", "-Hltun"]);
                command
            });
            assert_eq!(listening, "", "something listens on the device");
            assert_eq!(open_ports(DEVICE_ADDRESS), Vec::<u16>::new());
            assert!(Path::new(&format!("/proc/{}", device.pid())).exists(), "the device ran throughout");
        },
    );
}
