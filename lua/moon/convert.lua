--- From one kind of value to another: `moon.to_table`, `moon.get_tiles`, `moon.visualize`.
---@type moon, table
local moon, inner = ...
local core = inner.core
local type, ipairs, pairs, math, table = type, ipairs, pairs, math, table

local latitudes = { "lat", "latitude", "y" }
local longitudes = { "lng", "lon", "long", "longitude", "x" }

local function field(row, names)
  for _, name in ipairs(names) do
    for key, value in pairs(row) do
      if type(key) == "string" and key:lower() == name and type(value) == "number" then return value end
    end
  end
end

--- Rows get a geometry from their longitude and latitude, or from `geometry` as WKT or GeoJSON.
local function with_geometry(rows)
  local out = {}
  for i, row in ipairs(rows) do
    if type(row) ~= "table" or getmetatable(row) ~= nil then core.raise("argument", "to_table: item " .. i .. ": expected a row, got " .. core.show(row)) end
    local copy = {}
    for name, value in pairs(row) do copy[name] = value end
    local g = copy.geometry
    if g == nil then
      local lng, lat = field(row, longitudes), field(row, latitudes)
      if lng and lat then copy.geometry = moon.point(lng, lat) end
    elseif core.kind(g) ~= "geometry" and g ~= moon.null then
      copy.geometry = moon.geometry(g)
    end
    out[i] = copy
  end
  return out
end

