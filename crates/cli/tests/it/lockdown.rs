//! A device that is locked down, looked at from outside: what others of its user can do to it, and what it never opens.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use device::SelfTest;
use device::folder::Folder;
use device::store::Record;
use serde_json::Value;

use crate::boot::{child_of, end, status};
use crate::network::{DeviceNamespace, SERVER_ADDRESS, in_own_namespaces, tool};
use crate::support::{PATIENCE, Server, Watched, output, vouch};
use crate::tinyproxy::Tinyproxy;

/// How often the sockets of a namespace are looked at.
const LOOK: Duration = Duration::from_millis(5);
/// A socket is bound for a moment while it is being connected; one that is seen so often stays.
const STAYS: usize = 3;

/// Looks at all sockets of a network namespace until it is asked what it saw.
struct SocketWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Sockets that listen (TCP) or are bound without a peer (UDP), by their inode, and how often each was seen.
    open: HashMap<String, usize>,
    /// How many connected sockets were seen, to know that the watch sees something.
    connected: usize,
}

impl SocketWatch {
    fn start(pid: u32) -> SocketWatch {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !asked.load(Ordering::Relaxed) {
                for table in ["tcp", "tcp6", "udp", "udp6"] {
                    let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
                    text.lines().skip(1).for_each(|line| seen.note(table, line));
                }
                std::thread::sleep(LOOK);
            }
            seen
        });
        SocketWatch { stop, thread }
    }

    /// What was open, and that something was connected.
    fn open(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap();
        assert!(seen.connected > 0, "the watch saw no connection at all");
        seen.open.into_iter().filter(|(_, times)| *times >= STAYS).map(|(line, _)| line).collect()
    }
}

impl Seen {
    /// One line of a table (proc(5)): state 01 is connected, 0A listens, 07 is a UDP socket without a peer.
    fn note(&mut self, table: &str, line: &str) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[3] {
            "0A" | "07" => *self.open.entry(format!("{table} {} inode {}", fields[1], fields[9])).or_default() += 1,
            "01" => self.connected += 1,
            _ => {}
        }
    }
}

/// A name server that gives every name one address.
fn name_server(address: Ipv4Addr) {
    let socket = UdpSocket::bind((SERVER_ADDRESS, 53)).unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let names = packet[12..length].iter().position(|byte| *byte == 0).unwrap();
            let question = &packet[12..12 + names + 5];
            let is_v4 = question[names + 2] == 1;
            let header = [packet[0], packet[1], 0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0];
            let mut answer = [&header[..], question].concat();
            if is_v4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
                answer.extend(address.octets());
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}

/// A process that ends with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy that knows where the server is.
fn proxy(root: &Path) -> Tinyproxy {
    let hosts = root.join("hosts");
    std::fs::write(&hosts, format!("{SERVER_ADDRESS} vouch.test\n")).unwrap();
    tool(&format!("mount --bind {} /etc/hosts", hosts.display()));
    Tinyproxy::start(SERVER_ADDRESS, "")
}

/// Every thread of a process is locked down.
fn assert_locked_down(pid: u32) {
    let mut threads = 0;
    for entry in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread = entry.unwrap().file_name().into_string().unwrap().parse().unwrap();
        for (field, expected) in [
            ("Seccomp:", "2"),
            ("NoNewPrivs", "1"),
            ("CapEff", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapInh", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
        ] {
            assert_eq!(status(thread, field), expected, "{field} of thread {thread}");
        }
        threads += 1;
    }
    assert!(threads >= 2, "a device at work has more than {threads} thread");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
}

