-- Tables and arrays: sieve, string-keyed slots, records, sort with a comparator (quicksort in C here), map/filter, delete.
local acc = 0
local N, sieve, count = 300000, {}, 0
for i = 0, N do sieve[i] = true end
for i = 2, N do
    if sieve[i] then count = count + 1; for j = i + i, N, i do sieve[j] = false end end
end
acc = acc + count
local t, entries = {}, 0
for i = 0, 249999 do
    local k = "n" .. (i * 7919 % 4093)
    if t[k] ~= nil then t[k] = t[k] + (i & 7) else t[k] = 1 end
end
for k, v in pairs(t) do acc = (acc + #k * v) & 0xffffff; entries = entries + 1 end
local recs = {}
for i = 0, 59999 do
    recs[#recs + 1] = { id = i, score = (i * 1103515245 + 12345) & 0xffff, tag = { a = i, b = -i } }
end
for _ = 1, 10 do
    for _, r in ipairs(recs) do r.score = (r.score * 5 + r.tag.a) & 0xffff; r.tag.b = r.score end
end
table.sort(recs, function(x, y)
    if x.score ~= y.score then return x.score < y.score end
    return x.id < y.id
end)
for i = 1, #recs, 97 do acc = (acc * 31 + recs[i].id) & 0xffffff end
local sel = {}
for _, r in ipairs(recs) do if r.score & 1 ~= 0 then sel[#sel + 1] = r.tag.b end end
for _, v in ipairs(sel) do acc = (acc + v) & 0xffffff end
for i = 0, 4092 do local k = "n" .. i; if t[k] ~= nil then t[k] = nil; entries = entries - 1 end end
print("tables " .. (acc + entries))
