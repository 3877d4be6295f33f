//: integer: A A 7 7 7 7
//: float: 1 B 1.5 1
//: bool: 1 0 true 1
//: string: 12 World Hello Worl hello, world HELLO, WORLD
//: find: 4 8 (null : 0x(nil)) 0 (null : 0x(nil))
//: numbers: 12 0 1 8 -150 <cannot convert the string> <cannot convert the string>
//: slices: <slice out of range> <wrong indexes> ''
//: table: 1 (null : 0x(nil)) true 2 (null : 0x(nil)) 1 <the index doesn't exist> (null : 0x(nil)) 0
//: null: (null : 0x(nil))(null : 0x(nil))(null : 0x(nil))(null : 0x(nil))(null : 0x(nil))(null : 0x(nil))(null : 0x(nil))(null : 0x(nil))(null : 0x(nil))
//: array: 4 3 1 [2,3] 1 (null : 0x(nil)) 2
//: empty: <pop() on a empty array> <top() on a empty array> (null : 0x(nil)) 7
//: callbacks: [10,20] [1,3] -4
//: sizes: f 4 [1,f] [f,f] <slice out of range> <index out of range> <idx out of range>
//: sort: 16 13 11 22 25 20 34 37
//: with a comparator: [9,5,3,1] <numeric value expected as return value of the compare function>
//: absent in 3.0.4: false <the index 'keys' does not exist> <wrong number of parameters>
//: function: (function : weakref
//: generator: suspended (generator : 
function attempt(f) { try { return f() } catch (e) { return "<" + e + ">" } }
function show(a) { return "[" + a.reduce(@(x, y) x + "," + y) + "]" }
print("integer: " + (65).tochar() + " " + (321).tochar() + " " + (7).tofloat() + " " + (7).tointeger() + " " + (7).tostring() + " " + (7).weakref() + "\n")
print("float: " + (1.9).tointeger() + " " + (66.6).tochar() + " " + (1.5).tofloat() + " " + (1.0).tostring() + "\n")
print("bool: " + true.tointeger() + " " + false.tofloat() + " " + true.tostring() + " " + true.tochar().len() + "\n")
local s = "Hello, World"
print("string: " + s.len() + " " + s.slice(7) + " " + s.slice(0, 5) + " " + s.slice(-5, -1) + " " + s.tolower() + " " + s.toupper() + "\n")
print("find: " + s.find("o") + " " + s.find("o", 5) + " " + s.find("x") + " " + s.find("") + " " + "a\0b".find("b") + "\n")
print("numbers: " + "12abc".tointeger() + " " + "0x1f".tointeger() + " " + "1.9".tointeger() + " " + "  8".tointeger() + " " + "-1.5e2x".tofloat() + " " + attempt(@() "abc".tointeger()) + " " + attempt(@() "".tofloat()) + "\n")
print("slices: " + attempt(@() s.slice(5, 99)) + " " + attempt(@() s.slice(5, 2)) + " '" + s.slice(3, 3) + "'\n")
local t = { a = 1 }
print("table: " + t.rawget("a") + " " + t.rawset("b", 2) + " " + t.rawin("b") + " " + t.rawdelete("b") + " " + t.rawdelete("b") + " " + t.len() + " " + attempt(@() t.rawget("z")) + " " + t.clear() + " " + t.len() + "\n")
// In 3.0.4 these give null, not the array
local a = [3, 1, 2]
print("null: " + a.append(4) + a.push(5) + a.extend([6]) + a.insert(0, 0) + a.reverse() + a.sort() + a.apply(@(v) v) + a.resize(7) + a.clear() + "\n")
a = [1, 2, 3, 4]
print("array: " + a.pop() + " " + a.top() + " " + a.remove(0) + " " + show(a) + " " + a.find(3) + " " + a.find(9) + " " + a.len() + "\n")
print("empty: " + attempt(@() [].pop()) + " " + attempt(@() [].top()) + " " + [].reduce(@(x, y) x) + " " + [7].reduce(@(x, y) x) + "\n")
print("callbacks: " + show([1, 2].map(@(v) v * 10)) + " " + show([1, 2, 3].filter(@(i, v) i != 1)) + " " + [1, 2, 3].reduce(@(p, c) p - c) + "\n")
a = [1]; a.resize(3, "f"); a.extend([[9]])
print("sizes: " + a[2] + " " + a.len() + " " + show(a.slice(0, 2)) + " " + show(a.slice(-3, -1)) + " " + attempt(@() a.slice(2, 9)) + " " + attempt(@() a.insert(9, 0)) + " " + attempt(@() a.remove(9)) + "\n")
// The reference's heapsort: the order of equals is its own
local records = []
foreach (i, k in [2, 1, 2, 1, 3, 2, 1, 3]) records.push({ k = k, i = i })
records.sort(@(x, y) x.k <=> y.k)
print("sort: " + records.map(@(r) "" + r.k + r.i).reduce(@(x, y) x + " " + y) + "\n")
local nums = [5, 3, 9, 1]; nums.sort(@(x, y) y - x)
print("with a comparator: " + show(nums) + " " + attempt(@() [1, 2].sort(@(x, y) "no")) + "\n")
print("absent in 3.0.4: " + ("filter" in t) + " " + attempt(@() {}.keys()) + " " + attempt(@() "12".tointeger(16)) + "\n")
function f() {}
print("function: " + (f.tostring().slice(0, 11)) + " " + typeof f.weakref() + "\n")
function g() { yield 1 }
print("generator: " + g().getstatus() + " " + g().tostring().slice(0, 13) + "\n")