#[test]
fn a_device_is_locked_down_and_opens_no_port_in_all_its_life() {
    in_own_namespaces("lockdown::a_device_is_locked_down_and_opens_no_port_in_all_its_life", || {
        let namespace = DeviceNamespace::new();
        let root = tempfile::tempdir().unwrap();
        let mut server = Server::start(root.path(), &[SERVER_ADDRESS]);
        name_server(SERVER_ADDRESS.parse().unwrap());
        let proxy = proxy(root.path());
        let enter = namespace.enter();
        server.run_devices_through(&enter.iter().map(String::as_str).collect::<Vec<_>>());
        server.deploy("thermostat");
        let dns = format!("{SERVER_ADDRESS}:53");
        let direct = root.path().join("direct");
        server.provision(&direct, "modern", &["--dns", &dns]);
        let proxied = root.path().join("proxied");
        server.provision(&proxied, "classic", &["--dns", &dns, "--proxy", &format!("proxy.test:{}", proxy.port)]);

        let watch = SocketWatch::start(namespace.pid());
        for dir in [&direct, &proxied] {
            let mut device = server.run_device(dir);
            let locked = device.event("locked_down");
            assert_eq!(locked["system_calls"], "in_force", "{locked}");
            device.event("app_started");
            // The pid is nsenter's, which became the device.
            assert_locked_down(device.pid());
            server.restart_gracelessly();
            device.event("disconnected");
            device.event("welcomed");
            let mut pin = vouch();
            pin.args(["device", "pin"]).arg(dir).args(["pin1", "23"]);
            output(pin);
            device.wait("pin that was set", |event| event["event"] == "pin" && event["pin"] == "pin1");
            end(device);
        }
        assert_eq!(watch.open(), Vec::<String>::new());
    });
}

#[test]
fn a_device_whose_list_of_name_servers_is_replaced_ends_to_be_locked_down_anew() {
    in_own_namespaces("lockdown::a_device_whose_list_of_name_servers_is_replaced_ends_to_be_locked_down_anew", || {
        let root = tempfile::tempdir().unwrap();
        tool("ip link set lo up");
        tool(&format!("ip address add {SERVER_ADDRESS}/24 dev lo"));
        let server = Server::start(root.path(), &[SERVER_ADDRESS]);
        let lists = ["first", "second"].map(|name| root.path().join(name));
        for list in &lists {
            std::fs::write(list, "nameserver 10.77.0.99\n").unwrap();
        }
        let dir = root.path().join("device");
        server.provision(&dir, "modern", &["--address", SERVER_ADDRESS]);
        forget_the_address(&dir);
        tool(&format!("mount --bind {} /etc/resolv.conf", lists[0].display()));
        let mut device = server.run_device_with(&dir, &["--retry-max", "1"]);
        device.event("attempt");
        device.event("attempt");
        tool(&format!("mount --bind {} /etc/resolv.conf", lists[1].display()));
        let said = device.wait("end", |event| event["error"].is_string());
        assert!(said["error"].as_str().unwrap().contains("start the device again"), "{said}");
    });
}

/// Makes a device look its server's name up.
fn forget_the_address(dir: &Path) {
    let mut folder = Folder::open(dir).unwrap();
    let mut config = folder.config.clone();
    config.address = None;
    folder.store_config(config).unwrap();
}

/// A command as an attacker runs it: the user of the device, and no privilege.
fn as_the_same_user(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all", "--inh-caps", "-all", program]).args(arguments).stdin(Stdio::null());
    command
}

/// Whether a tracer says that it got in; it says so at once, or that it may not.
fn is_traced_by_others(pid: u32) -> bool {
    let mut strace = as_the_same_user("strace", &["-o", "/dev/null", "-p", &pid.to_string()]);
    let mut strace = Background(strace.stderr(Stdio::piped()).spawn().unwrap());
    let mut said = String::new();
    BufReader::new(strace.0.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("attached") || said.contains("Operation not permitted"), "{said}");
    said.contains("attached")
}

/// What somebody of the same user can open of a process: tracing it, its memory, its environment, its open files.
fn opened_by_others(pid: u32) -> Vec<&'static str> {
    let mut opened = Vec::new();
    if is_traced_by_others(pid) {
        opened.push("ptrace");
    }
    let memory = format!("/proc/{pid}/mem");
    for (what, program, arguments) in [
        ("memory", "dd", vec![format!("if={memory}"), "bs=1".to_owned(), "count=0".to_owned()]),
        ("environment", "cat", vec![format!("/proc/{pid}/environ")]),
        ("map", "cat", vec![format!("/proc/{pid}/maps")]),
        ("open files", "readlink", vec![format!("/proc/{pid}/fd/1")]),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if as_the_same_user(program, &arguments).output().unwrap().status.success() {
            opened.push(what);
        }
    }
    opened
}

