//! An established connection without rustls at the server, with OpenSSL at the other end: another reading of the same RFCs.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use keys::{
    pki::CertDer,
    private_file::Existing,
    profile::Profile,
    tls::{RecordError, Records},
};
use rustls::AlertDescription;
use tempfile::TempDir;

use crate::wire::*;

/// How long a test waits before it fails; generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes before each record.
const HEADER: usize = 5;

/// `openssl s_client` as a device of ours, connected to the gateway's records.
struct OpenSsl {
    child: Child,
    keyboard: Option<ChildStdin>,
    /// What it prints, of both kinds.
    prints: Receiver<Vec<u8>>,
    printed: Vec<u8>,
    tcp: TcpStream,
    server: Records,
    _files: TempDir,
}

impl OpenSsl {
    fn connect(profile: Profile) -> OpenSsl {
        let files = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut child = client(files.path(), profile, port);
        let (to, prints) = channel();
        let mut pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for pipe in &mut pipes {
            let (to, mut pipe) = (to.clone(), std::mem::replace(pipe, Box::new(std::io::empty())));
            thread::spawn(move || {
                let mut buffer = [0; 4_096];
                while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                    if to.send(buffer[..length].to_vec()).is_err() {
                        return;
                    }
                }
            });
        }
        let mut tcp = accepted(&listener, &mut child);
        let server = shake_hands(&mut tcp);
        let keyboard = child.stdin.take();
        OpenSsl { child, keyboard, prints, printed: Vec::new(), tcp, server, _files: files }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits until it has printed this.
    fn prints(&mut self, text: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        while !self.printed.windows(text.len()).any(|window| window == text) {
            let more = self.prints.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            self.printed
                .extend(more.unwrap_or_else(|_| panic!("it printed {}", String::from_utf8_lossy(&self.printed))));
        }
    }

    /// The next record as it comes.
    fn record(&mut self) -> Vec<u8> {
        record(&mut self.tcp)
    }

    fn open(&mut self, mut record: Vec<u8>) -> Result<Vec<u8>, RecordError> {
        let mut heard = Vec::new();
        self.server.open(&mut record, |plain| heard.extend_from_slice(plain))?;
        Ok(heard)
    }

    /// Hears this much from it; how many records came that say nothing.
    fn hears(&mut self, text: &str) -> usize {
        let (mut heard, mut silent) = (Vec::new(), 0);
        while heard.len() < text.len() {
            let record = self.record();
            let plain = self.open(record).unwrap();
            silent += usize::from(plain.is_empty());
            heard.extend(plain);
        }
        assert_eq!(String::from_utf8(heard).unwrap(), text);
        silent
    }

    fn sealed(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.server.seal(plain, &mut out).unwrap();
        out
    }

    fn say(&mut self, plain: &[u8]) {
        let bytes = self.sealed(plain);
        self.tcp.write_all(&bytes).unwrap();
    }

    /// One line each way.
    fn still_speak(&mut self, line: &str) {
        self.types(&format!("up {line}\n"));
        self.hears(&format!("up {line}\n"));
        self.say(format!("down {line}\n").as_bytes());
        self.prints(format!("down {line}\n").as_bytes());
    }

