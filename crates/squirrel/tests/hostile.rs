//! Hostile programs end with a clean error within their budgets, and other VMs go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod host;

use std::time::Instant;

use vouch_squirrel::{Budgets, Fatal, Step, Value};

const BUDGETS: Budgets = Budgets { slice: 20_000, event: 2_000_000, bytes: 1024 * 1024, depth: 500 };

/// Runs a script that must not end well: why it ended.
fn killed(text: &str) -> Option<Fatal> {
    let mut vm = host::vm("hostile.nut", text, BUDGETS);
    let begin = Instant::now();
    let (_, end) = host::drive(&mut vm);
    let error = end.expect_err(text);
    assert!(vm.heap().memory_used() <= BUDGETS.bytes, "{text}");
    assert!(begin.elapsed().as_secs() < 20, "{text} took {:?}", begin.elapsed());
    // The VM is usable afterwards: its next event begins anew.
    let f = vm.global("type").unwrap();
    vm.call(f, &[Value::Int(1)]);
    assert!(matches!(vm.run(), Step::Done(Value::Str(_))), "{text}");
    error.fatal
}

#[test]
fn endless_loops_of_every_kind_are_ended() {
    for text in [
        "while (true) {}",
        "for (;;) {}",
        "do {} while (1)",
        "do { continue } while (true)",
        "function g() { while (true) yield 1 } foreach (x in g()) {}",
        "function f() { return f() } f()",
        "function a() { return b() } function b() { return a() } a()",
        "class C { function _nexti(i) { return 1 } function _get(i) { return 1 } } foreach (x in C()) {}",
        "local t = {}; t.setdelegate({ _get = function(k) { return 1 } }); while (t.x) {}",
        "while (true) { try { throw 1 } catch (e) {} }",
        "try { while (true) {} } catch (e) { while (true) {} }",
        "local a = array(1000, 1); while (true) a.sort(@(x, y) x <=> y)",
        "while (true) array(1000)",
        "while (true) [1, 2, 3].map(@(v) v)",
        "local a = array(10000, 1); while (true) a.find(2)",
        "local s = format(\"%99d\", 1); while (true) s.find(\"x\")",
        "local r = regexp(\"(a*)*b\"), s = format(\"%99d\", 1); while (true) r.search(s)",
        "while (true) ask(1)",
    ] {
        assert_eq!(killed(text), Some(Fatal::Instructions), "{text}");
    }
}

#[test]
fn eating_memory_is_ended() {
    for text in [
        "local a = []; while (true) a.push(1)",
        "local a = []; while (true) a.push([])",
        "local a = []; while (true) a.push({})",
        "local a = []; while (true) a.push(blob(100))",
        "local a = [], i = 0; while (true) a.push(\"key\" + i++)",
        "local t = {}, i = 0; while (true) t[i++] <- 1",
        "local s = \"x\"; while (true) s += s",
        "local s = \"x\"; while (true) s = format(\"%s%s\", s, s)",
        "local b = blob(1); while (true) b.resize(b.len() * 2)",
        "array(100000000)",
        "array(2147483647)",
        "blob(100000000)",
        "local b = blob(); while (true) b.writen(1, 'i')",
        "local a = []; a.resize(50000000)",
        "local a = [1]; while (true) a.extend(a)",
        "class C { x = 1 } local a = []; while (true) a.push(C())",
        "local a = []; while (true) { local x = 1; a.push(@() x) }",
        "function g() { yield 1 } local a = []; while (true) a.push(g())",
        "local i = 0; class C {} while (true) C[\"m\" + i++] <- @() 1",
        "local a = []; while (true) a.push(a.weakref().weakref()); ",
        "local t = null; while (true) t = { next = t }",
    ] {
        assert_eq!(killed(text), Some(Fatal::Memory), "{text}");
    }
}

#[test]
fn giant_literals_are_refused_or_charged() {
    let elements = |n: usize| format!("local a = [{}]", "1,".repeat(n));
    assert!(host::program("giant.nut", &elements(200_000)).unwrap_err().text.contains("too long"));
    assert_eq!(killed(&format!("{}; a.extend(a); a.extend(a)", elements(100_000))), Some(Fatal::Memory));
    let slots: String = (0..60_000).map(|i| format!("k{i} = {i},")).collect();
    assert_eq!(killed(&format!("local t = {{ {slots} }}")), Some(Fatal::Memory));
    let text = "x".repeat(600_000);
    assert_eq!(killed(&format!("local s = \"{text}\"; s += s; s += s")), Some(Fatal::Memory));
    assert!(host::program("giant.nut", &"9".repeat(5 << 20)).is_err());
}

