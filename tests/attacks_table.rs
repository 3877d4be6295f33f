//! `docs/attacks.md` names tests that exist.

use std::fs;
use std::path::Path;

#[test]
fn every_test_in_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = fs::read_to_string(root.join("docs/attacks.md")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ") && line.contains(".rs`")).collect();
    assert!(rows.len() >= 40, "the table is cut off: {} rows", rows.len());
    let mut missing = Vec::new();
    for row in rows {
        let mut source = None;
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        // Each file is followed by its tests.
        for word in last.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                source = Some((word, fs::read_to_string(root.join(word)).unwrap_or_default()));
            } else if !source.as_ref().is_some_and(|(_, text)| text.contains(&format!("fn {word}()"))) {
                missing.push(format!("{word} in {:?}", source.as_ref().map(|(path, _)| path)));
            }
        }
    }
    assert!(missing.is_empty(), "docs/attacks.md names tests that are not there:\n{}", missing.join("\n"));
}
