//: tables: add 1, sub 2, mul 3, div 4, mod 5, unm
//: typeof special, type table, tostring shown shown
//: order: true -1 true
//: call: call 12
//: get: 1 get other <the index 'none' does not exist> <refused> false
//: log: set other3, newslot made4, delslot made
//: cloned: true false
//: left only: <arith op + on between 'integer' and 'table'> sshown
//: classes: M3 M-3 true 0 false 6 13
//: set: 8 <the index 'other' does not exist>
//: newslot: slot!, delslot: gone x, missing: <the index 'nothing' does not exist>
//: sort asks: M1M2M3
//: nexti: v 6
//: cmp must give an integer: <_cmp must return an integer>
//: tostring must give a string: <_tostring must return a string>
//: watched: inherited first, a, b s, static c, f, inherited plain
//: and there: 123s
//: inherited: M-2
//: deep in a metamethod: 500
function attempt(f) { try { return f() } catch (e) { return "<" + e + ">" } }
local log = []
local ops = {
    _add = @(o) "add " + o, _sub = @(o) "sub " + o, _mul = @(o) "mul " + o, _div = @(o) "div " + o, _modulo = @(o) "mod " + o,
    _unm = @() "unm", _typeof = @() "special", _tostring = @() "shown", _cmp = @(o) -1,
    _call = function(env, a, b) { return "call " + a + b },
    _get = function(k) { if (k.slice(0, 1) != "o" && k != "bad") throw null; if (k == "bad") throw "refused"; return "get " + k },
    _set = function(k, v) { log.push("set " + k + v) },
    _newslot = function(k, v) { log.push("newslot " + k + v); rawset(k, v) },
    _delslot = function(k) { log.push("delslot " + k); return rawdelete(k) },
    _cloned = function(o) { rawset("copy", true) }
}
local t = { own = 1 }.setdelegate(ops)
print("tables: " + (t + 1) + ", " + (t - 2) + ", " + (t * 3) + ", " + (t / 4) + ", " + (t % 5) + ", " + (-t) + "\n")
print("typeof " + typeof t + ", type " + type(t) + ", tostring " + t.tostring() + " " + ("" + t) + "\n")
print("order: " + (t < {}) + " " + (t <=> {}) + " " + (t == t) + "\n")
print("call: " + t(1, 2) + "\n")
print("get: " + t.own + " " + t.other + " " + attempt(@() t.none) + " " + attempt(@() t.bad) + " " + ("other" in t) + "\n")
t.own = 2; t.other = 3; t.made <- 4; t.made <- 5; delete t.made
print("log: " + log.reduce(@(a, b) a + ", " + b) + "\n")
print("cloned: " + (clone t).copy + " " + ("copy" in t) + "\n")
// Only the left operand is asked
print("left only: " + attempt(@() 1 + t) + " " + attempt(@() "s" + t) + "\n")
// Classes
class M {
    v = 0
    constructor(n) { v = n }
    function _add(o) { return M(v + o.v) }
    function _unm() { return M(-v) }
    function _cmp(o) { return v <=> o.v }
    function _get(k) { if (k == "twice") return v * 2; throw null }
    function _set(k, n) { if (k != "any") throw null; v = n }
    function _newslot(k, n) { v = k + n }
    function _delslot(k) { return "gone " + k }
    function _call(env, a) { return a + v }
    function _typeof() { return "M" }
    function _tostring() { return "M" + v }
    function _nexti(i) { return i == null ? "v" : null }
}
local m = M(1) + M(2)
print("classes: " + m + " " + (-m) + " " + (M(1) < M(2)) + " " + (M(1) <=> M(1)) + " " + (M(1) == M(1)) + " " + m.twice + " " + m(10) + "\n")
m.any = 8
print("set: " + m.v + " " + attempt(function() { m.other = 1 }) + "\n")
m.slot <- "!"
print("newslot: " + m.v + ", delslot: " + (delete m.x) + ", missing: " + attempt(@() m.nothing) + "\n")
local s = [M(3), M(1), M(2)]; s.sort()
print("sort asks: " + s[0] + s[1] + s[2] + "\n")
foreach (k, v in M(6)) print("nexti: " + k + " " + v + "\n")
print("cmp must give an integer: " + attempt(function() { class W { function _cmp(o) { return "x" } } return W() < W() }) + "\n")
print("tostring must give a string: " + attempt(function() { class W { function _tostring() { return 5 } } return "" + W() }) + "\n")
// Of the class itself: _inherited is asked of the base, _newmember for each member
seen <- []
class Watched {
    function _inherited(attributes) { ::seen.push("inherited " + (attributes ? attributes.name : "plain")) }
    function _newmember(name, value, attributes, isstatic) {
        ::seen.push((isstatic ? "static " : "") + name + (attributes ? " " + attributes.unit : ""))
        rawnewmember(name, value, attributes, isstatic)
    }
}
class First extends Watched </ name = "first" /> { a = 1; </ unit = "s" /> b = 2; static c = 3; function f() {} }
class Second extends First {}
First.d <- 4
print("watched: " + seen.reduce(@(a, b) a + ", " + b) + "\n")
print("and there: " + First().a + First().b + First.c + First.getattributes("b").unit + "\n")
// Metamethods go down the class tree, and calls in them may be deep
class Down extends M { function _add(o) { return "down " + base._add } }
print("inherited: " + (-Down(2)) + "\n")
function deep(n) { return n ? deep(n - 1) + 1 : 0 }
class D { function _add(o) { return deep(o) } }
print("deep in a metamethod: " + (D() + 500) + "\n")
