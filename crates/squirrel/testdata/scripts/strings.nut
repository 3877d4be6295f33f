//: 5 ell LO hello
//: 2 (null : 0x(nil)) 0
//: 12 0 1 -7 1.5
//: cannot convert the string
//: 3 a c
//: [x] [x ] [ x]
//: slice out of range
//: 00042|+7|ff|0X1F|3.14|1e-05|  hi|hi  |A|%
//: 5 3.0
//: string expected for the specified format
//: A 0
//: true true
//: b
local h = "hello";
print(h.len() + " " + h.slice(1, 4) + " " + h.slice(-2).toupper() + " " + "HELLO".tolower() + "\n");
print(h.find("l") + " " + h.find("z") + " " + h.find("") + "\n");
print("12abc".tointeger() + " " + "0x1f".tointeger() + " " + "1.9".tointeger() + " " + " -7".tointeger() + " " + "1.5".tofloat() + "\n");
try { "abc".tointeger() } catch (e) { print(e + "\n") }
local parts = split("a,,b,c,", ",");
print(parts.len() + " " + parts[0] + " " + parts[2] + "\n");
print("[" + strip(" x ") + "] [" + lstrip(" x ") + "] [" + rstrip(" x ") + "]\n");
try { h.slice(1, 99) } catch (e) { print(e + "\n") }
print(format("%05d|%+d|%x|%#X|%.2f|%g|%4s|%-4s|%c|%%", 42, 7, 255, 31, 3.14159, 0.00001, "hi", "hi", 65) + "\n");
print(format("%d %.1f", 5.9, 3) + "\n");
try { format("%s", 1) } catch (e) { print(e + "\n") }
print((65).tochar() + " " + "".len() + "\n");
local long = "";
for (local i = 0; i < 60; i++) long += "x";
local other = "x";
while (other.len() < 60) other += "x";
print((long == other) + " " + (long in { [other] = 1 }) + "\n");
print("abc"[1].tochar() + "\n");
