//: 1 5
//: 1-5 2-4
//: true false
//: null
//: regexp2 meta
//: refused
//: true false false
local r = regexp2("a(b+)c")
local found = r.search("xabbcx")
print(found.begin + " " + found.end + "\n")
local groups = r.capture("xabbcx")
print(groups[0].begin + "-" + groups[0].end + " " + groups[1].begin + "-" + groups[1].end + "\n")
print(r.match("abc") + " " + r.match("abcd") + "\n")
print(typeof r.search("none") + "\n")
print(typeof r + " " + type(r) + "\n")
try { regexp2("a{1000000}") } catch (e) { print("refused\n") }
local b = blob(1)
print((b instanceof blob) + " " + (r instanceof blob) + " " + (b instanceof regexp) + "\n")
