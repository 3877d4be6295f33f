//: literal: 1 2 three 4 5 5
//: null key: <null cannot be used as index> <the index '(null : 0x(nil))' does not exist> false
//: delete: 1 <the index 'a' does not exist>
//: set goes up: 10 1 20 false true
//: newslot stays: 10 3 3
//: cycle: <delagate cycle> true (null : 0x(nil))
//: in sees no methods: false false false
//: in ranges: true false false true false
//: index: 20 <the index '-1' does not exist> <the index '3' does not exist> <the index 'x' does not exist>
//: string index: 98 98 <the index '-1' does not exist> <the index '3' does not exist> -1
//: strings do not change: <the index '0' does not exist>
//: set outside: <the index '3' does not exist> <indexing array with string>
//: weak: weakref table table 1 integer s
//: dead: (null : 0x(nil)) (null : 0x(nil)) (null : 0x(nil))
//: objects as keys: one two false
//: bool and number keys: 3
function attempt(f) { try { return f() } catch (e) { return "<" + e + ">" } }
local t = { a = 1, ["b c"] = 2, [3] = "three", "json" : 4, function f() { return 5 } }
print("literal: " + t.a + " " + t["b c"] + " " + t[3] + " " + t.json + " " + t.f() + " " + t.len() + "\n")
print("null key: " + attempt(function() { t[null] <- 1 }) + " " + attempt(@() t[null]) + " " + (null in t) + "\n")
print("delete: " + (delete t.a) + " " + attempt(@() delete t.a) + "\n")
// Delegates: get goes up, so does a set of what is only there
local up = { far = 1, near = 1 }, low = { near = 2 }.setdelegate(up)
low.far = 10; low.near = 20
print("set goes up: " + up.far + " " + up.near + " " + low.near + " " + low.rawin("far") + " " + ("far" in low) + "\n")
low.far <- 3
print("newslot stays: " + up.far + " " + low.far + " " + low.rawget("far") + "\n")
print("cycle: " + attempt(@() up.setdelegate(low)) + " " + (low.getdelegate() == up) + " " + low.setdelegate(null).getdelegate() + "\n")
print("in sees no methods: " + ("len" in t) + " " + ("len" in []) + " " + ("len" in "") + "\n")
print("in ranges: " + (0 in [1]) + " " + (1 in [1]) + " " + (-1 in [1]) + " " + (1 in "ab") + " " + (2 in "ab") + "\n")
// Arrays and strings: truncated float indexes, no negative ones
local a = [10, 20, 30]
print("index: " + a[1.9] + " " + attempt(@() a[-1]) + " " + attempt(@() a[3]) + " " + attempt(@() a["x"]) + "\n")
print("string index: " + "abc"[1] + " " + "abc"[1.9] + " " + attempt(@() "abc"[-1]) + " " + attempt(@() "abc"[3]) + " " + "\xff"[0] + "\n")
local s = "abc"
print("strings do not change: " + attempt(function() { s[0] = 'x' }) + "\n")
print("set outside: " + attempt(function() { a[3] = 1 }) + " " + attempt(function() { a.x <- 1 }) + "\n")
// A weak reference in a slot gives its target
local target = { n = 1 }, w = target.weakref()
local held = { slot = w, list = [w] }
print("weak: " + typeof w + " " + typeof w.ref() + " " + typeof held.slot + " " + held.list[0].n + " " + typeof (5).weakref() + " " + "s".weakref() + "\n")
target = null; collectgarbage()
print("dead: " + w.ref() + " " + held.slot + " " + held.list[0] + "\n")
// Identity
local k1 = {}, k2 = {}
local byObject = { [k1] = "one", [k2] = "two" }
print("objects as keys: " + byObject[k1] + " " + byObject[k2] + " " + ({} in byObject) + "\n")
print("bool and number keys: " + { [true] = "bool", [1] = "int", [1.0] = "float" }.len() + "\n")
