//! `vouch squirrel`: the language of device apps and agents on this machine, without a server.

mod imp;

use std::fs;
use std::io::{BufWriter, Write, stderr, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use keys::hashes::sha256;
use serde_json::json;
use squirrel::{
    Budgets, Clock, CompileError, CompileOptions, LibraryBuilder, Linked, Program, Source, Step, Value, Vm, compile,
};

use crate::output::{Output, Said};

/// The host's numbers of the two functions that print.
const PRINT: u32 = 0;
const ERROR: u32 = 1;

/// Bytes that a script may use.
const MEMORY_BYTES: usize = 1 << 30;
/// Calls that a script may nest.
const DEPTH: usize = 100_000;

/// Puts the functions of `math` into the root table too, where the reference has them.
const PRELUDE: Source<'static> = Source {
    name: "prelude",
    text: b"foreach (name, value in math) if (!(name in getroottable())) getroottable()[name] <- value;",
};

/// Run, check or compile Squirrel source files on this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum Squirrel {
    Run(Run),
    Check(Check),
    Compile(Compile),
}

/// Run a source file; an error that nobody catches is shown with its call stack, and the exit code is 1.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The source file.
    file: PathBuf,
    /// Give it what an app finds on this end (timers, `server`, a simulated board), in virtual time and without the other end.
    /// `--imp` alone is a device.
    #[arg(long, value_name = "END", num_args = 0..=1, require_equals = true, default_missing_value = "device")]
    imp: Option<Place>,
    /// Seconds of virtual time after which an app with timers is ended; only with --imp.
    #[arg(long, default_value_t = 60, requires = "imp")]
    seconds: u32,
}

/// The two ends of an app.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    /// What runs on a device.
    Device,
    /// What runs on the server.
    Agent,
}

/// Compile source files and show what is wrong with each; the exit code is 1 when something is.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The source files; each is a program of its own.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Compile a source file to an app image, which a device or a server runs without a compiler.
#[derive(Args, Debug)]
pub(crate) struct Compile {
    /// The source file.
    file: PathBuf,
    /// Where to write the image; the source's name with the extension `image` when it is not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Squirrel {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Self::Run(command) => command.run(),
            Self::Check(command) => command.run(output),
            Self::Compile(command) => command.run(output),
        }
    }
}

impl Run {
    fn run(self) -> Result<()> {
        let file = SourceFile::read(&self.file)?;
        match self.imp {
            Some(place) => {
                let program = file.compile(&[]).map_err(|error| say(&error.with_caret()))?;
                imp::run(&program, place, u64::from(self.seconds) * 1_000)
            }
            None => run(&file.compile(&[PRELUDE]).map_err(|error| say(&error.with_caret()))?),
        }
    }
}

impl Check {
    fn run(self, output: &Output) -> Result<()> {
        let mut wrong = 0;
        for path in &self.files {
            if let Err(error) = SourceFile::read(path)?.compile(&[]) {
                wrong += 1;
                let CompileError { file, row, column, text, source_line } = &error;
                let place = json!({ "file": file, "row": row, "column": column, "text": text, "line": source_line });
                output.result(&place, &error.with_caret());
            }
        }
        if wrong > 0 { Err(Said.into()) } else { Ok(()) }
    }
}

impl Compile {
    fn run(self, output: &Output) -> Result<()> {
        let image = SourceFile::read(&self.file)?.compile(&[]).map_err(|error| say(&error.with_caret()))?.to_image();
        let path = self.output.unwrap_or_else(|| self.file.with_extension("image"));
        fs::write(&path, &image).with_context(|| format!("{} cannot be written", path.display()))?;
        let hash = const_hex::encode(sha256(&image));
        let text = format!("{}: {} bytes, SHA-256 {hash}", path.display(), image.len());
        output.result(&json!({ "file": path, "bytes": image.len(), "sha256": hash }), &text);
        Ok(())
    }
}

struct SourceFile {
    name: String,
    text: Vec<u8>,
}

impl SourceFile {
    fn read(path: &PathBuf) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Self { name: path.display().to_string(), text })
    }

    fn compile(&self, before: &[Source<'_>]) -> Result<Program, CompileError> {
        let mut sources = before.to_vec();
        sources.push(Source { name: &self.name, text: &self.text });
        compile(&sources, &CompileOptions::default())
    }
}

/// Prints what went wrong, as it is.
fn say(text: &str) -> anyhow::Error {
    // A closed pipe ends nothing.
    let _ = writeln!(stderr(), "{text}");
    Said.into()
}

/// Runs a program that has the language's own libraries and nothing else.
fn run(program: &Program) -> Result<()> {
    let mut builder = LibraryBuilder::new();
    let root = builder.root();
    builder.host_text_fn(root, "print", PRINT);
    builder.host_text_fn(root, "error", ERROR);
    let budgets = Budgets { event: u64::MAX, bytes: MEMORY_BYTES, depth: DEPTH, ..Budgets::default() };
    let mut vm = Vm::new(&Linked::new(&builder.build(), program), budgets)?;
    vm.set_seed(u64::from_le_bytes(keys::hashes::random()));
    let began = std::time::Instant::now();
    vm.start();
    let mut out = BufWriter::new(stdout().lock());
    loop {
        let mono_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        vm.set_clock(Clock { unix_ms: jiff::Timestamp::now().as_millisecond(), mono_us });
        match vm.run() {
            Step::HostCall(call) => {
                let value = call.args.first().copied().unwrap_or_default();
                let shown = vm.heap().bytes_of(value).unwrap_or_default();
                match call.id {
                    PRINT => out.write_all(shown)?,
                    _ => stderr().write_all(shown)?,
                }
                vm.resume(Ok(Value::Null));
            }
            Step::SliceEnded => {}
            Step::Done(_) => return Ok(out.flush()?),
            Step::Failed(error) => {
                out.flush()?;
                return Err(say(&error.to_string()));
            }
        }
    }
}
