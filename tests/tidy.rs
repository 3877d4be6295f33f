//! The house rules of ARCHITECTURE.md and CONTRIBUTING.md, as far as a program can check them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest a source file may be before its unit tests.
const FILE_LINES_MAX: usize = 500;

/// Files that may be longer: one match over all instructions keeps the machine's registers in locals.
const LONG_FILES: [&str; 1] = ["crates/squirrel/src/vm/dispatch.rs"];

/// Crates that are handed bytes and time, and touch neither network, files nor clock; those who make releases have a folder.
const SANS_IO: [&str; 5] = ["protocol", "vault", "release", "apphost", "squirrel"];

/// Libraries that implement or wrap cryptography; `keys` composes them for everybody.
const CRYPTOGRAPHY: [&str; 15] = [
    "argon2",
    "aws-lc-rs",
    "coset",
    "cryptoki",
    "hmac",
    "openssl",
    "p256",
    "rcgen",
    "ring",
    "rsa",
    "rustls",
    "sha2",
    "tss-esapi",
    "vsss-rs",
    "x509-parser",
];

/// The files that may hold `unsafe`: they call the kernel where there is no safe wrapper (ARCHITECTURE.md says why).
const UNSAFE_FILES: [&str; 2] = ["crates/device/src/boot/memory.rs", "crates/device/src/sandbox/kernel.rs"];

/// Licences that a dependency may have, as SPDX expressions are split at OR and AND.
const LICENCES: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests live below the root").to_path_buf()
}

/// Every tracked or new text file of the project below `below` with the given extension.
fn files(below: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").display().to_string()
}

/// The part of a source file before its unit tests, without comment lines.
fn code(text: &str) -> Vec<(usize, &str)> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]") || line.contains("use"))
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .collect()
}

fn manifest(path: &Path) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn crates() -> Vec<(String, toml::Table)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("the crates") {
        let path = entry.expect("an entry").path();
        let short = path.file_name().expect("a name").to_string_lossy().into_owned();
        all.push((short, manifest(&path.join("Cargo.toml"))));
    }
    all.sort_by(|left, right| left.0.cmp(&right.0));
    all
}

fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let table = |key: &str| manifest.get(key).and_then(toml::Value::as_table);
    table("dependencies").map(|names| names.keys().cloned().collect()).unwrap_or_default()
}

fn permitted_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&root().join("ARCHITECTURE.md"));
    let section = text.split("## Permitted arrows").nth(1).expect("a section \"Permitted arrows\"");
    section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let targets = cells[1].split_whitespace().filter(|word| *word != "-").map(str::to_owned).collect();
            (cells[0].to_owned(), targets)
        })
        .collect()
}

fn assert_none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Lines of code below `folder` that hold `needle`, but for files whose path starts with one of `allowed`.
fn uses(folder: &str, needle: &str, allowed: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for path in files(folder, "rs") {
        let file = name(&path);
        if allowed.iter().any(|prefix| file.starts_with(prefix)) {
            continue;
        }
        for (number, line) in code(&read(&path)) {
            if line.contains(needle) {
                problems
                    .push(format!("{file}:{number}: {needle:?} is not allowed here (ARCHITECTURE.md, On the wall)"));
            }
        }
    }
    problems
}

#[test]
fn crates_import_only_along_permitted_arrows() {
    let arrows = permitted_arrows();
    let ours: BTreeSet<String> = crates().into_iter().map(|(short, _)| short).collect();
    assert_eq!(ours, arrows.keys().cloned().collect(), "ARCHITECTURE.md must name exactly the crates that exist");
    let mut problems = Vec::new();
    for (short, manifest) in crates() {
        for target in dependencies(&manifest).intersection(&ours) {
            if !arrows[&short].contains(target) {
                problems.push(format!("crates/{short} may not import {target}"));
            }
        }
    }
    assert_none(problems);
}