    /// Waits for its end, by itself; whether it takes that for a good one.
    fn ended_well(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it with a device's key and certificate; it checks the gateway's certificate as a device does.
fn client(files: &Path, profile: Profile, port: u16) -> Child {
    let device = OURS.device(profile);
    device.key().save(files, Existing::Refuse).unwrap();
    let key = files.join(format!("{}.key", device.key().purpose()));
    let certificate = pem(files.join("device.pem"), &device.chain()[0]);
    let root = OURS.pki.server_roots.iter().find(|root| root.profile() == profile).unwrap();
    let root = pem(files.join("root.pem"), root.certificate());
    let only = match profile {
        Profile::Classic => ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
        Profile::Modern => ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
    };
    Command::new("openssl")
        .args(["s_client", "-brief", "-alpn", "vouch/1", "-connect", &format!("127.0.0.1:{port}")])
        .args(only)
        .args(["-servername", NAME, "-verify_hostname", NAME, "-verify_return_error"])
        .args(["-attime", &(START_S + 1).to_string()])
        .arg("-CAfile")
        .arg(root)
        .arg("-cert")
        .arg(certificate)
        .args(["-keyform", "DER", "-key"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed (scripts/setup test)")
}

fn pem(path: PathBuf, certificate: &CertDer) -> PathBuf {
    let text = BASE64_STANDARD.encode(certificate);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    fs::write(&path, text).unwrap();
    path
}

fn accepted(listener: &TcpListener, child: &mut Child) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok((tcp, _)) = listener.accept() {
            tcp.set_nonblocking(false).unwrap();
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            return tcp;
        }
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "openssl does not connect");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The gateway's handshake, after which rustls goes.
fn shake_hands(tcp: &mut TcpStream) -> Records {
    let (_, mut server, secrets) = accept(&record(tcp), Answering::Gateway(&OURS.gateway())).unwrap();
    loop {
        while server.wants_write() {
            server.write_tls(tcp).unwrap();
        }
        if !server.is_handshaking() {
            break;
        }
        let record = record(tcp);
        let mut rest = record.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
    }
    assert!(chain(&server).is_some(), "it showed a certificate");
    Records::take_over(server, &secrets, Vec::new()).unwrap()
}

fn record(tcp: &mut TcpStream) -> Vec<u8> {
    let mut record = vec![0; HEADER];
    tcp.read_exact(&mut record).unwrap();
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(HEADER + length, 0);
    tcp.read_exact(&mut record[HEADER..]).unwrap();
    record
}

#[test]
fn openssl_understands_the_records_and_is_understood() {
    for profile in Profile::ALL {
        let mut peer = OpenSsl::connect(profile);
        peer.still_speak("first");
        // More than a record holds, without the letters that it takes for commands.
        let long = "0123456789".repeat(6_000) + "\n";
        peer.types(&long);
        peer.hears(&long);
        peer.say(long.as_bytes());
        peer.prints(long.as_bytes());
        peer.still_speak("last");
    }
}

#[test]
fn openssl_changes_its_keys_and_has_ours_changed() {
    let mut peer = OpenSsl::connect(Profile::Modern);
    for command in ["k", "K", "K", "k"] {
        peer.printed.clear();
        peer.types(&format!("{command}\n"));
        peer.prints(b"KEYUPDATE");
        peer.types("up\n");
        assert!(peer.hears("up\n") > 0, "its keys are the old ones");
        let sealed = peer.sealed(b"down");
        // A key update of our own goes first where it asked for one.
        assert_eq!(sealed.len() > HEADER + b"down".len() + 1 + 16, command == "K");
        peer.tcp.write_all(&sealed).unwrap();
        peer.prints(b"down");
    }
    peer.still_speak("at last");
}

#[test]
fn either_end_closes_with_a_word() {
    for profile in Profile::ALL {
        let mut peer = OpenSsl::connect(profile);
        peer.types("Q\n");
        let record = peer.record();
        assert_eq!(peer.open(record), Err(RecordError::Closed));
        assert!(peer.ended_well());

        let mut peer = OpenSsl::connect(profile);
        let mut last = Vec::new();
        peer.server.alert(AlertDescription::CloseNotify, &mut last).unwrap();
        peer.tcp.write_all(&last).unwrap();
        let record = peer.record();
        assert_eq!(peer.open(record), Err(RecordError::Closed));
        assert!(peer.ended_well());
    }
}

#[test]
fn attack_a_record_of_openssls_that_was_touched_on_the_way_is_refused() {
    type Touch = fn(&mut OpenSsl, Vec<u8>) -> Vec<u8>;
    let touches: [(&str, Touch); 6] = [
        ("a bit in the text", |_, mut record| {
            record[HEADER + 8] ^= 1;
            record
        }),
        ("a bit in the tag", |_, mut record| {
            *record.last_mut().unwrap() ^= 0x80;
            record
        }),
        ("a byte cut off", |_, mut record| {
            record.pop();
            record[4] -= 1;
            record
        }),
        ("a byte added", |_, mut record| {
            record.push(0);
            record[4] += 1;
            record
        }),
        ("the record twice", |peer, record| {
            peer.open(record.clone()).unwrap();
            record
        }),
        ("the record left out", |peer, _| {
            peer.types("next\n");
            peer.record()
        }),
    ];
    for profile in Profile::ALL {
        for (name, touch) in touches {
            let mut peer = OpenSsl::connect(profile);
            peer.types("text\n");
            let record = peer.record();
            let touched = touch(&mut peer, record);
            let refused = peer.open(touched);
            let is_refused = matches!(refused, Err(RecordError::Broken { alert: AlertDescription::BadRecordMac, .. }));
            assert!(is_refused, "{profile}, {name}: {refused:?}");
        }
        let mut peer = OpenSsl::connect(profile);
        let injected = peer.open(vec![20, 3, 3, 0, 1, 1]);
        assert!(matches!(injected, Err(RecordError::Broken { alert: AlertDescription::UnexpectedMessage, .. })));
    }
}

#[test]
fn attack_a_record_of_ours_that_was_touched_on_the_way_is_refused_by_openssl() {
    for profile in Profile::ALL {
        let mut peer = OpenSsl::connect(profile);
        let mut sealed = peer.sealed(b"text");
        *sealed.last_mut().unwrap() ^= 1;
        peer.tcp.write_all(&sealed).unwrap();
        let record = peer.record();
        assert_eq!(peer.open(record), Err(RecordError::AlertReceived(AlertDescription::BadRecordMac)));
        assert!(!peer.ended_well());

        // A connection that ends in the middle of a record is no good end.
        let mut peer = OpenSsl::connect(profile);
        let sealed = peer.sealed(b"text");
        peer.tcp.write_all(&sealed[..sealed.len() - 1]).unwrap();
        peer.tcp.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!peer.ended_well());
    }
}
