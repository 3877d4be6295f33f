//: 1 2 3 4
//: 4 1 3
//: 1,2,3 3,2,1
//: 2 4 6 | 3 | 6
//: 1,5,9,22
//: 9,5,1
//: (null : 0x(nil)) 2
//: the index '5' does not exist
//: the index '-1' does not exist
//: 0 x 0
//: 1,0,0
//: a,b,c
//: 1,2 2 out
//: 99
//: 1,3
local a = [1, 2, 3];
a.append(4);
function show(a) { local s = ""; foreach (i, v in a) s += (i ? "," : "") + v; return s }
print(a[0] + " " + a[1] + " " + a[2] + " " + a[3] + "\n");
print(a.pop() + " " + a[0] + " " + a.top() + "\n");
local r = clone a; r.reverse();
print(show(a) + " " + show(r) + "\n");
print(show(a.map(@(v) v * 2)).slice(0, 1) + " " + a.map(@(v) v * 2)[1] + " " + a.map(@(v) v * 2)[2]);
print(" | " + a.filter(@(i, v) i == 2)[0] + " | " + a.reduce(@(x, y) x + y) + "\n");
local s = [9, 22, 1, 5]; s.sort();
print(show(s) + "\n");
s = [1, 9, 5]; s.sort(@(x, y) y <=> x);
print(show(s) + "\n");
print(a.find(7) + " " + a.find(3) + "\n");
try { a[5] } catch (e) { print(e + "\n") }
try { a[-1] = 1 } catch (e) { print(e + "\n") }
print(array(3, 0)[2] + " " + array(1, "x")[0] + " " + [].len() + "\n");
local z = [1]; z.resize(3, 0);
print(show(z) + "\n");
local e = ["a"]; e.extend(["b", "c"]);
print(show(e) + "\n");
local g = [1, 3]; g.insert(1, 2); print(show(g.slice(0, 2)) + " " + g.remove(1)); 
try { g.remove(9) } catch (x) { print(" out\n") }
local ap = [98]; ap.apply(@(v) v + 1); print(show(ap) + "\n");
print(show(g) + "\n");
