//: null bool integer float string table array function function generator class instance weakref
//: false: null false 0 0
//: true: empty string, empty array, empty table
//: mine instance
//: true true false
//: true true
function g() { yield 1 }
class C { function _typeof() { return "mine" } }
local names = "";
class P {}
foreach (v in [null, true, 1, 1.5, "s", {}, [], g, print, g(), C, P()]) names += typeof v + " ";
local held = {}
print(names + typeof held.weakref() + "\n")
local no = "", yes = "";
foreach (v in [null, false, 0, 0.0]) if (!v) no += " " + (v == null ? "null" : v);
print("false:" + no + "\n")
print("true:" + ("" ? " empty string," : "") + ([] ? " empty array," : "") + ({} ? " empty table" : "") + "\n")
print(typeof C() + " " + type(C()) + "\n")
// Strings are equal by content, objects by identity
local t = {}
print(("a" + "b" == "ab") + " " + (t == t) + " " + (t == {}) + "\n")
print(({ ab = 1 }["a" + "b"] == 1) + " " + ([t].find(t) == 0) + "\n")
