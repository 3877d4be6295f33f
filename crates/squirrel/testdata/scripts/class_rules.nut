//: initialisers run once: 1 1 1 true
//: members: 7 key static static helper instance
//: locked: <trying to modify a class that has already been instantiated>
//: methods may come: later 3 new get 3
//: before an instance: 2 3
//: copied: B over new get 8 false true (null : 0x(nil))
//: base is the defining class's: B over new get 8 (null : 0x(nil))
//: no constructor: 1 1 5
//: set: <the index 'none' does not exist> <class instances do not support the new slot operator> <the index 'shared' does not exist> <the index 'get' does not exist>
//: get: <the index 'none' does not exist> 1 true false static
//: rawset: 77 <the index doesn't exist>
//: in: true true false false true
//: instanceof: true false false <cannot apply instanceof between a instance and a integer>
//: attributes: of A mm (null : 0x(nil))
//: set: cm whole <wrong index>
//: of the derived: true cm
//: clone: 5 105 true
//: no slots: false false <the index '_tostring' does not exist> sum
//: foreach: y x z
//: newmember: 5 1 5 true
//: no inheriting from: <trying to inherit from a integer>
//: expressions: 9 class
function attempt(f) { try { return f() } catch (e) { return "<" + e + ">" } }
local made = 0
class A </ doc = "of A", n = 1 /> {
    field = ++made
    list = []
    static shared = "static"
    </ unit = "mm" /> size = 5;
    ["computed" + 1] = "key"
    constructor(n = 0) { if (n) size = n; return "ignored" }
    function get() { return size }
    static function helper() { return "helper" }
}
print("initialisers run once: " + A().field + " " + A().field + " " + made + " " + (A().list == A().list) + "\n")
print("members: " + A(7).get() + " " + A().computed1 + " " + A().shared + " " + A.shared + " " + A.helper() + " " + (typeof A(1)) + "\n")
// A class with instances is locked for fields, not for methods and statics
print("locked: " + attempt(function() { A.more <- 1 }) + "\n")
A.later <- function() { return "later " + size }
A.get <- function() { return "new get " + size }
print("methods may come: " + A(3).later() + " " + A(3).get() + "\n")
class Open { x = 1 }
Open.x <- 2; Open.y <- 3
print("before an instance: " + Open().x + " " + Open().y + "\n")
// Inheritance copies at definition time
class B extends A { constructor() { base.constructor(8) } function get() { return "B over " + base.get() } }
A.afterwards <- function() { return 1 }
print("copied: " + B().get() + " " + ("afterwards" in B) + " " + (B.getbase() == A) + " " + A.getbase() + "\n")
print("base is the defining class's: " + (class extends B {})().get() + " " + (class { function b() { return base } })().b() + "\n")
// No constructor: any arguments
class Bare { x = 1 }
print("no constructor: " + Bare(1, 2, 3).x + " " + Bare.instance().x + " " + A.instance().size + "\n")
// Instances: only existing fields; statics and methods not through them
local a = A(1)
print("set: " + attempt(function() { a.none = 1 }) + " " + attempt(function() { a.none <- 1 }) + " " + attempt(function() { a.shared = 1 }) + " " + attempt(function() { a.get = 1 }) + "\n")
print("get: " + attempt(@() a.none) + " " + a.rawget("size") + " " + a.rawin("size") + " " + a.rawin("none") + " " + a.getclass().shared + "\n")
a.rawset("size", 77)
print("rawset: " + a.size + " " + attempt(function() { a.rawset("none", 1) }) + "\n")
print("in: " + ("size" in a) + " " + ("get" in a) + " " + ("none" in a) + " " + ("getclass" in a) + " " + ("size" in A) + "\n")
print("instanceof: " + (B() instanceof A) + " " + (A() instanceof B) + " " + (5 instanceof A) + " " + attempt(@() a instanceof 5) + "\n")
// Attributes
print("attributes: " + A.getattributes(null).doc + " " + A.getattributes("size").unit + " " + A.getattributes("get") + "\n")
A.setattributes("size", { unit = "cm" })
A.setattributes(null, "whole")
print("set: " + A.getattributes("size").unit + " " + A.getattributes(null) + " " + attempt(@() A.getattributes("none")) + "\n")
class Attributed extends A </ own = true /> {}
print("of the derived: " + Attributed.getattributes(null).own + " " + Attributed.getattributes("size").unit + "\n")
// clone: fields, no constructor
class Cl { n = 0; list = null; constructor() { n = 5; list = [1] } function _cloned(from) { n = from.n + 100 } }
local c = Cl(), d = clone c
print("clone: " + c.n + " " + d.n + " " + (c.list == d.list) + "\n")
// Metamethods are no slots
class Meta { function _add(o) { return "sum" } function _tostring() { return "text" } }
print("no slots: " + ("_add" in Meta) + " " + ("_tostring" in Meta()) + " " + attempt(@() Meta()._tostring) + " " + (Meta() + 1) + "\n")
local shown = ""
foreach (k, v in class { z = 1; function y() {} static x = 2 }) shown += k + " "
print("foreach: " + strip(shown) + "\n")
A.newmember("named", 5, { at = 1 }, true)
print("newmember: " + A.named + " " + A.getattributes("named").at + " " + A.rawget("named") + " " + A.rawin("named") + "\n")
print("no inheriting from: " + attempt(@() class extends 5 {}) + "\n")
print("expressions: " + (class { v = 9 })().v + " " + typeof class {} + "\n")
