//: 5 -3 text 1.5
//: 0 10 1 two
//: 5
const A = 5; const B = -3
const C = "text";
const D = 1.5;
enum E { FIRST, TEN = 10, SECOND, NAMED = "two" }
print(A + " " + B + " " + C + " " + D + "\n");
print(E.FIRST + " " + E.TEN + " " + E.SECOND + " " + E.NAMED + "\n");
function f() { local A = 6; return ::g() }
function g() { return A }
print(f() + "\n");