#[test]
fn garbage_is_not_eaten_memory() {
    let budgets = Budgets { event: 20_000_000, ..BUDGETS };
    let text = "local n = 0; for (local i = 0; i < 50000; i++) { local t = { a = [i, \"s\" + i], b = blob(20) }; \
                t.self <- t; n += t.a[0] } local s = \"\"; for (local i = 0; i < 3000; i++) s += \"0123456789\"; \
                for (local i = 0; i < 20; i++) array(60000); print(n + \" \" + s.len())";
    assert_eq!(host::run("garbage.nut", text, budgets), "1249975000 30000");
}

#[test]
fn deep_recursion_of_every_kind_is_ended() {
    for text in [
        "function f() { return 1 + f() } f()",
        "function a() { b(); } function b() { a(); } a()",
        "local t = {}; t.setdelegate({ _get = function(k) { return this[k + 1] } }); t[0]",
        "class C { function _tostring() { return \"\" + this } } \"\" + C()",
        "class C { function _cmp(o) { return (this < o) ? 1 : 0 } } C() < C()",
        "class C { function _add(o) { return this + o } } C() + C()",
        "class C { constructor() { C() } } C()",
        "class C { function _call(e) { return 1 + this() } } C()()",
        "class C { function _typeof() { return typeof this } function x() { return typeof this } } C().x() + typeof C()",
        "function f() { [1].map(@(v) f()) } f()",
        "function f(x, y) { [2, 1].sort(f); return 0 } f(1, 2)",
        "function g() { foreach (x in g()) yield x } foreach (x in g()) {}",
        "local m = [].map, a = [m]; a[0] = m; a.map.call(a, m)",
        "local f = print.acall, a = [f, null]; a[1] = a; f.acall(a)",
        "local c = print.call; c.acall(array(200, c))",
        "local t = {}; t.setdelegate({ _call = t }); local d = t.getdelegate(); d._call = t; t()",
    ] {
        let why = killed(text);
        assert!(matches!(why, Some(Fatal::Depth | Fatal::Memory | Fatal::Instructions) | None), "{text}: {why:?}");
    }
    assert_eq!(killed("function f() { return 1 + f() } f()"), Some(Fatal::Depth));
}

#[test]
fn budget_overruns_cannot_be_caught() {
    for text in [
        "try { while (true) {} } catch (e) { print(\"caught\") }",
        "try { array(2147483647) } catch (e) { print(\"caught\") }",
        "function f() { try { f(); f() } catch (e) { print(\"caught\") } } f()",
    ] {
        let (printed, end) = host::drive(&mut host::vm("hostile.nut", text, BUDGETS));
        assert_eq!(printed, "", "{text}");
        assert!(end.unwrap_err().fatal.is_some(), "{text}");
    }
}

#[test]
fn mutation_under_an_iteration_is_harmless() {
    for text in [
        "local a = [1, 2, 3]; foreach (v in a) a.clear()",
        "local t = { a = 1, b = 2, c = 3 }; foreach (k, v in t) t.clear()",
        "local t = {}; for (local i = 0; i < 50; i++) t[i] <- i; foreach (k, v in t) { delete t[k]; t[k + 100] <- 1; if (t.len() > 60) break }",
        "local a = [3, 1, 2]; try { a.sort(function(x, y) { a.clear(); return 1 }) } catch (e) {}",
        "local a = [3, 1, 2, 9, 4]; try { a.sort(@(x, y) 1) } catch (e) {} try { a.sort(@(x, y) -1) } catch (e) {}",
        "local a = [1, 2, 3]; a.map(function(v) { a.clear(); return v })",
        "local a = [1, 2, 3]; a.filter(function(i, v) { a.clear(); return true })",
        "local a = []; a.push(a); a.map(@(x) x)",
        "function g() { yield 1; try { resume h } catch (e) {} yield 2 } h <- g(); foreach (x in h) {}",
    ] {
        let (_, end) = host::drive(&mut host::vm("hostile.nut", text, BUDGETS));
        assert!(end.is_ok(), "{text}: {end:?}");
    }
}

