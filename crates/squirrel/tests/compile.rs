//! What the compiler says: places of errors, `#line`, `#require`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod host;

use vouch_squirrel::{Budgets, CompileOptions, LIBRARIES_MAX, Required, Source, compile, require};

fn refused(text: &str) -> String {
    host::program("a.nut", text).expect_err(text).to_string()
}

#[test]
fn errors_have_row_and_column_whoever_finds_them() {
    assert_eq!(refused("local a = 1\nlocal b = )"), "a.nut:2:11: expression expected");
    assert_eq!(refused("local a = \"x"), "a.nut:1:13: unfinished string");
    assert_eq!(refused("local a = 1;\n  break"), "a.nut:2:3: 'break' has to be in a loop block");
    assert_eq!(refused("function f() {\n    local x = 1\n    x <- 2\n}"), "a.nut:3:7: can't 'create' a local slot");
    let error = host::program("a.nut", "local a = 1;\n\tcontinue").unwrap_err();
    assert_eq!(error.with_caret().lines().collect::<Vec<_>>()[1..], ["\tcontinue", "\t^"]);
}

#[test]
fn line_directives_move_the_place_of_compile_errors_and_of_stacks() {
    assert_eq!(refused("#line 100 \"b.nut\"\nlocal b = )"), "b.nut:100:11: expression expected");
    assert_eq!(refused("#line 100\n\nbreak"), "a.nut:101:1: 'break' has to be in a loop block");
    assert_eq!(refused("local v = @\"\n#line 7\n\"\nbreak"), "a.nut:4:1: 'break' has to be in a loop block");
    let text = "#line 10 \"lib.nut\"\nfunction f() {\n    throw \"no\"\n}\n#line 1 \"main.nut\"\n\nf()";
    let printed = host::run("all.nut", text, Budgets::default());
    assert_eq!(printed, "no\n  at f (lib.nut:11)\n  at main (main.nut:2)\n");
}

/// The libraries that a source gets, by name, from these.
fn libraries(text: &str, known: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let find = |r: &Required| {
        let key = format!("{}:{}", r.name, r.version);
        let found = known.iter().find(|(name, _)| *name == key);
        found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| format!("there is no library {key}"))
    };
    let found = require(&[Source { name: "a.nut", text: text.as_bytes() }], find).map_err(|e| e.to_string())?;
    Ok(found.into_iter().map(|l| l.name).collect())
}

#[test]
fn required_libraries_come_once_and_after_what_they_need() {
    let known = [("A:1.0.0", "#require \"B:2.0.0\"\nA <- B + 1"), ("B:2.0.0", "B <- 1")];
    let text = "#require \"A:1.0.0\"\n#require \"B:2.0.0\"\n/* #require \"C:1\" */ local s = \"#require \\\"D:1\\\"\"";
    assert_eq!(libraries(text, &known).unwrap(), ["B:2.0.0", "A:1.0.0"]);
    let find = |r: &Required| Ok(known[usize::from(r.name == "B")].1.as_bytes().to_vec());
    let main = Source { name: "a.nut", text: b"#require \"A:1.0.0\"\nprint(A)" };
    let found = require(&[main], find).unwrap();
    let mut sources: Vec<Source<'_>> = found.iter().map(|l| Source { name: &l.name, text: &l.text }).collect();
    sources.push(main);
    assert!(compile(&sources, &CompileOptions::default()).is_ok());
}

