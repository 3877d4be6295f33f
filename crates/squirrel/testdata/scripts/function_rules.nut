//: this: o o root o root
//: methods: base of class class
//: names: own root name root name
//: arity: <wrong number of parameters> <wrong number of parameters> <wrong number of parameters>
//: defaults: 1:1 1:2 9:3
//: varargs: 1 0 array, 1 2 array, <wrong number of parameters>
//: free variables: 12 12
//: bindenv: bound bound bound <parameter 1 has an invalid type 'null' ; expected: 'table|class|instance'>
//: call: o 1 1 array o 1 0 array o
//: getinfos: false many function 3 this ... 1 0
//: of a native: true type 2 true
//: callee: false 120
//: no return: (null : 0x(nil)) (null : 0x(nil))
//: tail calls: bottom
//: not in try: bottom
//: lambda: 8 9
//: generator: 0 suspended kept 1 second 2 end dead <resuming dead generator>
//: yield in try: caught inside
//: active: <resuming active generator> <trying to resume a 'integer',only genenerator can be resumed>
function attempt(f) { try { return f() } catch (e) { return "<" + e + ">" } }
// `this`: the object before the dot, the caller's own for a bare call, the root for `::`
function who() { return this == getroottable() ? "root" : ("name" in this ? this.name : "?") }
local o = { name = "o", who = who, bare = function() { local w = who; return w() }, root = function() { return ::who() }, key = function() { return this["who"]() } }
print("this: " + o.who() + " " + o.bare() + " " + o.root() + " " + o.key() + " " + who() + "\n")
class Base { name = "class"; function who() { return "base of " + name } }
class Derived extends Base { function who() { return base.who() } function f() { local l = function() { return name }; return l() } }
print("methods: " + Derived().who() + " " + Derived().f() + "\n")
// A bare name is a slot of `this`, then of the root
name <- "root name"
print("names: " + (function() { return name }).call({ name = "own" }) + " " + (function() { return name }).call({}) + " " + (function() { return ::name }).call({ name = "own" }) + "\n")
print("arity: " + attempt(@() who(1)) + " " + attempt(@() (@(a) a)()) + " " + attempt(@() type()) + "\n")
// Defaults are evaluated once, when the function is made
local made = 0
function next() { return ++made }
local withDefault = function(a, b = next(), c = []) { c.push(a); return b + ":" + c.len() }
print("defaults: " + withDefault(1) + " " + withDefault(2) + " " + withDefault(3, 9) + "\n")
function many(first, ...) { return first + " " + vargv.len() + " " + typeof vargv }
print("varargs: " + many(1) + ", " + many(1, 2, 3) + ", " + attempt(@() many()) + "\n")
// Free variables are shared, not copied
local n = 1
local inc = @() ++n, read = @() n
inc(); n += 10
print("free variables: " + n + " " + read() + "\n")
// bindenv fixes `this`, strongly; null is refused
local bound = who.bindenv({ name = "bound" })
collectgarbage()
print("bindenv: " + bound() + " " + bound.call({ name = "other" }) + " " + { name = "x", f = bound }.f() + " " + attempt(@() who.bindenv(null)) + "\n")
print("call: " + who.call(o) + " " + many.call(o, 1, 2) + " " + who.acall([o]) + " " + many.pacall([o, 1]) + " " + who.pcall(o) + "\n")
local i = many.getinfos(), ni = type.getinfos()
print("getinfos: " + i.native + " " + i.name + " " + i.src.slice(0, 8) + " " + i.parameters.len() + " " + i.parameters[0] + " " + i.parameters[2] + " " + i.varargs + " " + i.defparams.len() + "\n")
print("of a native: " + ni.native + " " + ni.name + " " + ni.paramscheck + " " + ("typecheck" in ni) + "\n")
print("callee: " + ((@() callee())() == null) + " " + (function(n) { return n < 2 ? 1 : n * callee()(n - 1) })(5) + "\n")
print("no return: " + (function() {})() + " " + (function() { return })() + "\n")
function down(n) { if (n) return down(n - 1); return "bottom" }
print("tail calls: " + down(50000) + "\n")
print("not in try: " + attempt(@() (function() { try { return down(3) } catch (e) {} })()) + "\n")
print("lambda: " + (@(a, b = 2) a * b)(4) + " " + [1, 2, 3].map(@(v) v * v)[2] + "\n")
// A generator function runs nothing when it is called; it keeps `this`
local ran = []
function Gen() { ran.push("began"); yield this.name; ran.push("went on"); yield "second"; return "end" }
local g = Gen.call({ name = "kept" })
print("generator: " + ran.len() + " " + g.getstatus() + " " + (resume g) + " " + ran.len() + " " + (resume g) + " " + ran.len() + " " + (resume g) + " " + g.getstatus() + " " + attempt(@() resume g) + "\n")
function trapped() { try { yield 1; throw "inside" } catch (e) { yield "caught " + e } }
local tg = trapped(); resume tg
print("yield in try: " + (resume tg) + "\n")
local running = null
function selfish() { yield resume running }
running = selfish()
print("active: " + attempt(@() resume running) + " " + attempt(@() resume 5) + "\n")
