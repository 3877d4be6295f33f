//: -2147483648 2147483647 -3 -1
//: inf -inf 1.5
//: -8 1 8 1073741820
//: 7 2 14 6
//: false false true
//: 1.67772e+07 0.333333 1e+20
//: 3 null-or 0 4
//: -1 0 1 -1
//: division by zero
//: modulo by zero
//: integer overflow
//: 0
//: arith op + on between 'null' and 'integer'
//: arith op + on between 'bool' and 'integer'
//: bitwise op between 'integer' and 'bool'
//: comparsion between '1' and 'a'
print((2147483647 + 1) + " " + (-2147483648 - 1) + " " + (-7 / 2) + " " + (-7 % 3) + "\n");
print((1.0 / 0) + " " + (-1 / 0.0) + " " + (7.5 % 3) + "\n");
print((-16 >> 1) + " " + (1 << 32) + " " + (1 << 3) + " " + (-16 >>> 2) + "\n");
print((3 | 4) + " " + (6 & 3) + " " + (9 ^ 7) + " " + (2 * 3) + "\n");
print((1 in {[1.0] = 0}) + " " + ("len" in []) + " " + (1 == 1.0) + "\n");
print(16777217.0 + " " + (1.0 / 3) + " " + 1e20 + "\n");
print((null || 3) + " " + (0 || "null-or") + " " + (0 && 5) + " " + (1 && 4) + "\n");
print((1 <=> 2) + " " + ("a" <=> "a") + " " + (2.5 <=> 1) + " " + (null <=> -5) + "\n");
local min = -2147483648, one = -1, zero = 0;
function attempt(f) { try { print(f() + "\n"); } catch (e) { print(e + "\n"); } }
attempt(@() 1 / zero);
attempt(@() 1 % zero);
attempt(@() min / one);
attempt(@() min % one);
attempt(@() null + 1);
attempt(@() true + 1);
attempt(@() 1 & 3 == 3);
attempt(@() 1 < "a");
