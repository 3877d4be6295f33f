//! Every script of testdata/scripts prints what its head says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod host;

use std::fs;
use std::path::Path;

/// The lines `//: text` at the head of a script are what it prints.
fn expected(text: &str) -> String {
    let head = text.lines().take_while(|l| l.starts_with("//"));
    head.filter_map(|l| l.strip_prefix("//:")).map(|l| format!("{}\n", l.strip_prefix(' ').unwrap_or(l))).collect()
}

#[test]
fn scripts_print_what_their_head_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/scripts");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let output = host::run(&name, &text, vouch_squirrel::Budgets::default());
        seen += 1;
        if output != expected(&text) {
            wrong.push(format!("{name}\n--- expected\n{}--- printed\n{output}", expected(&text)));
        }
    }
    assert!(seen > 10, "only {seen} scripts found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
