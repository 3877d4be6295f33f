//! A damaged or hostile image is refused with an error or runs within its budgets; it never panics or runs wild.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod host;

use proptest::prelude::*;
use vouch_squirrel::{Budgets, ImageError, Linked, Program, Step, Value, Vm};

const SOURCE: &str = "
const LIMIT = 5;
class A { x = 1; static s = \"text\"; constructor(n = 2) { x = n } function get() { return x + LIMIT } }
class B extends A { function get() { return base.get() * 1.5 } function _tostring() { return \"B\" + x } }
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }
function gen(n) { for (local i = 0; i < n; i++) { try { yield i } catch (e) { throw e } } }
local sum = 0, t = { a = 1, [\"k\"] = [1, 2.5, \"three\", null, true], f = @(v) v + sum };
foreach (i, v in gen(4)) sum += i * v;
foreach (k, v in t) switch (k) { case \"a\": sum += v; break; default: sum -= 1 }
try { t.none } catch (e) { sum++ }
local b = B(3);
while (sum < 100 && !(b instanceof Array)) sum += fib(5) | 1;
print(b + \" \" + b.get() + \" \" + t.f(sum) + \" \" + (\"a\" in t) + \" \" + (delete t.a));
return [3, 1, 2].map(@(x) x << 1).sort();
";

fn image() -> Vec<u8> {
    host::program("image.nut", &SOURCE.replace("Array", "A")).unwrap().to_image()
}

/// Runs whatever the image holds under small budgets.
fn survive(image: &[u8]) {
    let Ok(program) = Program::from_image(image) else { return };
    let linked = Linked::new(&host::library(), &program);
    let budgets = Budgets { slice: 2_000, event: 20_000, bytes: 256 * 1024, depth: 50 };
    let mut vm = Vm::new(&linked, budgets).unwrap();
    vm.start();
    for _ in 0..200 {
        match vm.run() {
            Step::Done(_) | Step::Failed(_) => break,
            Step::SliceEnded => vm.collect_garbage(),
            Step::HostCall(_) => vm.resume(Ok(Value::Null)),
        }
    }
    vm.collect_garbage();
}

#[test]
fn an_image_of_another_version_or_length_is_refused() {
    let good = image();
    assert!(Program::from_image(&good).is_ok());
    let refused = |image: &[u8]| Program::from_image(image).unwrap_err();
    assert_eq!(refused(b""), ImageError::WrongVersion);
    let mut other = good.clone();
    other[5] += 1;
    assert_eq!(refused(&other), ImageError::WrongVersion);
    let mut trailing = good.clone();
    trailing.push(0);
    assert_eq!(refused(&trailing), ImageError::Trailing);
    assert_eq!(refused(&vec![0; 8 * 1024 * 1024 + 1]), ImageError::TooLong);
    for cut in 0..good.len() {
        assert!(Program::from_image(&good[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn every_single_bit_may_flip() {
    let good = image();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        survive(&bad);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn several_bytes_may_be_anything(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bad = image();
        for (at, byte) in changes {
            let at = at.index(bad.len());
            bad[at] = byte;
        }
        survive(&bad);
    }

    #[test]
    fn any_source_compiles_or_is_refused(text in "[a-z0-9 .,;:(){}\\[\\]<>=+\\-*/%!&|^~?@\"'\n]{0,200}") {
        let _ = host::program("any.nut", &text);
    }

    #[test]
    fn any_words_compile_or_are_refused(words in prop::collection::vec(prop::sample::select(vec![
        "local ", "x ", "y ", "= ", "<- ", "function ", "f", "(", ")", "{", "}", "[", "]", "1 ", "2.5 ", "\"s\" ", "; ", ", ",
        "return ", "yield ", "resume ", "class ", "extends ", "constructor", "base", ".", "foreach", "for", "while", "if",
        "else ", "in ", "switch", "case ", "default: ", "try ", "catch(e)", "throw ", "this", "::", "@", "+", "++ ", "&&", "\n",
        "static ", "delete ", "clone ", "typeof ", "? ", ": ", "break;", "continue;", "enum E ", "const C = 1\n", "...", "null ",
    ]), 0..80)) {
        if let Ok(program) = host::program("any.nut", &words.concat()) {
            survive(&program.to_image());
        }
    }
}
