//: one two end
//: two end
//: default
//: 0 1 3
//: i1=1 i2=2
//: five three one two four
//: 0:a 1:b
//: 255 -1
//: 3 3
//: 0 1
//: do 2
//: 01 03 10 
//: in out
local function which(n) {
    switch (n) {
        case 1: print("one ");
        case "two": print("two end\n"); break;
        default: print("default\n");
    }
}
which(1); which("two"); which(null);
local line = "";
for (local i = 0; ; i++) { if (i == 2) continue; if (i > 3) break; line += (i ? " " : "") + i; }
print(line + "\n");
line = "";
foreach (k, v in { i1 = 1, i2 = 2 }) line += (line == "" ? "" : " ") + k + "=" + v;
print(line + "\n");
line = "";
foreach (k, v in { one = 1, two = 2, three = 3, four = 4, five = 5 }) line += (line == "" ? "" : " ") + k;
print(line + "\n");
line = "";
foreach (i, c in "ab") line += (i ? " " : "") + i + ":" + c.tochar();
print(line + "\n");
foreach (c in "\xff") print(c + " ");
print("\xff"[0] + "\n");
local fs = [];
for (local i = 1; i < 3; i++) fs.append(function() { return i });
print(fs[0]() + " " + fs[1]() + "\n");
fs.clear();
foreach (i in [0, 1]) { local j = i; fs.append(@() j); }
print(fs[0]() + " " + fs[1]() + "\n");
local n = 0;
do { n++; if (n == 1) continue; } while (n < 2);
print("do " + n + "\n");
for (local i = 0; i < 2; i++)
    foreach (j in [0, 1, 2, 3, 4]) {
        if (j == 0 && i == 0 || j == 2) continue;
        if (j == (i ? 1 : 4)) break;
        print("" + i + j + " ");
    }
print("\n");
local state = "";
while (true) { try { state += "in"; break; } catch (e) { state += "never"; } }
print(state + " out\n");
