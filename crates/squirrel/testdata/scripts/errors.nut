//: caught 1
//: rethrown inner
//: null 5 3
//: finally-ish
//: attempt to call 'null'
//: cannot iterate integer
//: assertion failed
//: ok
//: deep 3
//: boom
//:   at thrower (errors.nut:30)
//:   at main (errors.nut:32)
try { throw 1 } catch (e) { print("caught " + e + "\n") }
try { try { throw "inner" } catch (e) { throw "rethrown " + e } } catch (e) { print(e + "\n") }
function early() { try { return 5 } catch (e) { return 6 } }
function loops() { local n = 0; for (local i = 0; i < 5; i++) { try { if (i % 2) throw i; n++ } catch (e) { continue } } return n }
try { throw null } catch (e) { print((e == null ? "null" : "?") + " " + early() + " " + loops() + "\n") }
function f() { try { g_missing() } catch (e) { return "finally-ish" } }
print(f() + "\n");
local nothing = null;
try { nothing() } catch (e) { print(e + "\n") }
try { foreach (x in 5) {} } catch (e) { print(e + "\n") }
try { assert(false) } catch (e) { print(e + "\n") }
try { assert(1); print("ok\n") } catch (e) { print("bad\n") }
function a(n) { try { if (n == 3) throw "deep " + n; return a(n + 1) } catch (e) { throw e } }
try { a(0) } catch (e) { print(e + "\n") }


function thrower() {
    throw "boom";
}
thrower();
