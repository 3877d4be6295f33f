//: 31 15 8 -2147483648 97 -1
//: 1 1000 0.015
//: a"b A4 C:\path "q"
//: 5 5
# a third kind of comment
print(0x1F + " " + 017 + " " + 08 + " " + 2147483648 + " " + 'a' + " " + '\xff' + "\n");
print(1. + " " + 1e3 + " " + 1.5E-2 + "\n");
print("a\"b \x41\x1234 " + @"C:\path ""q""" + "\n");
local t = 5 /* in
between */
print(t + " ");
print((5).tostring() + "\n")
