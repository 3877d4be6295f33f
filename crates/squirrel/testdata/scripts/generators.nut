//: 0 1 2 null dead
//: 0=a 1=b
//: resuming dead generator
//: caught stop then 2
//: 5 5
//: suspended
//: 0 1 1 2 3 5 8
function upTo(n) { for (local i = 0; i < n; i++) yield i; return null }
local g = upTo(3);
print((resume g) + " " + (resume g) + " " + (resume g) + " ");
print((resume g == null ? "null" : "?") + " " + g.getstatus() + "\n");
function letters() { yield "a"; yield "b"; return "c" }
local line = "";
foreach (i, v in letters()) line += (i ? " " : "") + i + "=" + v;
print(line + "\n");
try { resume g } catch (e) { print(e + "\n") }
function guarded() { try { yield 1; throw "stop" } catch (e) { yield "caught " + e } yield 2 }
local h = guarded(); resume h;
print((resume h) + " then " + (resume h) + "\n");
local x = 4;
function capture() { local y = x; local inc = @() ++y; yield inc; yield y }
local c = capture();
local inc = resume c;
print(inc() + " " + (resume c) + "\n");
print(upTo(1).getstatus() + "\n");
function fibs() { local a = 0, b = 1; while (true) { yield a; local t = a + b; a = b; b = t } }
line = "";
foreach (i, f in fibs()) { if (i == 7) break; line += (i ? " " : "") + f }
print(line + "\n");
