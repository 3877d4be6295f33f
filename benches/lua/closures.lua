-- Closures with free variables, higher-order functions, varargs, coroutines as generators, pcall/error.
local acc = 0
local function counter(step) local n = 0; return function() n = n + step; return n end end
local cs = {}
for i = 1, 8 do cs[i] = counter(i) end
for r = 0, 399999 do acc = (acc + cs[(r & 7) + 1]()) & 0xffffff end
local function compose(f, g) return function(x) return f(g(x)) end end
local inc = function(x) return x + 1 end
local dbl = function(x) return (x * 2) & 0xffff end
local f = inc
for i = 0, 11 do f = compose(f, i & 1 ~= 0 and inc or dbl) end
for i = 0, 79999 do acc = (acc + f(i)) & 0xffffff end
local function range(a, b) return coroutine.wrap(function() for i = a, b - 1 do coroutine.yield(i) end end) end
for _ = 1, 60 do for v in range(0, 20000) do acc = (acc + v) & 0xffffff end end
local function sum(...) local s = 0; for _, v in ipairs({ ... }) do s = s + v end return s end
for i = 0, 299999 do acc = (acc + sum(i, 1, 2, 3)) & 0xffffff end
local function risky(i) if i % 3 == 0 then error(i, 0) end return i end
for i = 0, 299999 do
    local ok, e = pcall(risky, i)
    if ok then acc = (acc + e) & 0xffffff else acc = (acc ~ e) & 0xffffff end
end
print("closures " .. acc)
