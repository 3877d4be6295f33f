//: in below ==: false true
//: in below |: true true
//: instanceof below ==: <cannot apply instanceof between a instance and a bool> true
//: bits below equality: <bitwise op between 'integer' and 'bool'> true
//: shift below sum: 32 16 false
//: ^ between & and |: 3
//: and/or give operands: 2 1 b 0 1
//: right to left: 5 5 2
//: no comma: 3 3 2 6
//: negative: -2147483648 -2147483648 3 -3.5
//: wrap: -2147483648 2147483647 0 -2147479015
//: to zero: -3 -3 1 -1
//: by zero: <division by zero> <modulo by zero> inf -inf false
//: the least by -1: <integer overflow> 0
//: fmod: 1.5 -1.5 2
//: mixed: 1.5 1.67772e+07 1.5
//: shifts: 2 -4 15 1 -6
//: no numbers: <arith op + on between 'bool' and 'integer'> <comparsion between 'true' and '1'> <bitwise op between 'float' and 'integer'> <arith op - on between 'null' and 'integer'>
//: text: 1 1.67772e+07 100000 1e+06 1.23457e+08 0.0001 1e-05 true
//: null + text: (null : 0x(nil))x x(null : 0x(nil))
//: objects: (table : (array : (function : (class : (instance :
//: order: true -1 true 1 true -1
//: other types: <comparsion between '1' and 'a'> <comparsion 
//: NUL: false 0 false false
//: == asks nobody: false 0
//: numbers as keys: true false true
//: prefix takes a postfix: true 0 true
//: unknown: <the index 'unknown' does not exist>
//: made: 2 5 5 7 7 5
//: compound: 7 1 21 0 0
//: to integer: -2147483648 -1 2
//: comma: 3
function attempt(f) { try { return f() } catch (e) { return "<" + e + ">" } }
// In 3.0.4 `in` and `instanceof` stand with `&&`: below `==` and below `|`
local t = { k = 1, [true] = 2, [3] = 3 }
local k = "k"
print("in below ==: " + attempt(@() k in t == t) + " " + attempt(@() 1 == 1 in t) + "\n")
print("in below |: " + (1 in t || (1 | 2) in t) + " " + attempt(@() 1 | 2 in t) + "\n")
class A {}
local a = A()
print("instanceof below ==: " + attempt(@() a instanceof A == A) + " " + attempt(@() a instanceof A) + "\n")
print("bits below equality: " + attempt(@() 1 & 3 == 3) + " " + ((1 & 3) == 1) + "\n")
print("shift below sum: " + (1 << 2 + 3) + " " + (1 + 3 << 2) + " " + (1 << 2 < 3) + "\n")
print("^ between & and |: " + (1 | 3 ^ 1 & 1) + "\n")
print("and/or give operands: " + (1 && 2) + " " + (null || 1) + " " + ("" && "b") + " " + (0 && nowhere) + " " + (1 || nowhere) + "\n")
local x, y, z
x = y = 5
print("right to left: " + x + " " + y + " " + (false ? 1 : true ? 2 : 3) + "\n")
// A comma is optional between elements, slots and arguments
local list = [1 2 3], slots = { a = 1 b = 2 c = 3 }
enum E { A B C }
print("no comma: " + list.len() + " " + slots.len() + " " + E.C + " " + (function(a, b, c) { return a + b + c })(1 2 3) + "\n")
print("negative: " + -2147483648 + " " + (-2147483647 - 1) + " " + (-(-3)) + " " + -3.5 + "\n")
// Integers wrap, division goes to zero
print("wrap: " + (2147483647 + 1) + " " + (-2147483648 - 1) + " " + (65536 * 65536) + " " + (46341 * 46341) + "\n")
print("to zero: " + (7 / -2) + " " + (-7 / 2) + " " + (7 % -3) + " " + (-7 % 3) + "\n")
local zero = 0, min = -2147483648, minus = -1
print("by zero: " + attempt(@() 1 / zero) + " " + attempt(@() 1 % zero) + " " + (1.0 / zero) + " " + (-1 / 0.0) + " " + (0.0 / 0 == 0.0 / 0) + "\n")
print("the least by -1: " + attempt(@() min / minus) + " " + attempt(@() min % minus) + "\n")
print("fmod: " + (7.5 % 2) + " " + (-7.5 % 2) + " " + (7 % 2.5) + "\n")
print("mixed: " + (1 + 0.5) + " " + (16777217 + 0.0) + " " + (3 / 2.0) + "\n")
print("shifts: " + (1 << 33) + " " + (-16 >> 2) + " " + (-16 >>> 28) + " " + (1 >> 32) + " " + (~5) + "\n")
print("no numbers: " + attempt(@() true + 1) + " " + attempt(@() true < 1) + " " + attempt(@() 1.5 | 1) + " " + attempt(@() null - 1) + "\n")
// Numbers as text: %d and %g
print("text: " + 1.0 + " " + 16777217.0 + " " + 100000.0 + " " + 1000000.0 + " " + 123456789.0 + " " + 0.0001 + " " + 0.00001 + " " + true + "\n")
print("null + text: " + (null + "x") + " " + ("x" + null) + "\n")
print("objects: " + ({} + "").slice(0, 8) + " " + ([] + "").slice(0, 8) + " " + (attempt + "").slice(0, 11) + " " + (A + "").slice(0, 8) + " " + (a + "").slice(0, 11) + "\n")
// Comparisons
print("order: " + (null < -5) + " " + (null <=> "a") + " " + (1 < 1.5) + " " + (2.5 <=> 2) + " " + ("a" < "b") + " " + ("a" <=> "ab") + "\n")
print("other types: " + attempt(@() 1 < "a") + " " + attempt(@() {} < []).slice(0, 12) + "\n")
print("NUL: " + ("a\0b" < "a\0c") + " " + ("a\0b" <=> "a\0c") + " " + ("a\0b" == "a\0c") + " " + ("a\0b" == "a") + "\n")
class Never { function _cmp(o) { return 0 } }
print("== asks nobody: " + (Never() == Never()) + " " + (Never() <=> Never()) + "\n")
print("numbers as keys: " + (1 == 1.0) + " " + (1 in { [1.0] = 0 }) + " " + (1.0 in { [1.0] = 0 }) + "\n")
print("prefix takes a postfix: " + (typeof 1 == "integer") + " " + (-list[0] + 1) + " " + (!0 == true) + "\n")
// Assignments are expressions; `=` makes nothing
print("unknown: " + attempt(function() { unknown = 1 }) + "\n")
unknown <- 1
print("made: " + (unknown = 2) + " " + (unknown += 3) + " " + unknown++ + " " + ++unknown + " " + unknown-- + " " + --unknown + "\n")
slots.a += 5; slots.b -= 1; slots.c *= 7; list[0] /= 2; list[1] %= 2; slots.a++
print("compound: " + slots.a + " " + slots.b + " " + slots.c + " " + list[0] + " " + list[1] + "\n")
print("to integer: " + (1e20).tointeger() + " " + (-1.9).tointeger() + " " + (2.9).tointeger() + "\n")
print("comma: " + (1, 2, 3) + "\n")
