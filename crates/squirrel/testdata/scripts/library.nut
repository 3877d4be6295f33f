//: 3 1.41421 1 7 3.14159
//: 2001-09-09 01:46:40 Sunday 251
//: 1000000000 1.5
//: 5 blob meta 42
//: 65535 -1 2.5 io error
//: 1 0 8
//: abc 3
//: 9 3
//: 4 6 | (null : 0x(nil)) | true false
//: 2 history 42
//: 1.5 integer
//: 5 1
print(math.floor(3.7) + " " + math.sqrt(2) + " " + (math.rand() <= RAND_MAX ? 1 : 0) + " " + math.abs(-7) + " " + math.PI + "\n");
local d = date();
print(format("%04d-%02d-%02d %02d:%02d:%02d %s %d\n", d.year, d.month + 1, d.day, d.hour, d.min, d.sec, d.wday == 0 ? "Sunday" : "?", d.yday));
print(time() + " " + clock() + "\n");
local b = blob(5);
b[4] = 42;
print(b.len() + " " + typeof b + " " + type(b) + " " + b[4] + "\n");
b = blob();
b.writen(65535, 'w'); b.writen(-1, 'i'); b.writen(2.5, 'f');
b.seek(0);
print(b.readn('w') + " " + b.readn('i') + " " + b.readn('f') + " ");
try { b.readn('b') } catch (e) { print(e + "\n") }
print(b.eos() + " " + b.seek(-2, 'e') + " " + b.tell() + "\n");
b = blob(); b.writestring("abc");
print(b.tostring() + " " + (b.seek(0), b.readblob(9).len()) + "\n");
local sum = 0; foreach (i, v in b) sum += i * 3 + (v > 0 ? 0 : 1);
print(sum + " " + (clone b).len() + "\n");
local r = regexp("o+");
local m = r.search("fig foo");
print((m.begin + -1) + " " + (m.end - 1) + " | " + r.search("x") + " | " + r.match("ooo") + " " + r.match("oxo") + "\n");
local c = regexp("^/(\\w+)/(\\d+)$").capture("/history/42");
print((c.len() - 1) + " " + "/history/42".slice(c[1].begin, c[1].end) + " " + "/history/42".slice(c[2].begin, c[2].end) + "\n");
print("1.5".tofloat() + " " + type((2.9).tointeger()) + "\n");
print(swap2(0x0500) + " " + casti2f(castf2i(1.0)) + "\n");
