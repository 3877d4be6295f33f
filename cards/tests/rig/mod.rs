//! The daemon of the readers, two cards in them, and what makes the cards a custodian's: keys made inside, certificates on top.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keys::public::PublicKey;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SubjectPublicKeyInfo};
use tempfile::TempDir;

/// The PIN of a new card.
pub const PIN: &str = "123456";
/// The management key of a new card, as `piv-tool` reads it.
const MANAGEMENT_KEY: &str = "01:02:03:04:05:06:07:08:01:02:03:04:05:06:07:08:01:02:03:04:05:06:07:08";
/// The ports of the two readers.
const READERS: [u16; 2] = [35963, 35964];
/// What stands before the point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480).
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE,
    0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const PATIENCE: Duration = Duration::from_secs(60);

/// Two cards in their readers.
pub struct Cards {
    children: Vec<Child>,
    dir: TempDir,
    /// The keys that the cards made: 9C and 9D of the first, then of the second.
    pub publics: Vec<PublicKey>,
}

impl Cards {
    /// Starts the daemon, inserts both cards, and has each make its keys.
    pub fn insert() -> Cards {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("management-key"), MANAGEMENT_KEY).unwrap();
        let daemon = Command::new("pcscd").arg("--foreground").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut cards = Cards { children: vec![daemon.expect("pcscd is installed")], dir, publics: Vec::new() };
        for port in READERS {
            wait("the reader listens", || listens(port));
            let card = Command::new(env!("CARGO_BIN_EXE_virtual-card")).arg(port.to_string()).spawn().unwrap();
            cards.children.push(card);
        }
        wait("both cards are seen", || {
            tool("opensc-tool", &["--list-readers"]).matches("Yes").count() == READERS.len()
        });
        for reader in 0..READERS.len() {
            cards.personalise(reader);
        }
        cards
    }

    fn personalise(&mut self, reader: usize) {
        // The virtual cards draw the same random numbers. The second one makes a few keys more first, so that it ends up
        // with keys of its own.
        for _ in 0..reader {
            self.generate(reader, 0x9C);
        }
        for slot in [0x9C, 0x9D] {
            let public = self.generate(reader, slot);
            let certificate = self.dir.path().join(format!("{reader}-{slot:X}.pem"));
            std::fs::write(&certificate, certify(&public, reader, slot)).unwrap();
            let (slot, file) = (format!("{slot:X}"), certificate.to_string_lossy().into_owned());
            self.piv(reader, &["-A", "M:9B:03", "-C", &slot, "-i", &file]);
            self.publics.push(public);
        }
    }

    /// Has a card make a P-256 key (SP 800-73-4, GENERATE ASYMMETRIC KEY PAIR): the point is in the answer.
    fn generate(&self, reader: usize, slot: u8) -> PublicKey {
        let command = format!("00:47:00:{slot:02X}:05:AC:03:80:01:11:00");
        let answer = self.piv(reader, &["-A", "M:9B:03", "-s", &command]);
        let dump = answer.rsplit("SW2=0x00").next().unwrap();
        // Each line has 16 bytes in hex, then the same as text.
        let columns = dump.lines().flat_map(|line| line.get(..48).unwrap_or(line).split_whitespace());
        let bytes: Vec<u8> = columns.filter_map(|word| u8::from_str_radix(word, 16).ok()).collect();
        let at = bytes.windows(3).position(|tag| tag == [0x86, 0x41, 0x04]).unwrap_or_else(|| panic!("{answer}")) + 2;
        PublicKey::from_spki_der(&[&SPKI_HEAD[..], &bytes[at..at + 65]].concat()).unwrap()
    }

    fn piv(&self, reader: usize, arguments: &[&str]) -> String {
        let key: PathBuf = self.dir.path().join("management-key");
        let mut command = Command::new("piv-tool");
        command.arg("-r").arg(reader.to_string()).args(arguments).env("PIV_EXT_AUTH_KEY", key);
        output(command)
    }
}

impl Drop for Cards {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The point of a P-256 key.
pub fn point(public: &PublicKey) -> &[u8] {
    &public.spki_der()[SPKI_HEAD.len()..]
}

/// OpenSC shows a key only when there is a certificate for it.
fn certify(public: &PublicKey, reader: usize, slot: u8) -> String {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
    let mut custodian = CertificateParams::default();
    custodian.distinguished_name.push(DnType::CommonName, format!("Custodian {reader} {slot:X}"));
    let key = SubjectPublicKeyInfo::from_der(public.spki_der()).unwrap();
    custodian.signed_by(&key, &issuer).unwrap().pem()
}

fn listens(port: u16) -> bool {
    let sockets = std::fs::read_to_string(Path::new("/proc/net/tcp")).unwrap();
    sockets.lines().any(|line| line.contains(&format!(":{port:04X} 00000000:0000 0A")))
}

fn tool(name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(name);
    command.args(arguments);
    output(command)
}

fn output(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "not after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
