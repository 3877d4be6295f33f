//: true
//: true false
//: -4 false
//: 7 1 9
//: 6
local t = { a = 1 };
print((typeof 1 == "integer") + "\n");
t[true] <- 1;
print(("a" in t == false || true) + " " + ("zz" in t && true) + "\n");
print((-2 * 2) + " " + (!1 == 1) + "\n");
local x = 1, y;
y = x += 6;
print(y + " " + (true ? 1 : false ? 2 : 3) + " " + (1, 9) + "\n");
local n = 0;
for (local i = 0, j = 3; i < j; i++, n += i) {}
print(n + "\n");
