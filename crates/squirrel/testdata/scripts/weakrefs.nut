//: weakref 5 table
//: gone
//: kept
//: bound survives
local t = { v = 5 };
local w = t.weakref();
print(typeof w + " " + w.ref().v + " ");
local box = { slot = w };
print(typeof box.slot + "\n");
t = null; collectgarbage();
print((box.slot == null ? "gone" : "there") + "\n");
local k = { v = 1 }, kw = k.weakref();
collectgarbage();
print((kw.ref() == null ? "gone" : "kept") + "\n");
local f = (function() { return text }).bindenv({ text = "bound survives" });
collectgarbage();
print(f() + "\n");