#[test]
fn the_device_has_no_compiler() {
    let cargo = std::env::var_os("CARGO").expect("cargo names itself to tests");
    let output = Command::new(cargo)
        .args([
            "tree",
            "--package",
            "vouch-device",
            "--edges",
            "normal,features",
            "--prefix",
            "none",
            "--locked",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.lines().any(|line| line.starts_with("vouch-squirrel v")), "device no longer runs squirrel: {tree}");
    let compiler = tree.lines().find(|line| line.starts_with("vouch-squirrel feature \"compile\""));
    assert_eq!(compiler, None, "crates/device must not come to the feature `compile` of squirrel on any way");
}

#[test]
fn pure_crates_have_no_io_and_no_clock() {
    let mut problems = Vec::new();
    for (short, manifest) in crates().iter().filter(|(short, _)| SANS_IO.contains(&short.as_str())) {
        for banned in ["tokio", "tokio-rustls", "rustix", "socket2", "mio"] {
            if dependencies(manifest).contains(banned) {
                problems.push(format!("crates/{short} may not depend on {banned}"));
            }
        }
        for banned in ["std::fs", "std::net", "std::process", "thread::spawn", "SystemTime::now", "Instant::now"] {
            problems.extend(uses(&format!("crates/{short}/src"), banned, &["crates/release/src/author"]));
        }
    }
    assert_none(problems);
}

#[test]
fn only_keys_names_a_cryptographic_library() {
    let mut problems = Vec::new();
    for (short, manifest) in crates().iter().filter(|(short, _)| short != "keys") {
        let metadata = if short == "release" { &[][..] } else { &["sigstore-tuf"] };
        for banned in CRYPTOGRAPHY.iter().chain(metadata) {
            if dependencies(manifest).contains(*banned) {
                problems.push(format!("crates/{short} may not depend on {banned}: compose it in crates/keys"));
            }
        }
    }
    assert_none(problems);
}

#[test]
fn a_device_writes_its_state_in_one_place() {
    // The folder's own part is the rename of a device that is complete; what boards show is no state; what a self-test tries to
    // write must be refused.
    let allowed = [
        "crates/device/src/storage.rs",
        "crates/device/src/folder/unfinished.rs",
        "crates/device/src/boot/tests.rs",
        "crates/device/src/parent/services/tests.rs",
        "crates/device/src/board",
        "crates/device/src/self_test/attempts.rs",
    ];
    for writing in ["fs::write", "fs::rename", "File::create", "OpenOptions"] {
        assert_none(uses("crates/device/src", writing, &allowed));
    }
}

#[test]
fn only_the_store_holds_sql() {
    // The test of the OS image says that it is not in there.
    assert_none(uses("crates", "sqlx", &["crates/server/src/store", "crates/cli/tests/it/os_image.rs"]));
}

#[test]
fn only_the_api_knows_its_media_type() {
    assert_none(uses("crates", "application/vnd.api+json", &["crates/server/src/api", "crates/cli/src/central.rs"]));
}

#[test]
fn only_the_cli_reads_the_environment() {
    // A PKCS#11 library has one state for each process and is configured by its environment, so those tests have their own.
    assert_none(uses("crates", "env::var", &["crates/cli/", "crates/keys/tests/pkcs11/alone.rs"]));
}

#[test]
fn only_the_cli_uses_anyhow() {
    let problems =
        crates().into_iter().filter(|(short, manifest)| short != "cli" && dependencies(manifest).contains("anyhow"));
    assert_none(problems.map(|(short, _)| format!("crates/{short} may not depend on anyhow")).collect());
}

#[test]
fn the_edges_of_the_server_do_not_import_each_other() {
    let mut problems = Vec::new();
    let edges = ["gateway", "agents", "api"];
    for edge in edges {
        for other in edges.iter().filter(|other| **other != edge) {
            problems.extend(uses(&format!("crates/server/src/{edge}"), &format!("crate::{other}"), &[]));
        }
    }
    for above in ["gateway", "agents", "api", "store", "bus"] {
        problems.extend(uses("crates/server/src/fleet", &format!("crate::{above}"), &[]));
    }
    assert_none(problems);
}

#[test]
fn unsafe_code_is_in_its_named_files_alone() {
    let workspace = manifest(&root().join("Cargo.toml"));
    assert_eq!(workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("deny"));
    // The compiler refuses unsafe code wherever this is not said; `expect` would say it as well.
    for saying in ["allow", "expect", "warn"] {
        assert_none(uses(".", &format!("{saying}({}", "unsafe_code"), &UNSAFE_FILES));
    }
    let architecture = read(&root().join("ARCHITECTURE.md"));
    for file in UNSAFE_FILES {
        assert!(architecture.contains(file), "ARCHITECTURE.md must say why {file} holds unsafe code");
        assert!(
            read(&root().join(file)).contains(concat!("allow(", "unsafe_code")),
            "{file} needs no permission any more"
        );
    }
    for path in
        files(".", "toml").iter().filter(|path| path.ends_with("Cargo.toml") && **path != root().join("Cargo.toml"))
    {
        let inherits =
            manifest(path).get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(inherits, Some(true), "{}: [lints] must say workspace = true", name(path));
    }
}

#[test]
fn every_file_opens_with_a_sentence_and_is_short() {
    let mut problems = Vec::new();
    for path in ["crates", "tests", "benches", "xtask", "cards"].iter().flat_map(|folder| files(folder, "rs")) {
        let text = read(&path);
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") || !first.ends_with(['.', ':', '?']) {
            problems.push(format!("{}: the first line must be one `//!` sentence", name(&path)));
        }
        let in_tests = name(&path).contains("/tests/") || name(&path).starts_with("tests/");
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]\nmod")).count();
        let before_tests = text.split("\n#[cfg(test)]\nmod ").next().map_or(lines, |part| part.lines().count());
        if !in_tests && before_tests > FILE_LINES_MAX && !LONG_FILES.contains(&name(&path).as_str()) {
            problems.push(format!("{}: {before_tests} lines before its tests, at most {FILE_LINES_MAX}", name(&path)));
        }
    }
    assert_none(problems);
}