/// A device that is never reached, started without privileges in a folder of its own, where a core dump would land.
fn device_in(root: &Path, more: &[&str]) -> Watched {
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "sh",
        "-c",
        "ulimit -c unlimited; exec \"$@\"",
        "sh",
    ]);
    command
        .arg(env!("CARGO_BIN_EXE_vouch"))
        .args(["--json", "device", "run", "--dir"])
        .arg(root.join("device"))
        .args(more);
    command.current_dir(root);
    Watched::start("device", command)
}

fn provisioned(root: &Path) -> Server {
    let server = Server::start(root, &["127.0.0.1"]);
    server.provision(&root.join("device"), "modern", &["--address", "127.0.0.1"]);
    server
}

/// In a user namespace nobody may raise the limit of locked memory.
const UNLOCKED: [&str; 1] = ["--danger-unlocked-memory"];

/// The same with an OS image to boot.
fn provisioned_to_boot(root: &Path) -> Server {
    let server = Server::start(root, &["127.0.0.1"]);
    server.provision_to_boot(&root.join("device"), "modern", &["--address", "127.0.0.1"]);
    server
}

#[test]
fn no_process_of_the_same_user_can_open_a_device() {
    in_own_namespaces("lockdown::no_process_of_the_same_user_can_open_a_device", || {
        tool("ip link set lo up");
        let root = tempfile::tempdir().unwrap();
        let _server = provisioned(root.path());
        let mut unprotected = device_in(root.path(), &["--danger-no-sandbox"]);
        unprotected.event("welcomed");
        let everything = ["ptrace", "memory", "environment", "map", "open files"];
        assert_eq!(opened_by_others(unprotected.pid()), everything, "the attacks work where nothing is locked down");
        end(unprotected);
        let mut device = device_in(root.path(), &[]);
        device.event("welcomed");
        assert_eq!(opened_by_others(device.pid()), Vec::<&str>::new());
        end(device);
    });
}

#[test]
fn a_device_leaves_no_core_dump() {
    in_own_namespaces("lockdown::a_device_leaves_no_core_dump", || {
        tool("ip link set lo up");
        let root = tempfile::tempdir().unwrap();
        let _server = provisioned(root.path());
        let root = root.path();
        let dumps = |mut device: Watched, signal: &str| {
            device.event("welcomed");
            let status = device.killed_by(signal);
            assert!(status.signal().is_some(), "{status}");
            let files = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
            let cores = files.filter(|name| name.to_string_lossy().starts_with("core")).count();
            status.core_dumped() || cores > 0
        };
        for signal in ["SEGV", "ABRT"] {
            assert!(!dumps(device_in(root, &[]), signal), "{signal}");
        }
        // Whether this host writes core dumps at all: without that the test above shows little.
        let writes = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap().trim() == "core";
        assert!(!writes || dumps(device_in(root, &["--danger-no-sandbox"]), "ABRT"));
    });
}

fn self_test(dir: &Path, more: &[&str]) -> Value {
    let mut command = vouch();
    command.args(["--json", "device", "self-test", "--dir"]).arg(dir).args(more);
    serde_json::from_str(&output(command)).unwrap()
}

fn assert_all_refused(result: &Value) {
    let checks = result["checks"].as_array().unwrap();
    assert!(checks.len() >= 40, "{} checks", checks.len());
    for check in checks {
        assert_eq!(check["outcome"], "refused", "{check}");
    }
    assert_eq!(result["passed"], true);
}

