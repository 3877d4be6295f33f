//! Fuzzes `http.jsondecode` with mutations of the corpus: `fuzz_json [SECONDS]`.
//!
//! It ends with an error where a document makes the host panic, hang or lose its agent without a word; the document is in the message.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a command line program")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use squirrel::{CompileOptions, Source, compile};
use vouch_apphost::{AgentInfo, App, Code, End, HttpRequest, Input, Limits, Now, Output, Side, Turn, WakeReason};

const AGENT: &[u8] = br#"http.onrequest(function(q, r) {
    try { local v = http.jsondecode(q.body); r.send(200, http.jsonencode(v)); } catch (e) { r.send(400, e); }
});"#;
const NOW: Now = Now { mono_ms: 0, unix_ms: 1_800_000_000_000 };
/// A document may keep its agent busy for so many turns.
const TURNS_MAX: usize = 100_000;

fn main() {
    let seconds = std::env::args().nth(1).map_or(600, |text| text.parse().expect("a number of seconds"));
    let program = compile(&[Source { name: "agent_code", text: AGENT }], &CompileOptions::default());
    let code = Code::new(&program.unwrap_or_else(|error| panic!("{error}")), End::Agent);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/json");
    let corpus: Vec<Vec<u8>> = fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| fs::read(entry.expect("a file").path()).expect("a file"))
        .filter(|document| document.len() < 4096)
        .collect();
    let mut random = Random(u64::from(std::process::id()));
    let (began, mut documents, mut app) = (Instant::now(), 0_u64, started(&code));
    while began.elapsed() < Duration::from_secs(seconds) {
        let document = mutated(&corpus, &mut random);
        if !read(&mut app, &document) {
            app = started(&code);
        }
        documents += 1;
    }
    println!("{documents} documents in {seconds} s, all read or refused");
}

fn started(code: &Code) -> App {
    let info = AgentInfo { agent_url: String::new(), software_version: String::new(), saved: None, connected: false };
    let mut app = App::new(code, Side::Agent(info), Limits::agent(), WakeReason::PowerOn, NOW).expect("an app");
    while app.run(NOW) == Turn::More {}
    app
}

/// Whether the agent still runs; it must answer or fail with a word.
fn read(app: &mut App, document: &[u8]) -> bool {
    let request = HttpRequest {
        id: 1,
        method: "POST".into(),
        path: String::new(),
        query: Vec::new(),
        headers: Vec::new(),
        body: document.to_vec(),
    };
    app.input(Input::Http(Box::new(request)), NOW).expect("room");
    let mut answered = false;
    for _ in 0..TURNS_MAX {
        let turn = app.run(NOW);
        while let Some(output) = app.poll_output() {
            match output {
                Output::HttpResponse(_) => answered = true,
                Output::Failed { .. } => return false,
                _ => {}
            }
        }
        if turn == Turn::Idle {
            assert!(answered, "no answer to {}", document.escape_ascii());
            return true;
        }
    }
    panic!("never at rest with {}", document.escape_ascii());
}

/// A document of the corpus, or two joined, with some bytes changed, doubled or taken out.
fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const MARKS: &[u8] = b"{}[]\",:\\/u0123456789eE+-.tfnl \n\x00\xff";
    let mut document = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(document.len() + 1);
        match random.below(5) {
            0 => document.insert(at, MARKS[random.below(MARKS.len())]),
            1 if at < document.len() => document[at] = MARKS[random.below(MARKS.len())],
            2 if at < document.len() => drop(document.remove(at)),
            3 => {
                let other = &corpus[random.below(corpus.len())];
                let part = &other[random.below(other.len() + 1)..];
                document.splice(at..at, part.iter().copied());
            }
            _ => {
                let part = document[at..].to_vec();
                document.extend(part);
            }
        }
    }
    document
}

/// xorshift64*, good enough to choose mutations.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 |= 1;
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize % end.max(1)
    }
}
