//: i1 i2
//: five three one two four
//: 8 1 4 5
//: 1 2 3 4 5 6 7 8 9 10
//: 1 2 3 4 21 7 8 9 10 37
//: 9 10 21 37
//: epsilon iota delta eta alpha theta zeta gamma beta
//: epsilon iota delta eta beta alpha zeta gamma theta
//: mike alpha zulu echo
//: a 1.5 true -1
//: 2 0 1
function keys(t) { local s = ""; foreach (k, v in t) s += k + " "; return strip(s) }
print(keys({ i1 = 1, i2 = 2 }) + "\n")
print(keys({ one = 1, two = 2, three = 3, four = 4, five = 5 }) + "\n")
// Numbers have their own value as hash; a literal of n slots has room for n
print(keys({ [5] = 0, [1] = 0, [8] = 0, [4] = 0 }) + "\n")
local t = {}
for (local i = 10; i > 0; i--) t[i] <- i
print(keys(t) + "\n")
delete t[5]; delete t[6]; t[21] <- 1; t[37] <- 1
print(keys(t) + "\n")
foreach (i in [1, 2, 3, 4, 7, 8]) delete t[i]
print(keys(t) + "\n")
local words = {}
foreach (w in ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota"]) words[w] <- 1
print(keys(words) + "\n")
print(keys(clone words) + "\n")
class K { zulu = 1; alpha = 2; function mike() {} static echo = 3 }
print(keys(K) + "\n")
print(keys({ [1.5] = 1, [true] = 2, a = 3, [-1] = 4 }) + "\n")
local long = {}
for (local i = 0; i < 3; i++) long["a long key, longer than forty bytes, so that its hash is sampled " + i] <- i
local s = ""; foreach (k, v in long) s += v + " "
print(strip(s) + "\n")