#[test]
fn nothing_is_left_to_do_and_nothing_names_a_machine() {
    let mut problems = Vec::new();
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("#[ign", "ore"),
    ];
    let texts = ["rs", "md", "toml", "cddl", "sh", "nut"].iter().flat_map(|extension| files(".", extension));
    for path in texts {
        for (index, line) in read(&path).lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                problems.push(format!("{}:{}: {mark:?}", name(&path), index + 1));
            }
        }
    }
    assert_none(problems);
}

#[test]
fn versions_stand_in_one_place() {
    let mut problems = Vec::new();
    for path in
        files(".", "toml").iter().filter(|path| path.ends_with("Cargo.toml") && **path != root().join("Cargo.toml"))
    {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest(path).get(section).and_then(toml::Value::as_table).cloned() else { continue };
            for (dependency, value) in table {
                if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    problems.push(format!("{}: {dependency} must say workspace = true", name(path)));
                }
            }
        }
    }
    assert_none(problems);
}

#[test]
fn every_dependency_is_permissive_and_no_pre_release() {
    let cargo = std::env::var_os("CARGO").expect("cargo names itself to tests");
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let mut problems = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let what = format!("{} {}", package["name"], package["version"]);
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ").replace(['(', ')'], "");
        let allowed =
            licence.split(" OR ").any(|choice| choice.split(" AND ").all(|part| LICENCES.contains(&part.trim())));
        if !allowed {
            problems.push(format!("{what}: licence {licence:?}"));
        }
        if package["version"]
            .as_str()
            .is_some_and(|version| version.split('+').next().is_some_and(|core| core.contains('-')))
        {
            problems.push(format!("{what}: a pre-release"));
        }
    }
    assert_none(problems);
}

#[test]
fn the_commands_of_the_readme_exist() {
    let makefile = read(&root().join("Makefile"));
    let readme = read(&root().join("README.md"));
    for target in ["demo", "test"] {
        assert!(readme.contains(&format!("make {target}")), "README.md must name `make {target}`");
        assert!(makefile.lines().any(|line| line.starts_with(&format!("{target}:"))), "Makefile lacks {target}");
    }
    assert!(read(&root().join(".ci/run")).contains("make test"), ".ci/run must call make test");
}

#[test]
fn no_two_migrations_of_the_database_have_one_number() {
    let folder = root().join("crates/server/src/store/migrations");
    let mut numbers: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            entry.unwrap().file_name().to_string_lossy().chars().take_while(char::is_ascii_digit).collect::<String>()
        })
        .collect();
    let all = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), all, "{numbers:?}");
}
