//! The hostile programs: none ends well. Each tries to take long for little budget, or memory that nobody charges.

/// A text repeated: code without a jump or a call is not free either.
fn straight(before: &str, line: &str, lines: usize) -> String {
    format!("{before}; while (true) {{ {} }}", format!("{line}\n").repeat(lines))
}

const LONG: &str = "local s = \"a\"; for (local i = 0; i < 18; i++) s += s";

macro_rules! programs {
    ($($text:expr),* $(,)?) => { &[$(|| $text.to_string()),*] };
}

/// The sources.
pub(crate) const PROGRAMS: &[fn() -> String] = programs![
    "while (true) {}",
    // Loops that do little but are long.
    straight("local a = 1", "a = a + 1", 20_000),
    straight("local a", "a = [1, 2]", 20_000),
    straight("local t = { x = 1 }, a", "a = t.x", 20_000),
    straight("local a", "a = {}", 20_000),
    straight("local a", "a = @() a", 2_000),
    straight("local a = [1]", "foreach (x in a) {}", 2_000),
    straight("local t = {}; for (local i = 0; i < 30000; i++) t[i] <- i; t.clear()", "foreach (x in t) {}", 2_000),
    straight(LONG, "s == s + \"\"", 2_000),
    straight(&format!("{LONG}; local t = s + \"\"; local a"), "a = s == t", 10_000),
    straight(&format!("{LONG}; local t = s + \"\"; local a"), "a = s < t", 10_000),
    straight(&format!("{LONG}; local t = s + \"\"; local a"), "if (s == t) a = 1", 10_000),
    straight(&format!("{LONG}; local t = {{}}, a; t[s] <- 1; local u = s + \"\""), "a = t[u]", 10_000),
    straight("local a = array(500000, 0), b", "b = []", 5_000),
    "function f() { FILL } while (true) f()"
        .replace("FILL", &"local x = 1 + y; ".replace("local x", "y").repeat(5_000))
        .replace("function f", "y <- 0; function f"),
    "function f() { FILL throw 1 } while (true) { try { f() } catch (e) {} }"
        .replace("FILL", &"x = x + 1; ".repeat(5_000))
        .replace("function f", "x <- 0; function f"),
    // Sort, with and without a comparator, honest and lying.
    "local a = array(300000, 1); while (true) a.sort()",
    "local a = []; for (local i = 0; i < 50000; i++) a.push(i * 7919 % 65537); while (true) { a.sort(); a.reverse() }",
    "local a = array(100000, 1); while (true) a.sort(@(x, y) 1)",
    "local a = array(1000, 1); while (true) try { a.sort(@(x, y) -1) } catch (e) {}",
    format!("{LONG}; local a = []; for (local i = 0; i < 7; i++) a.push(s + i); while (true) a.sort()"),
    "local a = array(10); foreach (i, x in a) a[i] = { x = i }; while (true) a.sort(@(x, y) x.x <=> y.x)",
    "class C { function _cmp(o) { return 1 } } local a = []; for (local i = 0; i < 99; i++) a.push(C()); while (true) a.sort()",
    // Natives over much.
    "local a = array(300000, 1); while (true) a.find(2)",
    "local a = array(100000, 1); while (true) { a.reverse(); a.slice(1); a.map(@(x) x) }",
    "local a = array(200000, 1); while (true) try { a.map(@() x) } catch (e) {}",
    "local a = array(100000); while (true) a.insert(0, 1)",
    "local a = array(100000); while (true) { a.insert(0, 1); a.remove(0) }",
    "local a = array(200000); while (true) { local b = clone a }",
    "local a = array(100000); while (true) { local b = [1]; b.extend(a) }",
    "local a = array(20000); while (true) try { print.acall(a) } catch (e) {}",
    "local a = array(20000); local f = @(...) 1; while (true) f.acall(a)",
    format!("{LONG}; while (true) s.find(\"ab\")"),
    format!("{LONG}; local p = s.slice(9) + \"b\"; while (true) s.find(p)"),
    format!("{LONG}; local p = s.slice(131072) + \"b\"; while (true) s.find(p)"),
    format!(
        "{LONG}; s += s; local p = \"\"; for (local i = 0; i < 60; i++) p += \"a\"; p += \"b\"; while (true) s.find(p)"
    ),
    "local s = \"a,\"; for (local i = 0; i < 15; i++) s += s; while (true) split(s, \",\")",
    format!("{LONG}; local p = s.toupper(); while (true) split(s, p)"),
    format!("{LONG}; while (true) s.toupper()"),
    format!("{LONG}; while (true) s.slice(1)"),
    "local s = \" \"; for (local i = 0; i < 19; i++) s += s; while (true) strip(s)",
    "local s = \"1\"; for (local i = 0; i < 19; i++) s += s; while (true) s.tointeger()",
    "local s = \"1\"; for (local i = 0; i < 19; i++) s += s; s += \"e\"; while (true) s.tofloat()",
    format!("{LONG}; local t = {{}}; while (true) try {{ t[s] }} catch (e) {{}}"),
    format!("{LONG}; while (true) s < \"b\""),
    format!("{LONG}; while (true) s < s + \"b\""),
    format!("{LONG}; local t = {{}}; while (true) s in t"),
    format!("{LONG}; local a = [s + 1, s + 2, s + 3]; while (true) a.find(s + 4)"),
    "while (true) format(\"%99d%99d%99d\", 1, 2, 3)",
    format!("{LONG}; while (true) format(\"%s%s%s\", s, s, s)"),
    "local p = \"\", a = [this, null]; for (local i = 0; i < 200; i++) { p += \"%99.99f\"; a.push(1.5) } p += \"%\"; a[1] = p; \
     while (true) try { format.acall(a) } catch (e) {}",
    "local b = blob(2000000); while (true) { b.swap4(); b.seek(0); b.readblob(1000000) }",
    "local b = blob(1500000); while (true) clone b",
    "local b = blob(1500000); while (true) b.tostring()",
    "local b = blob(1500000), c = blob(); while (true) { c.seek(0); c.writeblob(b) }",
    "local b = blob(1500000); while (true) { b.seek(0); b.writeblob(b) }",
    "while (true) blob(3900000)",
    "while (true) array(480000)",
    // Patterns.
    "local s = \"a\"; for (local i = 0; i < 15; i++) s += s; while (true) { try { regexp(\"(a*)*b\").search(s) } catch (e) {} }",
    "local s = \"a\"; for (local i = 0; i < 12; i++) s += s; local r = regexp(\"(a*)*(a*)*(a*)*(a*)*b\"); while (true) { try { r.search(s) } catch (e) {} }",
    "local s = \"a\"; for (local i = 0; i < 9; i++) s += s; local p = \"\"; for (local i = 0; i < 300; i++) p += \"(a*)\"; \
     local r = regexp(p + \"b\"); while (true) { try { r.search(s) } catch (e) {} }",
    "while (true) { try { regexp(\"((a{15}){15}){15}\") } catch (e) {} }",
    "while (true) { try { regexp(\"((a{99}){99}){99}\") } catch (e) {} }",
    "while (true) { try { regexp(\"(?:(?:(?:){4000}){4000}){4000}\") } catch (e) {} }",
    format!("{LONG}; while (true) {{ try {{ regexp(s) }} catch (e) {{}} }}"),
    format!("{LONG}; s = \"[\" + s + \"]\"; while (true) {{ try {{ regexp(s) }} catch (e) {{}} }}"),
    "local s = \"a\"; for (local i = 0; i < 16; i++) s += s; while (true) { try { regexp2(\"(a*)*b\").search(s) } catch (e) {} }",
    "local s = \"a\"; for (local i = 0; i < 13; i++) s += s; local r = regexp2(\"(a*)*b\"); while (true) { try { r.search(s) } catch (e) {} }",
    "local s = \"a\"; for (local i = 0; i < 9; i++) s += s; local p = \"\"; for (local i = 0; i < 15; i++) p += \"(a*)\"; \
     local r = regexp2(p + \"b\"); while (true) { try { r.search(s) } catch (e) {} }",
    "while (true) { try { regexp2(\"((a{20}){20}){20}\") } catch (e) {} }",
    "while (true) { try { regexp2(\"((a{9}){9}){9}\") } catch (e) {} }",
    "while (true) { try { regexp2(\"((?:){99}){99}\") } catch (e) {} }",
    "while (true) { try { regexp2(\"(?i)[^a-z]{50}[^b]{50}\") } catch (e) {} }",
    // Tables.
    "local t = {}; while (true) for (local i = 0; i < 4096; i++) t[i << 20] <- i",
    "local t = {}; for (local i = 0; i < 4096; i++) t[i << 20] <- i; while (true) foreach (k, v in t) t[k] = 1",
    "local t = {}; for (local i = 0; i < 4096; i++) t[i << 20] <- i; local a; while (true) for (local i = 0; i < 4096; i++) a = t[i << 20]",
    "local t = {}; for (local i = 0; i < 16384; i++) t[i << 16] <- i; for (local i = 65535; i > 32768; i--) t[i] <- 1; while (true) {}",
    "local t = {}; for (local i = 0; i < 40000; i++) t[i] <- i; while (true) { local c = clone t; c.clear() }",
    "local t = {}; for (local i = 0; i < 40000; i++) t[i] <- i; t.clear(); while (true) foreach (x in t) {}",
    "local t = {}; for (local i = 0; i < 40000; i++) t[i] <- i; while (true) { t[-1] <- 1; delete t[-1] }",
    "local t = {}; for (local i = 0; i < 5000; i++) t = {}.setdelegate(t); local a; while (true) try { a = t.x } catch (e) {}",
    "local t = {}; for (local i = 0; i < 5000; i++) t = {}.setdelegate(t); while (true) { try { t.x = 1 } catch (e) {} t < t; \"x\" in t }",
    // Classes.
    "local i = 0; class C {} while (i < 3000) C[\"m\" + i++] <- 1; while (true) { local c = class extends C {} }",
    "local i = 0; class C {} while (i < 10000) C[\"m\" + i++] <- 1; while (true) C()",
    "local i = 0; class C {} while (i < 10000) C[\"m\" + i++] <- 1; local c = C(); while (true) clone c",
    "class C {} local c = C; for (local i = 0; i < 3000; i++) c = class extends c {}; local o = c(), k = class {}; while (true) o instanceof k",
    // Errors.
    "function f(n) { if (n) f(n - 1); else while (true) try { throw 1 } catch (e) {} } f(1500)",
    "function f(n) { if (n) f(n - 1); else throw 1 } while (true) try { f(1500) } catch (e) {}",
    "function f(n) { try { try { try { try { try { try { try { try { f(n + 1) } catch (e) {} } catch (e) {} } catch (e) {} } \
     catch (e) {} } catch (e) {} } catch (e) {} } catch (e) {} } catch (e) {} } f(0)",
    "while (true) collectgarbage()",
    "local a = []; for (local i = 0; i < 20000; i++) a.push([i]); while (true) collectgarbage()",
    // Memory: floods of small objects, places that are freed and filled with others, cycles.
    "local a = []; while (true) { a.push({ x = [1], y = {} }) }",
    "local a = []; while (true) a.push([])",
    "local a = []; while (true) a.push([1])",
    "local a = []; while (true) a.push({})",
    "local a = [], i = 0; while (true) a.push(\"k\" + i++)",
    "local a = [], i = 0; while (true) a.push(i++ + \"0123456789012345678901234567890123456789\")",
    "local a = []; while (true) a.push(blob(1))",
    "local a = []; while (true) a.push(blob(10000))",
    "class C { x = 1 } local a = []; while (true) a.push(C())",
    "class C {} local a = []; while (true) a.push(C())",
    "local a = []; while (true) { local x = 1; a.push(@() x) }",
    "local a = []; while (true) a.push(@(x = 1) x)",
    "function g() { yield 1 } local a = []; while (true) a.push(g())",
    "function g() { try { try { try { try { yield 1 } catch (e) {} } catch (e) {} } catch (e) {} } catch (e) {} } local a = []; \
     while (true) { local x = g(); resume x; a.push(x) }",
    "local a = []; while (true) a.push(class {})",
    "local a = []; while (true) a.push(class { x = 1; function f() {} })",
    "local a = []; while (true) { local t = {}; a.push(t); a.push(t.weakref()) }",
    "local a = []; while (true) a.push(regexp(\"a\"))",
    "local a = []; while (true) a.push(regexp2(\"a\"))",
    "local a = [], t = null; for (local i = 0; i < 20000; i++) a.push({ i = i }); while (true) t = { a = a }",
    "local t = null; while (true) t = { next = t }",
    "local t = null; while (true) t = [t]",
    "local a = []; while (true) { local b = [a]; b.push(b); a.push(b) }",
    "local s = \"\"; while (true) s += \"0123456789\"",
    "local s = \"x\"; while (true) s += s",
    "local a = [1]; while (true) a.extend(a)",
    "local a = []; while (true) a.push(1)",
    "local t = {}, i = 0; while (true) t[i++] <- 1",
    "local t = {}, i = 0; while (true) t[\"k\" + i++] <- 1",
    "local a = []; for (local i = 0; i < 60000; i++) a.push([]); local l = a.top(); a = null; local c = []; while (true) c.push(blob(900))",
    "local a = []; for (local i = 0; i < 40000; i++) { local x = 1; a.push(@() x) } local l = a.top(); a = null; local c = blob(); while (true) c.writestring(\"0123456789\")",
    "local a = []; for (local i = 0; i < 30000; i++) { local t = {}; a.push(t.weakref()) } a = null; local c = blob(); while (true) c.writestring(\"0123456789\")",
    "function f(n) { return 1 + f(n + 1) } f(1)",
    "function f(...) { local a = [this]; a.extend(vargv); a.extend(vargv); a.push(1); return 1 + f.acall(a) } f(1)",
];