#[test]
fn circles_versions_and_crowds_of_libraries_are_refused() {
    let circle = [("A:1", "#require \"B:1\""), ("B:1", "\n #require \"A:1\"")];
    let text = libraries("#require \"A:1\"", &circle).unwrap_err();
    assert_eq!(text, "B:1:2:2: libraries require each other in a circle: A > B > A");
    let two = [("A:1", "#require \"B:2\""), ("B:1", ""), ("B:2", "")];
    let text = libraries("#require \"B:1\"\n#require \"A:1\"", &two).unwrap_err();
    assert_eq!(text, "A:1:1:1: B is required in the versions 1 and 2");
    assert_eq!(libraries("#require \"A:1\"", &[]).unwrap_err(), "a.nut:1:1: there is no library A:1");
    assert!(libraries("#require \"A\"", &[]).unwrap_err().contains("needs a name and a version"));
    let find = |_: &Required| Ok(Vec::new());
    let crowd = |n: usize| (0..n).map(|i| format!("#require \"L{i}:1\"\n")).collect::<String>();
    let ask = |text: &str| require(&[Source { name: "a.nut", text: text.as_bytes() }], find);
    assert_eq!(ask(&crowd(LIBRARIES_MAX)).unwrap().len(), LIBRARIES_MAX);
    assert!(ask(&crowd(LIBRARIES_MAX + 1)).is_err());
    let mut next = 0;
    let deep = |_: &Required| {
        next += 1;
        Ok(format!("#require \"L{next}:1\"").into_bytes())
    };
    assert!(require(&[Source { name: "a.nut", text: b"#require \"L0:1\"" }], deep).is_err());
}

#[test]
fn a_function_may_be_long_but_not_endless() {
    // Each line is one instruction; one more makes the variable, one returns.
    let lines = |n: usize| format!("local a\n{}", "a = 1\n".repeat(n));
    let most = (1 << 18) - 2;
    let program = host::program("long.nut", &lines(most)).unwrap();
    assert!(vouch_squirrel::Program::from_image(&program.to_image()).is_ok());
    assert!(refused(&lines(most + 1)).contains("the function is too long"));
}

#[test]
fn what_the_reference_refuses_is_refused() {
    for (text, wanted) in [
        ("local a = []\nlocal b = a\n[0]", "cannot brake deref"),
        ("5.tostring()", "end of statement"),
        ("local a = \"\\q\"", "unrecognised escaper"),
        ("local a = \"\\u0041\"", "unrecognised escaper"),
        ("local a = \"line\nbreak\"", "newline in a constant"),
        ("local a = 0x123456789", "too many digits"),
        ("local a = 'ab'", "constant too long"),
        ("local a = ''", "empty constant"),
        ("local a = .5", "expression expected"),
        ("local f = function named() {}", ""),
        ("local a = 1; a <- 2", "can't 'create' a local slot"),
        ("local a = 1 & = 2", ""),
        ("a &= 1", ""),
        ("a <<= 1", ""),
        ("a = 2 ** 3", ""),
        ("class A { x = 1, y = 2 }", ""),
        ("class A { local x = 1 }", ""),
        ("enum E { A } local a = E.B", "invalid constant"),
        ("enum E { A = f() }", ""),
        ("const C = f()", ""),
        ("const C = true", ""),
        ("switch (1) { default: break; case 1: break }", ""),
        ("function f(a = 1, ...) {}", "function with default parameters cannot have variable number of parameters"),
        ("function f(a = 1, b) {}", "expected"),
        ("function f(..., a) {}", ""),
        ("break", "'break' has to be in a loop block"),
        ("continue", "'continue' has to be in a loop block"),
        ("switch (1) { case 1: continue }", "'continue' has to be in a loop block"),
        ("local this = 1", ""),
        ("try { }", ""),
        ("try { } catch { }", ""),
        ("delete 5", "can't delete"),
        ("local a; delete a", "delete"),
        ("1 = 2", "can't assign"),
        ("f() = 2", "can't assign"),
        ("5++", ""),
        ("base = 1", ""),
        ("/* never closed", "missing \"*/\" in comment"),
        ("local a = @\"never closed", "unfinished string"),
        ("local class = 1", ""),
        ("yield = 1", ""),
        ("return yield 1", "expression expected"),
    ] {
        let said = refused(text);
        assert!(said.contains(wanted), "{text}: {said}");
    }
}