#[test]
fn a_self_test_finds_everything_refused_and_the_server_is_told() {
    in_own_namespaces("lockdown::a_self_test_finds_everything_refused_and_the_server_is_told", || {
        tool("ip link set lo up");
        let root = tempfile::tempdir().unwrap();
        let server = provisioned(root.path());
        let dir = root.path().join("device");
        let result = self_test(&dir, &[]);
        assert_all_refused(&result);
        let kept = || {
            let store = Folder::peek(&dir).unwrap();
            store.read(Record::SelfTest).unwrap().map(|signed| signed.expose().to_vec())
        };
        let identity = Folder::open(&dir).unwrap().keys.identity().clone();
        let signed = SelfTest::verify(&identity, &kept().unwrap(), &protocol::limits::LIMITS).unwrap();
        assert_eq!(result["unix_ms"], signed.unix_ms);
        assert_eq!(result["checks"].as_array().unwrap().len(), signed.checks.len());
        let mut device = server.run_device(&dir);
        device.event("welcomed");
        let deadline = Instant::now() + PATIENCE;
        while kept().is_some() {
            assert!(Instant::now() < deadline, "the server does not take the result");
            std::thread::sleep(Duration::from_millis(20));
        }
        end(device);
    });
}

#[test]
fn a_self_test_below_a_parent_with_privileges_finds_everything_refused() {
    in_own_namespaces("lockdown::a_self_test_below_a_parent_with_privileges_finds_everything_refused", || {
        tool("ip link set lo up");
        let root = tempfile::tempdir().unwrap();
        let _server = provisioned_to_boot(root.path());
        assert_all_refused(&self_test(&root.path().join("device"), &UNLOCKED));
    });
}

#[test]
fn a_device_below_its_parent_is_locked_down() {
    in_own_namespaces("lockdown::a_device_below_its_parent_is_locked_down", || {
        tool("ip link set lo up");
        let root = tempfile::tempdir().unwrap();
        let server = provisioned_to_boot(root.path());
        let mut device = server.boot_device(&root.path().join("device"), &UNLOCKED);
        device.event("welcomed");
        let child = child_of(device.pid());
        assert_locked_down(child);
        assert_eq!(opened_by_others(child), Vec::<&str>::new());
        end(device);
    });
}

#[test]
fn a_device_folder_that_is_a_link_is_locked_down_to_what_it_leads_to() {
    in_own_namespaces("lockdown::a_device_folder_that_is_a_link_is_locked_down_to_what_it_leads_to", || {
        tool("ip link set lo up");
        let root = tempfile::tempdir().unwrap();
        let server = Server::start(root.path(), &["127.0.0.1"]);
        let real: PathBuf = root.path().join("real");
        server.provision(&real, "modern", &["--address", "127.0.0.1"]);
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut device = server.run_device(&link);
        device.event("welcomed");
        end(device);
    });
}

#[test]
fn the_status_says_what_holds_and_what_does_not() {
    in_own_namespaces("lockdown::the_status_says_what_holds_and_what_does_not", || {
        tool("ip link set lo up");
        let root = tempfile::tempdir().unwrap();
        let server = Server::start(root.path(), &["127.0.0.1"]);
        let dir = root.path().join("device");
        server.provision(&dir, "modern", &["--address", "127.0.0.1"]);
        let board = "[security]\njtag = { value = \"closed\", source = \"fuses, read at the factory\" }\n";
        std::fs::write(dir.join("board.toml"), board).unwrap();
        let mut device = server.run_device(&dir);
        device.event("welcomed");
        let status = |arguments: &[&str]| {
            let mut command = vouch();
            command.args(arguments).args(["device", "status", "--dir"]).arg(&dir);
            output(command)
        };
        let json: Value = serde_json::from_str(&status(&["--json"])).unwrap();
        assert_eq!(json["protections"]["system_calls"], "in_force", "{json}");
        assert_eq!(json["keys"]["back_end"], "danger-software");
        assert_eq!(json["boot"]["verified"], false);
        assert_eq!(json["board"]["jtag"]["source"], "fuses, read at the factory");
        let text = status(&[]);
        for part in [
            "whoever copies the folder has the device's keys",
            "the whole folder can be set back unnoticed",
            "verified boot: no",
            "in force  it can neither listen",
            "JTAG: closed (source: fuses, read at the factory)",
            "read-out protection: not known",
            "swap: ",
            "kernel.io_uring_disabled",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        end(device);
    });
}
