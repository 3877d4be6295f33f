//: 3 12 13
//: 0 3 7
//: wrong number of parameters
//: 15
//: Tom here
//: 5 6
//: 6 24
//: 10
//: true
//: bound 5
//: function main? callee
//: this, a, b
//: 1 2
//: the index 'inner' does not exist
//: 7
function f(a, b = 2, c = 10) { return a + b * (c == 10 ? 1 : c); }
print(f(1) + " " + f(10) + " " + f(1, 3, 4) + "\n");
function count(...) { return vargv.len(); }
print(count() + " " + count(1, 2, 3) + " " + count.acall([this, 1, 2, 3, 4, 5, 6, 7]) + "\n");
try { f(); } catch (e) { print(e + "\n"); }
function sum(...) { local s = 0; foreach (v in vargv) s += v; return s }
print(sum(1, 2
    3, 4 5) + "\n");
local o = { name = "Tom", hi = function() { local g = function() { return name }; return g() + " here" } };
print(o.hi() + "\n");
function counter(n) { return { up = function() { return ++n }, get = @() n } }
local c = counter(4);
print(c.up() + " " + (c.up(), c.get()) + "\n");
local fact = null;
fact = function(n) { return n < 2 ? 1 : n * fact(n - 1) };
print(fact(3) + " " + fact(4) + "\n");
function deep(n) { if (n == 0) return 10; return deep(n - 1) }
print(deep(5000) + "\n");
print((callee() == null ? "no" : (typeof callee() == "function")) + "\n");
class K { v = 5; function get() { return "bound " + v } }
local b = K().get.bindenv(K());
print(b() + "\n");
print(typeof print + " main? " + (function() { return callee().getinfos().name == null })().tostring().slice(0, 0) + "callee\n");
local line = "";
foreach (p in (function(a, b) {}).getinfos().parameters) line += (line == "" ? "" : ", ") + p;
print(line + "\n");
local x = 1, y = 2;
function swap() { local t = x; x = y; y = t; }
swap(); swap();
print(x + " " + y + "\n");
local function inner() { return inner(); }
try { inner(); } catch (e) { print(e + "\n"); }
local seven = @(a, b) a + b;
print(seven.call(null, 3, 4) + "\n");
