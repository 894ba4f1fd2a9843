--- Bounds and tile maths: `moon.bounds`, `moon.tile`. Degrees (EPSG:4326); tiles are XYZ of Web Mercator.
---
--- ```lua
--- local b = moon.bounds(-35, -9, -34, -8)
--- assert(b:contains(-34.9, -8.1))
--- local t = moon.tile.at(-34.9, -8.0, 10)
--- assert(moon.tile.quadkey(t) == "2110031320")
--- assert(#moon.tile.children(t) == 4 and moon.tile.parent(t).z == 9)
--- ```
---@class moon.Bounds
---@field xmin number
---@field ymin number
---@field xmax number
---@field ymax number
---@field z? integer on a tile call
---@field x? integer on a tile call
---@field y? integer on a tile call
---@field size? integer pixels, on a tile call
---@field pixel_size fun(self): number degrees of one pixel
---@field polygon fun(self): moon.Geometry
---@field center fun(self): number, number longitude, latitude
---@field contains fun(self, lng: number, lat: number): boolean
---@field intersects fun(self, other: moon.Bounds): boolean
---@field expand fun(self, degrees: number): moon.Bounds
---@field list fun(self): number[] { xmin, ymin, xmax, ymax }
---@type moon, table
local moon, inner = ...
local c = inner.open "tile"

--- Bounds from four numbers, a list of four, or a geometry.
---
--- ```lua
--- local b = moon.bounds(moon.point(-34.9, -8.0):buffer(500))
--- assert(b:contains(-34.9, -8.0) and moon.bounds({ 1, 2, 3, 4 }).ymax == 4)
--- ```
---@type fun(xmin: number|table, ymin?: number, xmax?: number, ymax?: number): moon.Bounds
moon.bounds = c.bounds

---@class moon.tile
local M = {}
--- Bounds of a tile; reading with them is like a tile call.
---
--- ```lua
--- local b = moon.tile.bounds(12, 1651, 2139)
--- assert(b.z == 12 and b.size == 256 and moon.tile.bounds({ z = 1, x = 0, y = 0 }).xmin == -180)
--- ```
---@type fun(z: integer|table, x?: integer, y?: integer, size?: integer): moon.Bounds
M.bounds = c.tile_bounds
--- The tile at a place.
---
--- ```lua
--- local t = moon.tile.at(-34.9, -8.0, 12)
--- assert(t.z == 12 and t.x == 1650 and t.y == 2139)
--- ```
---@type fun(lng: number, lat: number, z: integer): { z: integer, x: integer, y: integer }
M.at = c.at
--- The zoom at which about `target` tiles cover the bounds.
---
--- ```lua
--- assert(moon.tile.estimate_zoom(moon.tile.bounds(5, 3, 4), 1) == 5)
--- ```
---@type fun(bounds: moon.Bounds, target?: integer): integer
M.estimate_zoom = c.estimate_zoom
--- The quadkey of a tile.
---
--- ```lua
--- assert(moon.tile.quadkey(3, 3, 5) == "213")
--- ```
---@type fun(z: integer|table, x?: integer, y?: integer): string
M.quadkey = c.quadkey
--- The four tiles of the next zoom.
---
--- ```lua
--- assert(#moon.tile.children(3, 3, 5) == 4)
--- ```
---@type fun(z: integer|table, x?: integer, y?: integer): table[]
M.children = c.children
--- The tile of the zoom before that holds it; nil at zoom 0.
---
--- ```lua
--- assert(moon.tile.parent(3, 3, 5).x == 1 and moon.tile.parent(0, 0, 0) == nil)
--- ```
---@type fun(z: integer|table, x?: integer, y?: integer): table?
M.parent = c.parent

--- The tiles of a zoom that cover the bounds, row by row; at most 10,000.
---
--- ```lua
--- assert(#moon.tile.cover(moon.tile.bounds(1, 0, 0), 3) == 16)
--- ```
---@param bounds moon.Bounds
---@param z integer
---@return { z: integer, x: integer, y: integer }[]
function M.cover(bounds, z)
  local b = c.bounds(bounds)
  local first = c.at(b.xmin, math.min(b.ymax, 85.0511), z)
  local last = c.at(b.xmax, math.max(b.ymin, -85.0511), z)
  local n = 2 ^ z
  local columns = (last.x - first.x) % n + 1
  if b.xmin > b.xmax and last.x >= first.x then columns = n end
  -- An edge that lies on the border of a tile does not touch the next one.
  if columns > 1 and c.tile_bounds(z, last.x, last.y).xmin >= b.xmax - 1e-9 then columns = columns - 1 end
  local rows = last.y - first.y + 1
  if rows > 1 and c.tile_bounds(z, last.x, last.y).ymax <= b.ymin + 1e-9 then rows = rows - 1 end
  if rows > 1 and c.tile_bounds(z, first.x, first.y).ymin >= b.ymax - 1e-9 then first.y, rows = first.y + 1, rows - 1 end
  if columns * rows > 10000 then
    inner.core.raise("argument", "tile.cover: " .. columns * rows .. " tiles; at most 10000 are given, choose a smaller zoom")
  end
  local list = {}
  for row = 0, rows - 1 do
    for column = 0, columns - 1 do
      list[#list + 1] = { z = z, x = (first.x + column) % n, y = first.y + row }
    end
  end
  return list
end

moon.tile = M
--- The same as `moon.tile.estimate_zoom`.
---
--- ```lua
--- assert(moon.estimate_zoom(moon.tile.bounds(5, 3, 4)) == 5)
--- ```
---@type fun(bounds: moon.Bounds, target?: integer): integer
moon.estimate_zoom = c.estimate_zoom
