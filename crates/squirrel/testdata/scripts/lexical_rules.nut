//: 1 2 3
//: 255 7 8 -1 -2147483648 0 10
//: 65 10 92 39
//: 1 0.001 1e+10 5.5
//: 9 7 10 11 13 12 0 92 34 39 65 52 3
//: 2 10 1
//: lib.nut here
//: Case case _x1
//: called 6
//: 2 3
//: rawcall line file vargv
//: quoted "x"
# Comments: `#` and `//` to the end of the line, /* */ does not nest
local one = 1 // one
local two = 2 /* two /* still the same comment */
local three = 3; /* three */ print(one + " " + two + " " + three + "\n")
print(0xFF + " " + 007 + " " + 08 + " " + 0xffffffff + " " + 2147483648 + " " + 4294967296 + " " + 4294967306 + "\n")
print('A' + " " + '\n' + " " + '\\' + " " + '\'' + "\n")
print(1. + " " + 1e-3 + " " + 1E+10 + " " + 5.5 + "\n")
// Every escape; \x takes up to four digits and keeps the low byte
local escapes = "\t\a\n\v\r\f\0\\\"\'\x41\x1234\x3";
local codes = "";
foreach (i, c in escapes) codes += (i ? " " : "") + c;
print(codes + "\n")
// Verbatim: no escapes, newlines kept
local v = @"a\n
b";
print(split(v, "\n").len() + " " + v[3] + " " + (v.find("\\") == 1 ? 1 : 0) + "\n")
#require "Nothing.lib.nut:1.0.0 is only a comment without a resolver
print("lib.nut here\n")
local Case = "Case", case_ = "case", _x1 = "_x1"
print(Case + " " + case_ + " " + _x1 + "\n")
// `(` on a new line goes on as a call; `++` on a new line does not bind backwards
local f = function(n) { return "called " + n }
print(f
(6) + "\n")
local a = 1, b = 2
a
++b
print((a + 1) + " " + b + "\n")
// Words that only later versions reserve are names
local rawcall = "rawcall", __LINE__ = "line", __FILE__ = "file"
local g = function(vargv) { return vargv }
print(rawcall + " " + __LINE__ + " " + __FILE__ + " " + g("vargv") + "\n")
print(@"quoted ""x""" + "\n")