--- Anything that has a place as a table with geometry: a geometry or bounds (one row), a tile `{ z, x, y }`, GeoJSON
--- (text or decoded), WKT, a list of any of these, rows with lng and lat (lon, longitude, x …) or with a geometry as
--- text, a raster (a point for each pixel that has data), a table (as it is).
---
--- ```lua
--- assert(moon.to_table("POINT (1 2)"):rows()[1].geometry.x == 1)
--- assert(moon.to_table({ 1, 2, 3, 4 }):count() == 1 and moon.to_table(moon.bounds(1, 2, 3, 4)):count() == 1)
--- local t = moon.to_table { { name = "Olinda", Latitude = -8.01, Longitude = -34.86 } }
--- assert(t:rows()[1].geometry.y == -8.01 and t.columns.name[1] == "Olinda")
--- assert(moon.to_table({ z = 1, x = 0, y = 0 }):rows()[1].geometry.type == "Polygon")
--- ```
---@param value any
---@return moon.Table
function moon.to_table(value)
  local kind = core.kind(value)
  if kind == "moon table" then return value end
  if kind == "raster" then return value:points() end
  if kind == "geometry" then return moon.table { { geometry = value } } end
  if kind == "bounds" then return moon.table { { geometry = value:polygon() } } end
  if kind == "string" then
    if value:find("^%s*[{%[]") then return moon.to_table(moon.json.decode(value)) end
    return moon.table { { geometry = moon.geometry(value) } }
  end
  if kind ~= "table" then
    core.raise("argument", "to_table: expected a geometry, bounds, GeoJSON, WKT, rows, a raster or a table, got " .. core.show(value))
  end
  if type(value.type) == "string" and (value.features or value.coordinates or value.geometries or value.geometry) then return moon.table.from_geojson(value) end
  if value.z and value.x and value.y and value[1] == nil then
    return moon.table { { z = value.z, x = value.x, y = value.y, geometry = moon.tile.bounds(value):polygon() } }
  end
  if #value == 4 and type(value[1]) == "number" then return moon.table { { geometry = moon.bounds(value):polygon() } } end
  local first = value[1]
  if first == nil and next(value) ~= nil then return moon.table(with_geometry { value }) end
  local rows, plain = {}, {}
  for i, item in ipairs(value) do
    local of = core.kind(item)
    if of == "table" and not item.type and not (item.z and item.x and item.y and not item.geometry) and type(item[1]) ~= "number" then
      plain[#plain + 1] = item
    else
      for _, row in ipairs(moon.to_table(item):rows()) do rows[#rows + 1] = row end
    end
    if #plain > 0 and #rows > 0 then core.raise("argument", "to_table: item " .. i .. ": rows and other values in one list") end
  end
  return moon.table(#plain > 0 and with_geometry(plain) or rows)
end

--- The tiles that cover the bounds, as a table of z, x, y and their polygons: of one `zoom`, or of the zoom at which
--- about `target_num_tiles` (1) cover them. With `clip` the polygons are cut at the bounds.
---
--- ```lua
--- local t = moon.get_tiles(moon.bounds(-35, -9, -34, -8), { target_num_tiles = 16 })
--- assert(t:count() >= 4 and t:count() <= 64 and t.columns.z[1] == t.columns.z[t:count()])
--- local cut = moon.get_tiles({ -35, -9, -34, -8 }, { zoom = 6, clip = true })
--- assert(cut:rows()[1].geometry:bounds().xmin >= -35)
--- ```
---@param bounds moon.Bounds|moon.Geometry|number[]
---@param options? { target_num_tiles?: integer, zoom?: integer, clip?: boolean }
---@return moon.Table
function moon.get_tiles(bounds, options)
  core.options("get_tiles", options, "target_num_tiles", "zoom", "clip")
  local o, b = options or {}, moon.bounds(bounds)
  local zoom = o.zoom
  if zoom ~= nil and (type(zoom) ~= "number" or zoom % 1 ~= 0 or zoom < 0 or zoom > 30) then
    core.raise("argument", "get_tiles: zoom: expected a whole number from 0 to 30, got " .. core.show(zoom))
  end
  local target = o.target_num_tiles or 1
  if type(target) ~= "number" or target < 1 or target > 10000 then
    core.raise("argument", "get_tiles: target_num_tiles: expected a number from 1 to 10000, got " .. core.show(o.target_num_tiles))
  end
  local rows, box = {}, o.clip and b:polygon()
  for i, tile in ipairs(moon.tile.cover(b, zoom or moon.tile.estimate_zoom(b, target))) do
    local polygon = moon.tile.bounds(tile):polygon()
    rows[i] = { z = tile.z, x = tile.x, y = tile.y, geometry = box and polygon:intersection(box) or polygon }
  end
  return moon.table(rows, { columns = { "z", "x", "y", "geometry" } })
end

--- A raster as a picture of four bands: its first band through a colour map from `min` to `max` (its own unless
--- given), three or four bands as they are, stretched to `min` .. `max`. Clear where `mask` is 0 or has no data;
--- `opacity` (1) is that of the rest.
---
--- ```lua
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", nil, { size = 64 })
--- local picture = moon.visualize(dem, { mask = dem:gt(5), colormap = "terrain", min = 0, max = 80, opacity = 0.5 })
--- assert(picture.bands == 4 and picture.alpha:max() == 128 and picture.alpha:min() == 0)
--- ```
---@param data moon.Raster
---@param options? { mask?: moon.Raster, min?: number, max?: number, opacity?: number, colormap?: string|table }
---@return moon.Raster
function moon.visualize(data, options)
  core.options("visualize", options, "mask", "min", "max", "opacity", "colormap")
  local o = options or {}
  if core.kind(data) ~= "raster" then core.raise("argument", "visualize: expected a raster, got " .. core.show(data)) end
  if o.mask ~= nil and core.kind(o.mask) ~= "raster" then core.raise("argument", "visualize: mask: expected a raster of 0 and 1, got " .. core.show(o.mask)) end
  for _, name in ipairs { "min", "max", "opacity" } do
    if o[name] ~= nil and type(o[name]) ~= "number" then core.raise("argument", "visualize: " .. name .. ": expected a number, got " .. core.show(o[name])) end
  end
  local opacity = o.opacity or 1
  if opacity < 0 or opacity > 1 then core.raise("argument", "visualize: opacity: expected a number from 0 to 1, got " .. opacity) end
  local bands, alpha = {}, nil
  if data.bands >= 3 then
    for i = 1, 3 do
      local band = data[i]
      local low, high = o.min or (band.type == "uint8" and 0 or band:min() or 0), o.max or (band.type == "uint8" and 255 or band:max() or 1)
      bands[i] = band:normalise(low, high) * 255
    end
    alpha = data.bands > 3 and data[4] * 1 or bands[1] * 0 + 255
  else
    local band = data[1]
    local low, high = o.min or band:min() or 0, o.max or band:max() or 1
    if high <= low then high = low + 1 end
    local paint = band:colour(o.colormap or "viridis", low, high):rgba()
    for i = 1, 3 do bands[i] = paint[i] * 1 end
    alpha = paint[4] * 1
  end
  if o.mask ~= nil then alpha = alpha:where(o.mask[1]:ne(0), 0) end
  for i = 1, 3 do bands[i] = bands[i]:where(bands[i]:ge(0), 0):convert("uint8") end
  alpha = (alpha * opacity + 0.5):floor()
  return moon.raster({ bands[1], bands[2], bands[3], alpha:where(alpha:ge(0), 0):convert("uint8") }, { "red", "green", "blue", "alpha" })
end
