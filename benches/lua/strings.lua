-- String building: concatenation, number formatting, slicing, find, scanning, case mapping.
local acc = 0
for round = 0, 129 do
    local s = ""
    for i = 0, 1499 do s = s .. "k" .. i .. "=" .. (i * round) .. ";" end
    local pos, parts = 1, 0
    while true do
        local p = s:find(";", pos, true)
        if not p then break end
        local item = s:sub(pos, p - 1)
        local eq = item:find("=", 1, true)
        acc = (acc + math.tointeger(item:sub(eq + 1)) + #item:sub(1, eq - 1):upper()) & 0xffffff
        parts = parts + 1
        pos = p + 1
    end
    for i = 1, #s do acc = (acc * 33 + s:byte(i)) & 0xffffff end
    acc = (acc + parts) & 0xffffff
end
print("strings " .. acc)
