//! The OS image, the program that a device boots: it is the runtime alone and needs nothing to run.

use std::path::Path;
use std::process::Command;

use crate::support::os_image;

/// What an image must not hold: servers, clients of central, key back ends, databases, the compiler.
const ABSENT: [&str; 11] = [
    "axum",
    "cryptoki",
    "hyper",
    "netlink-packet-route",
    "sqlx",
    "tower-http",
    "tss-esapi",
    "ureq",
    "vouch-server",
    "vouch-squirrel feature \"compile\"",
    "vouch-release feature \"author\"",
];
/// The largest image that may come out, in bytes.
const SIZE_MOST: u64 = 8_000_000;

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;

/// The parts of a 64-bit little-endian ELF file that a kernel and a dynamic linker look at (elf(5)).
struct Elf(Vec<u8>);

impl Elf {
    fn number<const N: usize>(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.0[at..at + N]);
        u64::from_le_bytes(bytes)
    }

    /// Type, offset and length of each segment.
    fn segments(&self) -> Vec<(u32, usize, usize)> {
        assert_eq!(&self.0[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
        let (table, size, count) = (self.number::<8>(32), self.number::<2>(54), self.number::<2>(56));
        let segment = |index| {
            let at = usize::try_from(table + index * size).unwrap();
            let long = |offset| usize::try_from(self.number::<8>(at + offset)).unwrap();
            (u32::try_from(self.number::<4>(at)).unwrap(), long(8), long(32))
        };
        (0..count).map(segment).collect()
    }

    /// The tags of the dynamic section; a static program has one for its own relocation at most.
    fn dynamic_tags(&self) -> Vec<u64> {
        let dynamic = self.segments().into_iter().filter(|(kind, ..)| *kind == PT_DYNAMIC);
        let tags = dynamic.flat_map(|(_, at, length)| (at..at + length).step_by(16).map(|at| self.number::<8>(at)));
        tags.take_while(|tag| *tag != DT_NULL).collect()
    }
}

#[test]
fn the_image_is_small_and_needs_neither_interpreter_nor_library() {
    let image = os_image();
    let elf = Elf(std::fs::read(image).unwrap());
    assert!(elf.segments().iter().all(|(kind, ..)| *kind != PT_INTERP), "the image asks for an interpreter");
    assert!(!elf.dynamic_tags().contains(&DT_NEEDED), "the image asks for a library");
    let size = std::fs::metadata(image).unwrap().len();
    assert!(size < SIZE_MOST, "the image has {size} bytes");
    // The test can fail: its own program is linked dynamically.
    let own = Elf(std::fs::read(env!("CARGO_BIN_EXE_vouch")).unwrap());
    assert!(own.dynamic_tags().contains(&DT_NEEDED));
}

/// What a program with these features is made of.
fn tree(features: &str) -> String {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--package", "vouch", "--no-default-features", "--features", features, "--locked", "--offline"]);
    tree.args(["--edges", "normal,features", "--prefix", "none"]);
    tree.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    crate::support::output(tree)
}

#[test]
fn an_image_for_a_real_board_holds_no_simulated_one() {
    // The simulated board alone reads files of this format.
    let reads_board_files = |features| tree(features).lines().any(|line| line.starts_with("toml v"));
    assert!(reads_board_files("device,simulated-board") && !reads_board_files("device"));
}

#[test]
fn the_image_holds_the_runtime_and_no_server_no_compiler_no_key_back_end() {
    let tree = tree("device,simulated-board");
    let found = |name: &&str| tree.lines().any(|line| line == *name || line.starts_with(&format!("{name} ")));
    assert!(found(&"vouch-device") && found(&"vouch-squirrel"), "{tree}");
    let found: Vec<_> = ABSENT.iter().filter(|name| found(name)).collect();
    assert!(found.is_empty(), "the OS image holds {found:?}");
}

#[test]
fn the_image_offers_nothing_but_to_run_a_device() {
    let help = crate::support::output({
        let mut command = Command::new(os_image());
        command.args(["device", "--help"]);
        command
    });
    for absent in ["provision", "boot", "list", "network"] {
        assert!(!help.contains(&format!("\n  {absent} ")), "{help}");
    }
    assert!(help.contains("\n  run "), "{help}");
}
