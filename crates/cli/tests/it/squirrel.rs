//! `vouch squirrel`: what scripts print, what errors look like, images.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::support::vouch;

struct Scripts(tempfile::TempDir);

impl Scripts {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, text: &str, arguments: &[&str]) -> (i32, String, String) {
        let path = self.write("script.nut", text);
        shown(vouch().args(["squirrel", "run"]).args(arguments).arg(path).output().unwrap(), self)
    }
}

/// Exit code, standard output and standard error, without the folder.
fn shown(output: Output, scripts: &Scripts) -> (i32, String, String) {
    let folder = format!("{}/", scripts.0.path().display());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "");
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_script_prints_and_has_the_references_functions_at_the_root() {
    let text = r#"print("a\n"); print(sqrt(16) + " " + math.floor(2.5) + "\n"); print(format("%03d", 7));"#;
    assert_eq!(Scripts::new().run(text, &[]), (0, "a\n4 2\n007".to_owned(), String::new()));
}

#[test]
fn a_script_may_nest_deep_and_run_long() {
    let text =
        "function f(n) { return n ? 1 + f(n - 1) : 0 } print(f(50000) + \"\\n\"); function g() { return 1 + g() } g();";
    let (code, out, error) = Scripts::new().run(text, &[]);
    assert_eq!((code, out.as_str(), error.lines().next()), (1, "50000\n", Some("stack overflow")));
}

#[test]
fn an_uncaught_error_is_shown_with_its_stack_and_the_exit_code_is_1() {
    let text = "function f() {\n  throw \"no\";\n}\nprint(\"before\");\nf();\n";
    let (code, out, error) = Scripts::new().run(text, &[]);
    assert_eq!((code, out.as_str()), (1, "before"));
    assert_eq!(error, "no\n  at f (script.nut:2)\n  at main (script.nut:5)\n");
}

#[test]
fn an_app_runs_in_virtual_time_on_either_end() {
    let device = r#"local n = 0; function tick() { server.log(++n); if (n < 3) imp.wakeup(1000, tick); } tick();
                    server.log(agent.send("x", 1)); hardware.pin1.configure(DIGITAL_OUT, 1);"#;
    assert_eq!(
        Scripts::new().run(device, &["--imp=device", "--seconds", "5000"]),
        (0, "1\n1\n2\n3\n".to_owned(), String::new())
    );
    let agent = r#"server.save({ a = 1 }); server.log(http.jsonencode(server.load(), { compact = true }));
                   http.get("http://example.com").sendasync(@(r) server.log(r.statuscode));"#;
    assert_eq!(Scripts::new().run(agent, &["--imp=agent"]), (0, "{\"a\":1}\n7\n".to_owned(), String::new()));
}

#[test]
fn agents_have_regexp2_and_devices_do_not() {
    let text = r#"server.log("regexp2" in getroottable() && regexp2("(\\d+)$").capture("pin 42")[1].begin);"#;
    assert_eq!(Scripts::new().run(text, &["--imp=agent"]), (0, "4\n".to_owned(), String::new()));
    assert_eq!(Scripts::new().run(text, &["--imp"]), (0, "false\n".to_owned(), String::new()));
}

#[test]
fn an_app_that_never_ends_is_ended_by_virtual_time() {
    let text = "local n = 0; function tick() { n++; imp.wakeup(1, tick); if (n == 11) server.log(n); } tick();";
    assert_eq!(Scripts::new().run(text, &["--imp", "--seconds", "10"]), (0, "11\n".to_owned(), String::new()));
    assert_eq!(Scripts::new().run(text, &["--imp", "--seconds", "9"]), (0, String::new(), String::new()));
}

#[test]
fn a_failed_app_tells_its_error_as_a_device_does() {
    let (code, out, error) = Scripts::new().run("imp.wakeup(1, function() {\n  throw \"late\";\n});", &["--imp"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(error, format!("ERROR: late\nERROR:   in unknown {}:2\n", "script.nut"));
}

#[test]
fn check_shows_each_error_with_its_place_and_a_caret() {
    let scripts = Scripts::new();
    let files = [
        scripts.write("good.nut", "local x = 1;"),
        scripts.write("bad.nut", "local x = 1;\n\tlocal y = ;\n"),
        scripts.write("worse.nut", "}"),
    ];
    let (code, out, error) = shown(vouch().args(["squirrel", "check"]).args(&files).output().unwrap(), &scripts);
    assert_eq!((code, error.as_str()), (1, ""));
    assert!(out.starts_with("bad.nut:2:12: "), "{out}");
    assert!(out.contains("\n\tlocal y = ;\n\t          ^\nworse.nut:1:1: "), "{out}");
    let good = vouch().args(["squirrel", "check"]).arg(&files[0]).output().unwrap();
    assert_eq!(shown(good, &scripts), (0, String::new(), String::new()));
}

#[test]
fn compile_writes_an_image_and_says_what_it_is() {
    let scripts = Scripts::new();
    let (source, image) = (scripts.write("a.nut", "server.log(1);"), scripts.0.path().join("a.image"));
    let output = vouch().args(["--json", "squirrel", "compile"]).arg(source).arg("-o").arg(&image).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes = fs::read(&image).unwrap();
    assert_eq!(said["bytes"], bytes.len());
    assert_eq!(said["sha256"], const_hex::encode(keys::hashes::sha256(&bytes)));
    squirrel::Program::from_image(&bytes).unwrap();
    let beside = vouch().args(["squirrel", "compile"]).arg(scripts.0.path().join("a.nut")).output().unwrap();
    let (code, out, error) = shown(beside, &scripts);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.starts_with("a.image: ") && out.contains(" bytes, SHA-256 "), "{out}");
    assert_eq!(fs::read(&image).unwrap(), bytes);
    let bad = scripts.write("bad.nut", "local;");
    let output =
        vouch().args(["squirrel", "compile"]).arg(bad).arg("-o").arg(scripts.0.path().join("none")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!scripts.0.path().join("none").exists());
}
