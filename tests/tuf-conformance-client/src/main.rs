//! The command line of the TUF conformance suite, around the verification that devices run.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use keys::hashes::sha256;
use release::floors::MetadataFloors;
use release::manifest::Content;
use release::tuf::{Cache, Source, SourceError, Trusted, verify};
use ureq::Agent;

/// The longest target that is downloaded, in bytes.
const TARGET_MAX: u64 = 50_000_000;

#[derive(Parser)]
struct Arguments {
    /// Where trusted metadata are kept, under names without versions.
    #[arg(long)]
    metadata_dir: PathBuf,
    #[arg(long)]
    metadata_url: Option<String>,
    #[arg(long)]
    target_name: Vec<String>,
    #[arg(long)]
    target_base_url: Option<String>,
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Trust this root.
    Init {
        /// Its file.
        root: PathBuf,
    },
    /// Verify the newest metadata.
    Refresh,
    /// Verify the newest metadata, and fetch targets.
    Download,
}

/// Metadata over HTTP.
struct Repository {
    agent: Agent,
    base: String,
}

/// Metadata in files.
struct Folder(PathBuf);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.act {
        Act::Init { root } => {
            let root = fs::read(root)?;
            release::tuf::check_root(&root)?;
            Ok(fs::write(arguments.metadata_dir.join("root.json"), root)?)
        }
        Act::Refresh => refresh(&arguments).map(|_| ()),
        Act::Download => download(&arguments),
    }
}

fn agent() -> Agent {
    let timeout = Some(Duration::from_secs(30));
    Agent::config_builder().http_status_as_error(false).timeout_global(timeout).build().new_agent()
}

fn refresh(arguments: &Arguments) -> Result<Trusted> {
    let base = arguments.metadata_url.clone().context("--metadata-url is missing")?;
    let root = fs::read(arguments.metadata_dir.join("root.json")).context("no trusted root; run init first")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let (repository, folder) = (Repository { agent: agent(), base }, Folder(arguments.metadata_dir.clone()));
    // The folder is what is remembered: a device has floors as well.
    Ok(verify(&root, repository, folder, &MetadataFloors::NONE, now)?)
}

fn download(arguments: &Arguments) -> Result<()> {
    let mut trusted = refresh(arguments)?;
    let folder = arguments.target_dir.as_ref().context("--target-dir is missing")?;
    let base = arguments.target_base_url.as_ref().context("--target-base-url is missing")?;
    let root: serde_json::Value = serde_json::from_slice(trusted.root())?;
    let consistent = root["signed"]["consistent_snapshot"].as_bool() == Some(true);
    for name in &arguments.target_name {
        let content = trusted.find(name)?.with_context(|| format!("no role lists the target {name:?}"))?;
        let file = folder.join(relative(name)?);
        if fs::read(&file).is_ok_and(|kept| is(&kept, content)) {
            continue;
        }
        let url = format!("{}/{}", base.trim_end_matches('/'), hashed(name, content, consistent));
        let most = content.length.min(TARGET_MAX);
        let target = get(&agent(), &url, most)?.with_context(|| format!("{url} is not there"))?;
        ensure!(is(&target, content), "{url} is not the target that was approved");
        fs::create_dir_all(file.parent().unwrap_or(folder))?;
        fs::write(&file, target)?;
    }
    Ok(())
}

fn is(bytes: &[u8], content: Content) -> bool {
    bytes.len() as u64 == content.length && sha256(bytes) == *content.sha256
}

/// Where a repository with consistent snapshots has a target: the hash stands before the file's name, not before the path.
fn hashed(name: &str, content: Content, consistent: bool) -> String {
    if !consistent {
        return name.to_owned();
    }
    let hash: String = content.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    match name.rsplit_once('/') {
        Some((folder, file)) => format!("{folder}/{hash}.{file}"),
        None => format!("{hash}.{name}"),
    }
}

/// A target's name as a path that stays in its folder.
fn relative(name: &str) -> Result<&Path> {
    let path = Path::new(name.trim_start_matches('/'));
    if path.components().any(|part| !matches!(part, Component::Normal(_))) {
        bail!("the target {name:?} would leave its folder");
    }
    Ok(path)
}

/// The body of an answer; `None` when there is none of this name.
fn get(agent: &Agent, url: &str, most: u64) -> Result<Option<Vec<u8>>> {
    let answer = agent.get(url).call()?;
    match answer.status().as_u16() {
        200 => {}
        403 | 404 => return Ok(None),
        status => bail!("{url}: status {status}"),
    }
    let mut body = Vec::new();
    answer.into_body().into_reader().take(most.saturating_add(1)).read_to_end(&mut body)?;
    ensure!(body.len() as u64 <= most, "{url} is longer than {most} bytes");
    Ok(Some(body))
}

impl Source for Repository {
    fn metadata(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let url = format!("{}/{name}", self.base.trim_end_matches('/'));
        get(&self.agent, &url, most).map_err(|error| SourceError(format!("{error:#}")))
    }
}

impl Cache for Folder {
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(name)).ok()
    }

    /// The suite looks at the names in the folder: nothing with a version, nothing in folders below.
    fn store(&self, name: &str, file: &[u8]) {
        // Of the top roles, only the snapshot comes with its version; a delegated role may have any name.
        let version = name.strip_suffix(".snapshot.json");
        if version.is_some_and(|version| version.parse::<u64>().is_ok()) || name.contains('/') {
            return;
        }
        if let Err(error) = fs::write(self.0.join(name), file)
            && error.kind() != ErrorKind::NotFound
        {
            eprintln!("{name} is not kept: {error}");
        }
    }
}
