//! Feeds mutated inputs of the corpus to one target: `fuzz source|image|regexp MINUTES [SEED]`.
//!
//! Works on stable Rust. An input that panics is written beside the corpus before it runs, as `last-TARGET`;
//! keep it in the corpus, which the tests replay.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[path = "../tests/fuzz_targets/mod.rs"]
mod fuzz_targets;

use fuzz_targets::{Target, try_input};

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
}

/// Pieces that mutations put in: keywords and what breaks number handling.
const PIECES: [&str; 40] = [
    "function",
    "class",
    " extends ",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "local ",
    "return ",
    "yield ",
    "resume ",
    "try ",
    "catch(e)",
    "throw ",
    "foreach(a,b in ",
    "switch(",
    "case ",
    "base.",
    "::",
    "@(x)",
    "...",
    "<-",
    "/*",
    "\"",
    "@\"",
    "-2147483648",
    "1e38",
    "0x7fffffff",
    "null",
    "delete ",
    "clone ",
    " in ",
    " instanceof ",
    "(a*)*",
    "{1,99}",
    "[^",
    "\\b",
    "|",
];

fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(12)).min(input.len());
        match random.below(7) {
            0 if !input.is_empty() => {
                let at = at.min(input.len() - 1);
                input[at] ^= 1 << random.below(8);
            }
            1 if !input.is_empty() => {
                let at = at.min(input.len() - 1);
                input[at] = [0, 1, 127, 128, 255, b'0', b'('][random.below(7)];
            }
            2 => drop(input.drain(at..end)),
            3 => {
                let piece = PIECES[random.below(PIECES.len())].as_bytes();
                input.splice(at..at, piece.iter().copied());
            }
            4 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            5 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let part = &other[from..(from + random.below(60)).min(other.len())];
                input.splice(at..end, part.iter().copied());
            }
            _ => input.truncate(at),
        }
    }
    input
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let target = arguments.first().and_then(|name| Target::named(name));
    let minutes = arguments.get(1).and_then(|m| m.parse::<f64>().ok());
    let (Some(target), Some(minutes)) = (target, minutes) else {
        eprintln!("usage: fuzz source|image|regexp MINUTES [SEED]");
        return ExitCode::from(2);
    };
    let mut random = Random(arguments.get(2).and_then(|s| s.parse().ok()).unwrap_or(1) | 1);
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let corpus = fuzz_targets::corpus(target);
    let last = folder.join(format!("../last-{}", target.name()));
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let (mut tried, mut slowest) = (0_u64, Duration::ZERO);
    while Instant::now() < end {
        let input = mutate(&corpus, &mut random);
        if std::fs::write(&last, &input).is_err() {
            eprintln!("cannot write {}", last.display());
            return ExitCode::FAILURE;
        }
        let begin = Instant::now();
        try_input(target, &input);
        slowest = slowest.max(begin.elapsed());
        tried += 1;
    }
    drop(std::fs::remove_file(&last));
    println!("{}: {tried} inputs in {minutes} minutes, the slowest took {slowest:?}", target.name());
    ExitCode::SUCCESS
}
