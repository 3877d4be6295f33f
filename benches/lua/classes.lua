-- Class instances by metatables: constructor, inheritance, base calls, fields, virtual dispatch, metamethods.
local function class(base)
    local c = {}
    c.__index = c
    return setmetatable(c, { __index = base })
end
local Shape = class()
function Shape.init(self, px, py) self.x = px; self.y = py end
function Shape.new(px, py) local s = setmetatable({}, Shape); Shape.init(s, px, py); return s end
function Shape:area() return 0 end
function Shape:move(dx, dy) self.x = self.x + dx; self.y = self.y + dy; return self end
function Shape:weight() return self:area() + self.x - self.y end
local Rect = class(Shape)
function Rect.init(self, px, py, pw, ph) Shape.init(self, px, py); self.w = pw; self.h = ph end
function Rect.new(px, py, pw, ph) local s = setmetatable({}, Rect); Rect.init(s, px, py, pw, ph); return s end
function Rect:area() return self.w * self.h end
local Square = class(Rect)
function Square.init(self, px, py, s) Rect.init(self, px, py, s, s) end
function Square.new(px, py, s) local q = setmetatable({}, Square); Square.init(q, px, py, s); return q end
function Square:weight() return Rect.weight(self) + 1 end
local Vec = {}
Vec.__index = Vec
function Vec.new(a, b) return setmetatable({ x = a, y = b }, Vec) end
Vec.__add = function(a, o) return Vec.new(a.x + o.x, a.y + o.y) end
Vec.__lt = function(a, o) return a.x < o.x end
local shapes = {}
for i = 0, 2999 do
    shapes[#shapes + 1] = i % 3 == 0 and Shape.new(i, 1) or i % 3 == 1 and Rect.new(i, 2, 3, i) or Square.new(i, 3, i & 15)
end
local acc = 0
for _ = 1, 250 do
    for _, s in ipairs(shapes) do acc = (acc + s:move(1, 2):weight()) & 0xffffff end
end
local v, one = Vec.new(0, 0), Vec.new(1, 2)
for _ = 1, 300000 do v = v + one; if v > one then acc = (acc + 1) & 0xffffff end end
print("classes " .. ((acc + v.x + v.y) & 0xffffff))
