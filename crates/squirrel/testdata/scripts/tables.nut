//: 1 2 3 json
//: 2
//: the index 'zzz' does not exist
//: null cannot be used as index
//: true false
//: from delegate 1
//: delegate changed: 9
//: got missing
//: set k=5
//: true
//: 3 0
//: 1 2
//: deleted 7
//: 100 slots, 5050
local t = { a = 1, ["b"] = 2, function c() { return 3 }, "d": "json" };
print(t.a + " " + t.b + " " + t.c() + " " + t.d + "\n");
delete t.a; delete t["b"];
print(t.len() + "\n");
try { t.zzz } catch (e) { print(e + "\n"); }
try { t[null] <- 1 } catch (e) { print(e + "\n"); }
print(("c" in t) + " " + ("a" in t) + "\n");
local d = { x = 1 };
local o = {}.setdelegate(d);
print("from delegate " + o.x + "\n");
o.x = 9;
print("delegate changed: " + d.x + "\n");
local m = {}.setdelegate({
    _get = function(k) { if (k == "none") throw null; return "got " + k },
    _set = function(k, v) { ::print("set " + k + "=" + v + "\n") }
});
print(m.missing + "\n");
m.k = 5;
try { m.none; print("no\n") } catch (e) { print((e == "the index 'none' does not exist") + "\n") }
local big = { p = 1, q = 2, r = 3 };
print(big.len() + " "); big.clear(); print(big.len() + "\n");
local copy = clone { one = 1, two = 2 };
print(copy.one + " " + copy.two + "\n");
local h = { g = 7 };
print("deleted " + (delete h.g) + "\n");
local n = {};
for (local i = 1; i <= 100; i++) n["k" + i] <- i;
local s = 0;
foreach (v in n) s += v;
print(n.len() + " slots, " + s + "\n");
