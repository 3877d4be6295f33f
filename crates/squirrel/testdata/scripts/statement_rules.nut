//: a local function does not see itself: <the index 'itself' does not exist>
//: a::b: slot deeper
//: switch: 1 a 1 | 1 a 1 | a 1 | null default 1 | default 1
//: foreach: 0=255 1=1 0=5 1=6 x=1 m st f 0=y0 1=y1 first=1 second=2
//: nothing else: <cannot iterate integer> <cannot iterate null> <cannot iterate instance>
//: shared: 333 88, fresh: 012 78
//: thrown: object true
//: again: 2
//: leaves try: 2
//: declared: 1 true 1
//: blocks: 1
//: const: -5 0 1 2 t -0.5
//: looked up: constant local slot
//: loops: 8
function attempt(f) { try { return f() } catch (e) { return "<" + e + ">" } }
local function itself(n) { return n ? itself(n - 1) : "never" }
print("a local function does not see itself: " + attempt(@() itself(1)) + "\n")
names <- { inner = {} }
function names::f() { return "slot" }
function names::inner::g() { return "deeper" }
print("a::b: " + names.f() + " " + names.inner.g() + "\n")
// switch: any expressions, in order, falls through, default last
function pick(x) {
    local s = "", called = 0
    switch (x) {
        case (called++, 1): s += "1 "
        case "a": s += "a "; break
        case null: s += "null "
        default: s += "default "
    }
    return s + called
}
print("switch: " + pick(1) + " | " + pick(1.0) + " | " + pick("a") + " | " + pick(null) + " | " + pick({}) + "\n")
// foreach over everything that has it
local s = ""
foreach (i, c in "\xff\x01") s += i + "=" + c + " "
foreach (i, v in [5, 6]) s += i + "=" + v + " "
foreach (k, v in { x = 1 }) s += k + "=" + v + " "
class M { m = 1; function f() {} static st = 3 }
foreach (k, v in M) s += k + " "
function g() { yield "y0"; yield "y1"; return "never" }
foreach (i, v in g()) s += i + "=" + v + " "
class N { function _nexti(i) { return i == null ? "first" : i == "first" ? "second" : null } first = 1; second = 2 }
foreach (i, v in N()) s += i + "=" + v + " "
print("foreach: " + strip(s) + "\n")
print("nothing else: " + attempt(function() { foreach (x in 5) {} }) + " " + attempt(function() { foreach (x in null) {} }) + " " + attempt(function() { foreach (x in M()) {} }) + "\n")
// One variable for all turns; what the body declares is new each time
local shared = [], fresh = []
for (local i = 0; i < 3; i++) { local j = i; shared.push(@() i); fresh.push(@() j) }
foreach (v in [7, 8]) { local w = v; shared.push(@() v); fresh.push(@() w) }
print("shared: " + shared[0]() + shared[1]() + shared[2]() + " " + shared[3]() + shared[4]() + ", fresh: " + fresh[0]() + fresh[1]() + fresh[2]() + " " + fresh[3]() + fresh[4]() + "\n")
// throw takes any value; a rethrow keeps it; no finally
local o = { why = "object" }
try { throw o } catch (e) { print("thrown: " + e.why + " " + (e == o) + "\n") }
try { try { throw 1 } catch (e) { throw e + 1 } } catch (e) { print("again: " + e + "\n") }
function leaves() { foreach (i in [1, 2, 3]) { try { if (i == 2) return i; continue } catch (e) {} } }
print("leaves try: " + leaves() + "\n")
local a = 1, b, c = a
print("declared: " + a + " " + (b == null) + " " + c + "\n")
if (a) { local a = 2; a++ } else print("no")
print("blocks: " + a + "\n")
const LIMIT = -5
enum Kind { NONE, ONE, TEN = 10, ELEVEN, TEXT = "t", HALF = -0.5 }
print("const: " + LIMIT + " " + Kind.NONE + " " + Kind.ONE + " " + Kind.ELEVEN + " " + Kind.TEXT + " " + Kind.HALF + "\n")
// Locals and free variables hide constants, constants hide slots
LIMIT_ <- 1
const HIDES = "constant"
getroottable()["HIDES"] <- "slot"
function hidden() { local HIDES = "local"; return (@() HIDES)() }
print("looked up: " + HIDES + " " + hidden() + " " + ::HIDES + "\n")
local n = 0
do n++; while (n < 3)
while (n < 5) n++
for (;;) { if (n++ > 6) break }
print("loops: " + n + "\n")
return 5
print("never")