#[test]
fn keys_that_collide_cost_their_own_budget() {
    // 4,096 keys of one residue share one chain of nodes: each look-up walks over it.
    let text = "local t = {}; while (true) for (local i = 0; i < 4096; i++) t[i << 20] <- i";
    assert_eq!(killed(text), Some(Fatal::Instructions));
    let mut vm = host::vm("hostile.nut", text, BUDGETS);
    let begin = Instant::now();
    assert!(host::drive(&mut vm).1.is_err());
    assert!(begin.elapsed().as_millis() < 1500, "{:?}", begin.elapsed());
}

#[test]
fn nested_source_is_refused_not_crashed() {
    let deep = 100_000;
    for text in [
        "(".repeat(deep),
        "[".repeat(deep),
        "{a=".repeat(deep),
        "{".repeat(deep),
        "-".repeat(deep) + "1",
        "!".repeat(deep) + "1",
        "if (1) ".repeat(deep),
        "function f() {".repeat(deep),
        "@() ".repeat(deep),
        "a.".repeat(deep) + "b",
        "1+".repeat(deep) + "1",
        "1 && ".repeat(deep) + "1",
        "a ? ".repeat(deep),
        "a = ".repeat(deep),
        "x[".repeat(deep),
        "f(".repeat(deep),
        "class extends ".repeat(deep),
        "try ".repeat(deep),
        "switch (1) { case ".repeat(deep),
        "while (1) ".repeat(deep),
        "typeof ".repeat(deep) + "1",
        "class A { x = ".repeat(deep),
        "f()".repeat(deep),
    ] {
        assert!(host::program("deep.nut", &text).is_err(), "{}", &text[..20]);
    }
    let many: String = (0..300).map(|i| format!("local v{i} = {i};\n")).collect();
    let error = host::program("many.nut", &many).unwrap_err();
    assert!(error.row > 200 && error.text.contains("too many local"), "{error}");
}

#[test]
fn a_slice_ends_and_goes_on_fairly() {
    let text = "local n = 0; for (local i = 0; i < 100000; i++) n += i; print(n)";
    let mut vm = host::vm("slices.nut", text, BUDGETS);
    let mut slices = 0;
    loop {
        match vm.run() {
            Step::SliceEnded => slices += 1,
            Step::HostCall(call) => {
                assert_eq!(vm.heap().bytes_of(call.args[0]), Some(&b"704982704"[..]));
                vm.resume(Ok(Value::Null));
            }
            Step::Done(_) => break,
            Step::Failed(error) => panic!("{error}"),
        }
    }
    assert!((4..=7).contains(&slices), "{slices}");
}

#[test]
fn a_vm_may_move_to_another_thread_while_it_waits() {
    let mut vm = host::vm("moved.nut", "local x = ask(20); print(x + ask(22))", BUDGETS);
    let Step::HostCall(call) = vm.run() else { panic!() };
    assert_eq!((call.id, call.args.len()), (host::ASK, 1));
    vm.resume(Ok(Value::Int(20)));
    let printed = std::thread::spawn(move || host::drive(&mut vm).0).join().unwrap();
    assert_eq!(printed, "42");
}

#[test]
fn a_host_error_is_thrown_where_the_script_called() {
    let mut vm = host::vm("host.nut", "try { ask() } catch (e) { print(\"caught \" + e) }", BUDGETS);
    let Step::HostCall(_) = vm.run() else { panic!() };
    vm.resume(Err("no such pin".to_owned()));
    assert_eq!(host::drive(&mut vm).0, "caught no such pin");
}

#[test]
fn a_fresh_vm_is_small_and_exact_about_it() {
    let vm = host::vm("small.nut", "", BUDGETS);
    assert!(vm.heap().memory_used() < 6 * 1024, "{}", vm.heap().memory_used());
    assert_eq!(vm.heap().memory_used() + vm.heap().memory_free(), BUDGETS.bytes);
    let text = "for (local i = 0; i < 20000; i++) { local t = { a = [i], s = \"text \" + i }; local c = class { x = t }; c() } ask()";
    let mut vm = host::vm("churn.nut", text, Budgets { bytes: 4 << 20, ..BUDGETS });
    vm.collect_garbage();
    let before = vm.heap().memory_used();
    assert!(host::drive(&mut vm).1.is_ok());
    vm.collect_garbage();
    assert_eq!(vm.heap().memory_used(), before, "what was charged is given back");
}
