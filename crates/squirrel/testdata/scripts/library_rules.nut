//: math: -2 2 2.5 7 float integer 1024 1
//: more: 0 3 0.785398 0 1 0 1.5708 0 0.785398
//: rand: true integer true 3.14159
//: format: [42|   42|42   |00042|+42| 42][-1|7|ff|FF|0xff|10|010|z]
//: floats: [1.500000|2.35|   3.142|1.234500e+03|1.234500E+03|1e-05|1E+20][2 3.000000]
//: strings: [ab|   ab|ab   |ab|%] 3 1
//: wrong: <string expected for the specified format> <integer expected for the specified format> <not enough paramters for the given format string> <invalid format> <width format too long>
//: split: 3abc 0 0
//: strip: [a][a ][ a]
//: regexp: true false 2 (null : 0x(nil)) 3
//: capture: 3 1-3 1-2 0-0 (null : 0x(nil))
//: classes: true true true truetrue true true
//: wrong patterns: <regexp: expected )> <regexp: expected ]>
//: blob: 3 2 <the index '3' does not exist> blob meta 0 (null : 0x(nil)) 0
//: numbers: 1.5 -2 65534 -2 254 70000 2.25 9 1 <io error>
//: strings: fg h <no data left to read> abcdefgh
//: swaps: badcfehg dcbahgfe 13330 16777216 1 1065353216
//: resize: 2 dc 2 dc
//: a wrong type writes zeros: 6 00
//: foreach: 199
//: date: 2000 1 29 0 0 0 2 59 951782400 0
//: second argument: 29, outside: 0 0 0 2000
//: clock: float integer 0
//: gone: true
//: assert: (null : 0x(nil)) <assertion failed> <wrong number of parameters>
//: array: 27 <negative size>
//: meta: meta meta meta regexp true
function attempt(f) { try { return f() } catch (e) { return "<" + e + ">" } }
print("math: " + math.floor(-1.5) + " " + math.ceil(1.2) + " " + math.fabs(-2.5) + " " + math.abs(-7) + " " + typeof math.floor(2) + " " + typeof math.abs(2.5) + " " + math.pow(2, 10) + " " + math.exp(0) + "\n")
print("more: " + math.log(1) + " " + math.log10(1000) + " " + math.atan2(1, 1) + " " + math.sin(0) + " " + math.cos(0) + " " + math.tan(0) + " " + math.asin(1) + " " + math.acos(1) + " " + math.atan(1) + "\n")
math.srand(1)
local r = math.rand()
print("rand: " + (r >= 0 && r <= RAND_MAX) + " " + typeof RAND_MAX + " " + (1.0 * RAND_MAX / 2 > 1) + " " + math.PI + "\n")
print("format: " + format("[%d|%5d|%-5d|%05d|%+d|% d]", 42, 42, 42, 42, 42, 42) + format("[%i|%u|%x|%X|%#x|%o|%#o|%c]", -1, 7, 255, 255, 255, 8, 8, 'z') + "\n")
print("floats: " + format("[%f|%.2f|%8.3f|%e|%E|%g|%G]", 1.5, 2.345, 3.14159, 1234.5, 1234.5, 0.00001, 1e20) + format("[%d %f]", 2.9, 3) + "\n")
print("strings: " + format("[%s|%5s|%-5s|%.2s|%%]", "ab", "ab", "ab", "abcd") + " " + format("a\0b").len() + " " + format("%s", "a\0b").len() + "\n")
print("wrong: " + attempt(@() format("%s", 5)) + " " + attempt(@() format("%d", "5")) + " " + attempt(@() format("%d")) + " " + attempt(@() format("%y", 1)) + " " + attempt(@() format("%100d", 1)) + "\n")
local parts = split("a,,b;c,", ",;")
print("split: " + parts.len() + parts[0] + parts[1] + parts[2] + " " + split("", ",").len() + " " + split(",,", ",").len() + "\n")
print("strip: [" + strip("\t a \n") + "][" + lstrip("  a ") + "][" + rstrip(" a\v\f\r\n") + "]\n")
local e = regexp("(a)(b)?c")
print("regexp: " + e.match("ac") + " " + e.match("xac") + " " + e.search("xxabc").begin + " " + e.search("xxabc", 3) + " " + e.subexpcount() + "\n")
local c = e.capture("xac")
print("capture: " + c.len() + " " + c[0].begin + "-" + c[0].end + " " + c[1].begin + "-" + c[1].end + " " + c[2].begin + "-" + c[2].end + " " + e.capture("none") + "\n")
print("classes: " + regexp(@"\a+\d\x\s\w\p\l\u\c").match("ab1f _!xX\t") + " " + regexp(@"\A\D\S\W\P").match("1a!.x") + " " + regexp(@"[^a-c]{2,3}x*").match("deex") + " " + regexp(@"a{2}").match("aa") + regexp("a{2,}").match("aaaa") + " " + regexp(@"(?:ab|cd)+").match("abcdab") + " " + regexp(@"\bfoo\b").match("foo") + "\n")
print("wrong patterns: " + attempt(@() typeof regexp("(")) + " " + attempt(@() typeof regexp("[a")) + "\n")
// Blobs
local b = blob(3)
b[0] = 1; b[1] = 258; b[2] = 'c'
print("blob: " + b.len() + " " + b[1] + " " + attempt(@() b[3]) + " " + typeof b + " " + type(b) + " " + b.tell() + " " + b.eos() + " " + b.flush() + "\n")
b.seek(0, 'e'); b.writen(1.5, 'f'); b.writen(-2, 's'); b.writen(-2, 'w'); b.writen(-2, 'c'); b.writen(-2, 'b'); b.writen(70000, 'i'); b.writen(2.25, 'd'); b.writen(9, 'l')
b.seek(3)
print("numbers: " + b.readn('f') + " " + b.readn('s') + " " + b.readn('w') + " " + b.readn('c') + " " + b.readn('b') + " " + b.readn('i') + " " + b.readn('d') + " " + b.readn('l') + " " + b.eos() + " " + attempt(@() b.readn('i')) + "\n")
b = blob(); b.writestring("abcdefgh"); b.seek(-3, 'c')
print("strings: " + b.readstring(2) + " " + b.readblob(9).tostring() + " " + attempt(@() b.readblob(1)) + " " + b.tostring() + "\n")
b.seek(0); b.swap2(); local two = b.tostring(); b.swap2(); b.swap4()
print("swaps: " + two + " " + b.tostring() + " " + swap2(0x1234) + " " + swap4(1) + " " + casti2f(1065353216) + " " + castf2i(1.0) + "\n")
b.resize(2); local other = blob(); other.writeblob(b)
print("resize: " + b.len() + " " + other.tostring() + " " + other.len() + " " + (clone other).tostring() + "\n")
b = blob(); b.writen("text", 'i'); b.writen(null, 's')
print("a wrong type writes zeros: " + b.len() + " " + b[0] + b[5] + "\n")
local sum = 0; foreach (i, v in other) sum += v; print("foreach: " + sum + "\n")
// date: always UTC; what is outside of 2000-2099 is zeros
local d = date(951782400)
print("date: " + d.year + " " + d.month + " " + d.day + " " + d.hour + " " + d.min + " " + d.sec + " " + d.wday + " " + d.yday + " " + d.time + " " + d.usec + "\n")
print("second argument: " + date(951782400, 'l').day + ", outside: " + date(0).year + " " + date(-1).day + " " + date(946684799).sec + " " + date(946684800).year + "\n")
print("clock: " + typeof clock() + " " + typeof time() + " " + (date().time - time()) + "\n")
// Base functions that the dialect has not
local gone = ""
foreach (n in ["setroottable", "getconsttable", "setconsttable", "compilestring", "newthread", "suspend", "setdebughook", "enabledebuginfo", "seterrorhandler", "getstackinfos", "getenv", "system", "remove", "rename", "sqrt", "printf", "escape", "startswith"]) if (n in getroottable()) gone += n
print("gone: " + (gone == "") + "\n")
print("assert: " + assert(1) + " " + attempt(@() assert(0)) + " " + attempt(@() assert(1, "message")) + "\n")
print("array: " + array(2).len() + array(2, 7)[1] + " " + attempt(@() array(-1)) + "\n")
print("meta: " + type(b) + " " + type(e) + " " + type(regexp2("a")) + " " + typeof e + " " + (b instanceof blob) + "\n")
