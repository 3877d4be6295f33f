//! Power cuts: record what a machine writes, cut its power at many points of that, judge what is left.

mod initramfs;
mod machine;
mod report;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use machine::{Access, Drive, Machine};
use report::{Line, Outcome, Run};

/// The writers, and whether each must survive; the first is the device's own.
const WRITERS: [(&str, bool); 3] = [("sound", true), ("no-folder-sync", false), ("no-sync", false)];
/// A disk with room for a file system and an acknowledgement behind it.
const DISK_BYTES: u64 = 16 << 20;
const FILE_SYSTEM: &str = "15M";
/// More than any log takes; the file is sparse.
const LOG_BYTES: u64 = 1 << 30;

#[derive(Args)]
pub(crate) struct Options {
    /// At how many points the power of the device's own writer is cut
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    points: u32,
    /// At how many points the power of each careless writer is cut
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    careless_points: u32,
    /// Cut as an earlier run did, whose seed this is; together with --again exactly so
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Record nothing: cut what the last run recorded
    #[arg(long)]
    again: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Where everything of a run is.
struct Workshop {
    dir: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let begun = Instant::now();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let (workshop, kernel_version) = Workshop::open(options.again)?;
    if !options.again {
        workshop.record()?;
    }
    eprintln!("powercut: seed {seed}");
    let outcomes = workshop.check(options, seed)?;
    let run = Run { seed, kernel: kernel_version, seconds: begun.elapsed().as_secs_f64(), outcomes };
    if options.json {
        println!("{}", serde_json::to_string(&run)?);
    } else {
        print!("{run}");
    }
    if !run.passed() {
        eprintln!("powercut: the disks and logs are in {}; look again with", workshop.dir.display());
        eprintln!("  cargo xtask powercut --again --seed {seed} --points {}", options.points);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

impl Workshop {
    /// Finds the tools, and builds the machine's only program.
    fn open(again: bool) -> Result<(Workshop, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the project has no folder")?;
        let target = root.join("target");
        let dir = target.join("powercut");
        for tool in [machine::QEMU, MKFS] {
            let found = Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            ensure!(found.is_ok(), "there is no {tool}; run `scripts/setup powercut`");
        }
        let (kernel, version) = initramfs::kernel(&dir.join("kernel"))?;
        let program = build_guest(root, &target)?;
        let images = dir.join("images");
        if !again {
            make_images(&program, &images)?;
        }
        let initramfs = dir.join("initramfs");
        initramfs::write(&initramfs, &program, &images, &dir.join("kernel"), &version)?;
        Ok((Workshop { dir, kernel, initramfs }, version))
    }

    /// Lets each writer write on a new disk, and keeps the log.
    fn record(&self) -> Result<()> {
        let base = self.base();
        File::create(&base)?.set_len(DISK_BYTES)?;
        let made =
            Command::new(MKFS).args(["-q", "-F", "-E", "lazy_itable_init=0"]).arg(&base).arg(FILE_SYSTEM).status();
        ensure!(made.context(MKFS)?.success(), "{MKFS} failed");
        let mut drives = Vec::new();
        for (name, _) in WRITERS {
            let (disk, log) = (self.dir.join(format!("{name}.disk")), self.log(name));
            fs::copy(&base, &disk)?;
            File::create(&log)?.set_len(LOG_BYTES)?;
            drives.push(Drive { file: disk, access: Access::Logged(log) });
        }
        let progress = bar(WRITERS.len() as u64, "recording");
        let words: Vec<_> = ["record"].into_iter().chain(WRITERS.map(|(name, _)| name)).collect();
        let mut machine = self.start("record", &words.join(" "), &drives)?;
        let mut recorded = 0;
        machine.listen(|line| {
            if let Line::Recorded { .. } = line {
                recorded += 1;
                progress.inc(1);
            }
            Ok(())
        })?;
        progress.finish_and_clear();
        ensure!(recorded == WRITERS.len(), "only {recorded} writers were recorded");
        Ok(())
    }

    /// Cuts the power of each writer and collects what was left.
    fn check(&self, options: &Options, seed: u64) -> Result<Vec<Outcome>> {
        let scratch = self.dir.join("scratch.disk");
        File::create(&scratch)?.set_len(DISK_BYTES)?;
        let mut drives = vec![
            Drive { file: scratch, access: Access::Scratch },
            Drive { file: self.base(), access: Access::ReadOnly },
        ];
        let mut words = vec!["check".to_owned(), seed.to_string()];
        for (name, must_survive) in WRITERS {
            let log = self.log(name);
            ensure!(log.exists(), "there is no record of an earlier run; run it without --again");
            drives.push(Drive { file: log, access: Access::ReadOnly });
            words.push(format!("{name}={}", if must_survive { options.points } else { options.careless_points }));
        }
        let progress = bar(0, "");
        let mut outcomes: Vec<Outcome> = Vec::new();
        self.start("check", &words.join(" "), &drives)?.listen(|line| {
            match line {
                Line::Writer { writer, requests, possible, points } => {
                    let (name, must_survive) =
                        WRITERS.into_iter().find(|(name, _)| *name == writer).context("an unknown writer")?;
                    progress.set_message(name);
                    progress.set_length(points);
                    progress.set_position(0);
                    outcomes.push(Outcome::new(name, must_survive, requests, possible, points));
                }
                Line::Point(point) => {
                    progress.inc(1);
                    outcomes.last_mut().context("a point of no writer")?.add(point);
                }
                other => bail!("the machine said {other:?}"),
            }
            Ok(())
        })?;
        progress.finish_and_clear();
        ensure!(outcomes.len() == WRITERS.len(), "only {} writers were looked at", outcomes.len());
        Ok(outcomes)
    }

    fn start(&self, name: &str, words: &str, drives: &[Drive]) -> Result<Machine> {
        Machine::start(&self.kernel, &self.initramfs, words, drives, self.dir.join(format!("{name}.console")))
    }

    /// The disk before any writer wrote.
    fn base(&self) -> PathBuf {
        self.dir.join("base.disk")
    }

    fn log(&self, writer: &str) -> PathBuf {
        self.dir.join(format!("{writer}.log"))
    }
}

const MKFS: &str = "mkfs.ext4";

/// Builds the guest's program as the OS image is built, and in the same folder: most of what it needs is there already.
fn build_guest(root: &Path, target: &Path) -> Result<PathBuf> {
    const TRIPLE: &str = "x86_64-unknown-linux-gnu";
    const PROFILE: &str = "os-image";
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = target.join(PROFILE);
    let built = Command::new(cargo)
        .current_dir(root)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .args(["build", "--locked", "--package", "powercut-guest", "--profile", PROFILE, "--target", TRIPLE])
        .arg("--target-dir")
        .arg(&target)
        .status()
        .context("cargo cannot be started")?;
    ensure!(built.success(), "the machine's program does not build");
    Ok(target.join(TRIPLE).join(PROFILE).join("powercut-guest"))
}

/// Has the guest's program make its OS images here, where a release key does not take minutes.
fn make_images(program: &Path, images: &Path) -> Result<()> {
    if images.exists() {
        fs::remove_dir_all(images)?;
    }
    fs::create_dir(images)?;
    let made = Command::new(program).arg("prepare").arg(images).status().context("the guest's program")?;
    ensure!(made.success(), "the OS images cannot be made");
    Ok(())
}

fn bar(length: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg:16} {bar:40} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(500));
    bar
}
