-- Tight nested loops with float arithmetic (double here, float in Squirrel) plus integer mixing.
local w, h, maxit, total = 560, 560, 60, 0
for y = 0, h - 1 do
    local ci = 2.0 * y / h - 1.0
    for x = 0, w - 1 do
        local cr = 3.0 * x / w - 2.0
        local zr, zi, n = 0.0, 0.0, 0
        while n < maxit do
            local r2, i2 = zr * zr, zi * zi
            if r2 + i2 > 4.0 then break end
            zi = 2.0 * zr * zi + ci
            zr = r2 - i2 + cr
            n = n + 1
        end
        total = (total * 31 + n) & 0xffffff
    end
end
print("mandel " .. total)
