//: true false
//: 5 wrong number of parameters
//: 0 1 2
//: 12 3
//: a=2 b=3
//: pcall: bad
//: newmember late
//: inherited Derived
//: 1000
//: table array
//: last
//: ok fallthrough
//: 30
//: outer 2
local t = { k = 1 };
print(("k" in t) + " " + (1 in [5]) + "\n");
local f = function(a) { return a };
print(f(5) + " ");
try { f(1, 2) } catch (e) { print(e + "\n") }
local seen = "";
foreach (i, v in [9, 9, 9]) seen += (i ? " " : "") + i;
print(seen + "\n");
class P { a = 1; function _unm() { return 12 } function _modulo(o) { return 3 } }
print(-P() + " " + P() % 2 + "\n");
local o = { a = 1, b = 2 };
foreach (k, v in o) o[k] = v + 1;
print("a=" + o.a + " b=" + o.b + "\n");
try { (function() { throw "bad" }).pcall(this) } catch (e) { print("pcall: " + e + "\n") }
class M { function _newmember(n, v, a, s) { this.rawnewmember(n, v, a, s); ::names.push(n) } }
names <- [];
class N extends M { late = 1 }
print("newmember " + names[0] + "\n");
class Base { function _inherited(attrs) { ::who <- attrs.name } }
class Derived extends Base </ name = "Derived" /> {}
print("inherited " + who + "\n");
function deep(n) { if (n == 0) return 1000; return (@() deep(n - 1))() }
print(deep(900) + "\n");
print(type(t) + " " + type([]) + "\n");
function last(...) { return vargv.top() }
print(last.acall([null, 1, "last"]) + "\n");
switch (3) { case 3: print("ok "); case 4: print("fallthrough\n") }
local total = 0;
local add = function(v) { total += v; return total };
[10, 20].apply(add);
print(total + "\n");
function shadow() { local x = 1; { local x = 2; return @() "outer " + x } }
print(shadow()() + "\n");
