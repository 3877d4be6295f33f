//: Rex says woof, 4 legs
//: Rex 5 true false
//: dog Animal?
//: static 3 3
//: shared 2
//: 4 6 | (4,6)
//: true -1
//: idx missing
//: hidden = 8
//: called 1 2
//: vec 12
//: clone of 1
//: the index 'nope' does not exist
//: trying to modify a class that has already been instantiated
//: added
//: 10 20 30
//: attr hello
//: class instances do not support the new slot operator
//: null true
//: member y
//: base of B
class Animal {
    name = null; legs = 4; static count = 3;
    constructor(n) { name = n }
    function speak() { return name + " says " + sound() }
    function sound() { return "nothing" }
}
class Dog extends Animal {
    age = 0;
    constructor(n, a = 5) { base.constructor(n); age = a }
    function sound() { return "woof" }
}
local d = Dog("Rex");
print(d.speak() + ", " + d.legs + " legs\n");
print(d.name + " " + d.age + " " + (d instanceof Animal) + " " + (Animal("x") instanceof Dog) + "\n");
class Typed { function _typeof() { return "dog" } }
print(typeof Typed() + " Animal?\n");
print("static " + d.count + " " + Animal.count + "\n");
class Shared { arr = [] }
Shared().arr.push(1); Shared().arr.push(2);
print("shared " + Shared().arr.len() + "\n");
class Vec {
    x = 0; y = 0;
    constructor(a, b) { x = a; y = b }
    function _add(o) { return Vec(x + o.x, y + o.y) }
    function _tostring() { return "(" + x + "," + y + ")" }
    function _cmp(o) { return x <=> o.x }
    function _get(k) { if (k == "idx") return "idx missing"; throw null }
    function _set(k, v) { print(k + " = " + v + "\n") }
    function _call(env, a, b) { return "called " + a + " " + b }
    function _mul(n) { return "vec " + (x * n) }
    function _cloned(o) { x = o.x; y = "clone of " + o.x }
}
local v = Vec(1, 2) + Vec(3, 4);
print(v.x + " " + v.y + " | " + v + "\n");
print((Vec(1, 0) < Vec(2, 0)) + " " + (Vec(1, 0) <=> Vec(2, 0)) + "\n");
print(v.idx + "\n");
v.hidden = 8;
print(v(1, 2) + "\n");
print(v * 3 + "\n");
print((clone Vec(1, 1)).y + "\n");
try { v.nope } catch (e) { print(e + "\n") }
try { Animal.extra <- 1 } catch (e) { print(e + "\n") }
Animal.later <- function() { return "added" };
print(Animal("q").later() + "\n");
class Gen {
    function _nexti(i) { return i == null ? 0 : i == 2 ? null : i + 1 }
    function _get(i) { return (i + 1) * 10 }
}
local line = "";
foreach (i, x in Gen()) line += (i ? " " : "") + x;
print(line + "\n");
class Attr { </ text = "hello" /> x = 1 }
print("attr " + Attr.getattributes("x").text + "\n");
try { d.newslot <- 1 } catch (e) { print(e + "\n") }
print((Animal.getbase() == null ? "null" : "?") + " " + (Dog.getbase() == Animal) + "\n");
foreach (k, m in class { y = 1 }) print("member " + k + "\n");
class A { function who() { return "base of B" } }
class B extends A { function who() { return base.who() } }
class C extends B {}
print(C().who() + "\n");
