--- Rasters: `moon.read_raster`, `moon.map`, `moon.hillshade`, `moon.raster`, and their methods.
---
--- Operators `+ - * / % ^` and unary minus work on whole rasters and numbers; comparisons are methods, because a
--- comparison operator of Lua always gives a boolean. No data carries through all of them.
---
--- ```lua
--- local b = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { red = 3, nir = 4 } })
--- local ndvi = (b.nir - b.red) / (b.nir + b.red)
--- assert(ndvi:max() <= 1 and ndvi:min() >= -1)
--- local green = ndvi:where(ndvi:gt(0.2))
--- assert(green:min() > 0.2)
--- ```
---@class moon.Raster
---@field width integer
---@field height integer
---@field bands integer
---@field type string "uint8" … "float64"
---@field nodata number? of the file
---@field crs string?
---@field bounds moon.Bounds? degrees
---@field names string[] of the bands; `raster.red` or `raster[1]` is a band
---@field gt fun(self, x: number|moon.Raster): moon.Raster mask of 0 and 1: greater
---@field ge fun(self, x: number|moon.Raster): moon.Raster mask of 0 and 1: greater or equal
---@field lt fun(self, x: number|moon.Raster): moon.Raster mask of 0 and 1: less
---@field le fun(self, x: number|moon.Raster): moon.Raster mask of 0 and 1: less or equal
---@field eq fun(self, x: number|moon.Raster): moon.Raster mask of 0 and 1: equal
---@field ne fun(self, x: number|moon.Raster): moon.Raster mask of 0 and 1: not equal
---@field band fun(self, mask: moon.Raster): moon.Raster mask: both
---@field bor fun(self, mask: moon.Raster): moon.Raster mask: either
---@field bnot fun(self): moon.Raster mask: the other pixels
---@field where fun(self, mask: moon.Raster, other?: number|moon.Raster): moon.Raster
---@field clamp fun(self, low: number, high: number): moon.Raster
---@field abs fun(self): moon.Raster
---@field sqrt fun(self): moon.Raster
---@field exp fun(self): moon.Raster
---@field log fun(self): moon.Raster
---@field sin fun(self): moon.Raster
---@field cos fun(self): moon.Raster
---@field floor fun(self): moon.Raster
---@field ceil fun(self): moon.Raster
---@field convert fun(self, type: string): moon.Raster
---@field stats fun(self, ...: string): table min, max, mean, std, sum, count; and "median" when it is named
---@field reduce fun(self, how: string): moon.Raster each pixel over all bands: first, latest, min, max, mean, median, sum, std, count
---@field percentile fun(self, p: number|number[], band?: integer): number|number[] 0 to 100, linear between samples
---@field slope fun(self, z?: number): moon.Raster degrees
---@field aspect fun(self): moon.Raster degrees clockwise from north that the slope faces; no data where it is flat
---@field points fun(self): moon.Table a point at the middle of each pixel that has data, its values by band
---@field palette fun(self): integer[][]? { red, green, blue, alpha } of the values 0, 1, …
---@field rgba fun(self): moon.Raster a coloured raster as four bands
---@field min fun(self, band?: integer): number? nil where every pixel is no data
---@field max fun(self, band?: integer): number? nil where every pixel is no data
---@field mean fun(self, band?: integer): number? nil where every pixel is no data
---@field std fun(self, band?: integer): number? nil where every pixel is no data
---@field sum fun(self, band?: integer): number? nil where every pixel is no data
---@field count fun(self, band?: integer): integer pixels that have data
---@field colour fun(self, map: string|table, low: number, high: number): moon.Raster map: a name, a list of colours, or of { position, colour }; also `color`
---@field hillshade fun(self, options?: { azimuth?: number, altitude?: number, z?: number }): moon.Raster
---@field get fun(self, column: integer, row: integer, band?: integer): number? from 0, top left
---@field pixels fun(self, band?: integer): moon.Pixels
---@type moon, table
local moon, inner = ...
local c, core = inner.open "raster", inner.core
local select, type, unpack, setmetatable, table = select, type, unpack, setmetatable, table

--- Reads a raster file. On a tile call (bounds with z, x, y) the result is in EPSG:3857 and has the tile's size;
--- otherwise it is in the file's CRS: `resolution` (its units) or `size`, else native, at most 2,048 pixels a side.
---
--- `bands` is a number, a list, or numbers by name; `resampling` is nearest (default), bilinear, cubic, average or
--- mode; `margin` reads that many more pixels on each side (for neighbourhood operations such as hillshade).
--- Samples are as they lie in the file; `unscale = true` gives them times the band's scale plus its offset, as floats.
--- `source_crs` says the CRS of a file that has none.
---
--- ```lua
--- local whole = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { red = 3 }, size = 256 })
--- local tile = moon.read_raster("fd://L7_ETMs.tif", moon.tile.bounds(12, 1651, 2139), { bands = { 3, 2, 1 }, resampling = "bilinear" })
--- assert(whole.width <= 256 and tile.width == 256 and tile.bands == 3 and tile.crs == "EPSG:3857")
--- ```
---
--- `path` may be a list of at most 64 files, which are read onto one grid: `mosaic` says what becomes of pixels that several
--- have (first, latest: the last of the list, min, max, mean, median, sum, std, count); `stack = true` puts their
--- bands one after the other. `overview` chooses a level of the file instead of the one that fits: 0 is the file
--- itself.
---
--- ```lua
--- local dem, at = "fd://olinda_dem_utm25s.tif", moon.tile.bounds(12, 1651, 2139)
--- local highest = moon.read_raster({ dem, dem }, at, { mosaic = "max" })
--- local times = moon.read_raster({ dem, dem }, at, { stack = true })
--- assert(times.bands == 2 and times:reduce("mean"):max() == highest:max())
--- ```
---@type fun(path: string|string[], bounds?: moon.Bounds|number[], options?: { bands?: integer|integer[]|table<string, integer>, resampling?: string, resolution?: number, size?: integer[], crs?: string, source_crs?: string, margin?: integer, unscale?: boolean, overview?: integer, mosaic?: string, stack?: boolean }): moon.Raster
moon.read_raster = c.read_raster

--- One raster of the bands of several, which have one size: an RGB image of three bands.
---
--- ```lua
--- local b = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { red = 3, nir = 4 }, size = 64 })
--- local both = moon.raster({ b.nir, b.red }, { "nir", "red" })
--- assert(both.bands == 2 and both.nir:max() == b.nir:max())
--- ```
---@param list moon.Raster[]
---@param names? string[]
---@return moon.Raster
function moon.raster(list, names) return c.stack(list, names) end

moon.colour = {}
--- Names of the colour maps, for `raster:colour`; "_r" behind a name reverses it.
---
--- ```lua
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", nil, { size = 64 })
--- local named = dem:colour("terrain", 0, 80)
--- local stops = dem:colour({ { 0, "#2166ac" }, { 0.1, "#f7f7f7" }, { 1, "#b2182b" } }, 0, 80)
--- assert(named.type == "uint8" and stops.width == dem.width and #moon.colour.names() >= 7)
--- ```
---@type fun(): string[]
moon.colour.names = c.colormaps

local ctypes = { uint8 = "uint8_t", int8 = "int8_t", uint16 = "uint16_t", int16 = "int16_t", uint32 = "uint32_t", int32 = "int32_t",
  float32 = "float", float64 = "double" }
local ffi, pointers
local function pointer(address, sample)
  if not ffi then ffi, pointers = inner.ffi(), {} end
  local ctype = pointers[sample]
  if not ctype then
    ctype = ffi.typeof(ctypes[sample] .. "*")
    pointers[sample] = ctype
  end
  return ffi.cast(ctype, address)
end

--- The loops over the pixels, made for this one function: a loop that served other functions before is compiled for
--- them, and is slower. `whole` goes from pixel to pixel, `some` through a list of the pixels that have data: a test of each
--- pixel would end the trace where it fails, which costs more than the list.
local function make_loops(n)
  local pointers_of, values = {}, {}
  for i = 1, n do
    pointers_of[i], values[i] = "p" .. i, "p" .. i .. "[i]"
  end
  local ps, vs = table.concat(pointers_of, ", "), table.concat(values, ", ")
  local function whole()
    return inner.loadstring("local fn, out, first, last, " .. ps .. " = ...\nfor i = first, last do out[i] = fn(" .. vs .. ") end", "=?")
  end
  local function some()
    return inner.loadstring("local fn, out, list, n, " .. ps .. " = ...\nfor k = 0, n - 1 do local i = list[k] out[i] = fn(" .. vs
      .. ") end", "=?")
  end
  return whole, some
end

--- Calls `fn` with each pixel that has data, chunk by chunk.
local function each_pixel(fn, rasters, n, out, target)
  local arguments = {}
  for i = 1, n do arguments[i] = pointer(c.samples(rasters[i])) end
  local index, list = c.map_index()
  list = pointer(list, "int32")
  local make_whole, make_some = make_loops(n)
  local whole, some
  local first, total = 0, out.width * out.height
  while first < total do
    local valid, count = c.map_valid(index, first, out, unpack(rasters, 1, n))
    if valid == count then
      whole = whole or make_whole()
      whole(fn, target, first, first + count - 1, unpack(arguments, 1, n))
    elseif valid > 0 then
      some = some or make_some()
      some(fn, target, list, valid, unpack(arguments, 1, n))
    end
    first = first + count
  end
end

--- Runs a loop over pixels; its author is told what could not be compiled.
local function watched(...)
  if not inner.watched then inner.load "compiled" end
  return inner.watched(...)
end

--- A raster (float32) of `fn` called with the pixels of one or more rasters of one band each. Where a pixel has no data
--- the result has none, and `fn` is not called; `fn` returns a number, a boolean (1 or 0),
--- or `moon.nodata`. Compiled by the JIT.
---
--- ```lua
--- local r = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { red = 3, nir = 4 } })
--- local ndvi = moon.map(r.red, r.nir, function(red, nir)
---   if nir < 20 then return moon.nodata end
---   return (nir - red) / (nir + red)
--- end)
--- assert(ndvi:max() <= 1)
--- ```
---@param ... moon.Raster|function
---@return moon.Raster
function moon.map(...)
  local n = select("#", ...) - 1
  local fn = select(n + 1, ...)
  if n < 1 or type(fn) ~= "function" then
    core.raise("argument", "map: expected rasters, then a function; the last argument is " .. core.show(fn))
  end
  if n > 32 then core.raise("argument", "map: at most 32 rasters, got " .. n) end
  local rasters = { ... }
  rasters[n + 1] = nil
  local out, address = c.map_output(unpack(rasters, 1, n))
  watched(each_pixel, fn, rasters, n, out, pointer(address, "float32"))
  c.map_finish(out)
  return out
end

--- Reads an elevation model and shades it. Neighbouring tiles fit: a margin of one pixel is read.
---
--- ```lua
--- local shade = moon.hillshade("fd://olinda_dem_utm25s.tif", moon.tile.bounds(12, 1651, 2139), { azimuth = 300, z = 2 })
--- assert(shade.width == 256 and shade:max() <= 255)
--- ```
---@param path string
---@param bounds? moon.Bounds|number[]
---@param options? { azimuth?: number, altitude?: number, z?: number, band?: integer, resampling?: string, resolution?: number, size?: integer[], crs?: string, source_crs?: string }
---@return moon.Raster
function moon.hillshade(path, bounds, options)
  core.options("hillshade", options, "azimuth", "altitude", "z", "band", "resampling", "resolution", "size", "crs", "source_crs")
  local o = options or {}
  local dem = c.read_raster(path, bounds, { bands = o.band or 1, resampling = o.resampling or "cubic", margin = 1,
    resolution = o.resolution, size = o.size, crs = o.crs, source_crs = o.source_crs })
  return dem:hillshade { azimuth = o.azimuth, altitude = o.altitude, z = o.z }
end

local function number_or(what, value, fallback)
  if value == nil then return fallback end
  if type(value) ~= "number" then core.raise("argument", what .. ": expected a number, got " .. core.show(value)) end
  return value
end

--- How many pixels have which values: `counts[i]` of those from `edges[i]` to `edges[i + 1]`. `low` and `high` are the
--- band's own unless they are given.
---
--- ```lua
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif")
--- local h = dem:histogram { parts = 10 }
--- assert(#h.counts == 10 and #h.edges == 11 and h.edges[1] == dem:min())
--- ```
---@param options? { parts?: integer, low?: number, high?: number, band?: integer }
---@return { counts: integer[], edges: number[] }
function c.methods.histogram(raster, options)
  core.options("histogram", options, "parts", "low", "high", "band")
  local o = options or {}
  local n = o.parts or 256
  local low = number_or("histogram: low", o.low, nil) or raster:min(o.band) or 0
  local high = number_or("histogram: high", o.high, nil) or raster:max(o.band) or 1
  if o.high == nil and high <= low then high = low + 1 end
  local counts, edges = c.histogram(raster, n, low, high, o.band), {}
  for i = 0, n do edges[i + 1] = low + (high - low) * i / n end
  return { counts = counts, edges = edges }
end

--- Values brought to 0 .. 1: `low` (the minimum unless given) becomes 0, `high` (the maximum) 1; those outside are clamped.
---
--- ```lua
--- local n = moon.read_raster("fd://olinda_dem_utm25s.tif"):normalise()
--- assert(n:min() == 0 and n:max() == 1)
--- ```
---@param low? number
---@param high? number
---@return moon.Raster
function c.methods.normalise(raster, low, high)
  low = number_or("normalise: low", low, nil) or raster:min() or 0
  high = number_or("normalise: high", high, nil) or raster:max() or 1
  if high < low then core.raise("argument", "normalise: low is " .. low .. ", more than high, " .. high) end
  if high == low then high = low + 1 end
  return ((raster - low) / (high - low)):clamp(0, 1)
end
c.methods.normalize = c.methods.normalise

--- Each band stretched for the eye: the percentile `low` (2 unless given) becomes 0, `high` (98) 255; uint8.
---
--- ```lua
--- local b = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { 3, 2, 1 }, size = 128 })
--- local picture = b:stretch(2, 98)
--- assert(picture.type == "uint8" and picture.bands == 3 and picture[1]:min() == 0 and picture[1]:max() == 255)
--- ```
---@param low? number
---@param high? number
---@return moon.Raster
function c.methods.stretch(raster, low, high)
  low, high = number_or("stretch: low", low, 2), number_or("stretch: high", high, 98)
  if high <= low then core.raise("argument", "stretch: low is " .. low .. ", not less than high, " .. high) end
  local bands = {}
  for i = 1, raster.bands do
    local ends = raster:percentile({ low, high }, i)
    bands[i] = (raster[i]:normalise(ends[1], ends[2]) * 255):convert("uint8")
  end
  if #bands == 1 then return bands[1] end
  return c.stack(bands, #raster.names == raster.bands and raster.names or nil)
end

--- Contour lines of one band: a table of `level` and `geometry` in the raster's CRS. Levels are a list, or an interval
--- with an optional base.
---
--- ```lua
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif")
--- local lines = dem:contours { interval = 10 }
--- assert(lines:count() > 0 and lines:rows()[1].level % 10 == 0)
--- assert(dem:contours({ 25 }):count() > 0)
--- ```
---@param levels number[]|{ interval: number, base?: number }
---@return moon.Table
function c.methods.contours(raster, levels)
  if type(levels) ~= "table" then
    core.raise("argument", "contours: expected a list of levels, or { interval = … }, got " .. core.show(levels))
  end
  if levels.interval == nil then return c.contours(raster, levels) end
  core.options("contours", levels, "interval", "base")
  local interval, base = number_or("contours: interval", levels.interval), number_or("contours: base", levels.base, 0)
  if not (interval > 0) then core.raise("argument", "contours: interval: expected a positive number, got " .. interval) end
  local low, high, list = raster:min(), raster:max(), {}
  local first = low and math.ceil((low - base) / interval) or 0
  local last = high and math.floor((high - base) / interval) or 0
  if last - first >= 1000 then
    core.raise("argument", "contours: interval: " .. interval .. " makes " .. last - first + 1 .. " levels; at most 1000")
  end
  for i = first, last do list[#list + 1] = base + i * interval end
  if #list == 0 then list[1] = base + first * interval end
  return c.contours(raster, list)
end

--- The raster where a geometry is, no data elsewhere: pixels whose middle is inside. The geometry may be a table, then all
--- of its rows count, or bounds. `invert` keeps what is outside; `all_touched` counts pixels that a boundary passes through.
---
--- ```lua
--- local circle = moon.point(-34.87, -8.0):buffer(500)
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", circle:bounds(), { resolution = 30 })
--- local s = dem:mask(circle):stats("min", "max", "mean", "count")
--- assert(math.abs(s.count * 900 / (math.pi * 500 ^ 2) - 1) < 0.05)
--- ```
---@param geometry moon.Geometry|moon.Table|moon.Bounds
---@param options? { invert?: boolean, all_touched?: boolean }
---@return moon.Raster
function c.methods.mask(raster, geometry, options)
  core.options("mask", options, "invert", "all_touched")
  local o = options or {}
  return c.mask(raster, geometry, o.invert, o.all_touched)
end

--- Geometries burned into a raster of the size and place of `like`: the value of a column, or `value` (1). Pixels that
--- several have: `merge` is last (default), first, min, max, sum, mean or count. Elsewhere is no data, or `background`.
---
--- ```lua
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif")
--- local circle = moon.point(-34.87, -8.0):buffer(300)
--- local r = moon.rasterize(moon.table { { height = 7, geometry = circle } }, dem, { column = "height", background = 0 })
--- assert(r:max() == 7 and r:min() == 0)
--- ```
---@param shapes moon.Table|moon.Geometry
---@param like moon.Raster
---@param options? { column?: string, value?: number, background?: number, all_touched?: boolean, merge?: string }
---@return moon.Raster
function moon.rasterize(shapes, like, options)
  core.options("rasterize", options, "column", "value", "background", "all_touched", "merge")
  local o = options or {}
  return c.rasterize(shapes, like, o.column, number_or("rasterize: value", o.value), number_or("rasterize: background", o.background),
    o.all_touched, o.merge or "last")
end

local zonal_figures = { count = true, sum = true, mean = true, min = true, max = true, std = true, median = true }
--- Figures of a raster's pixels in each geometry of a table: its rows with a column for each figure (count, mean, min, max
--- unless they are named; also sum, std and median).
---
--- ```lua
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif")
--- local zones = moon.table { { name = "a", geometry = moon.point(-34.87, -8.0):buffer(300) } }
--- local row = moon.zonal(zones, dem, { "mean", "median", "count" }):rows()[1]
--- assert(row.name == "a" and row.count > 0 and row.mean > 0 and row.median)
--- ```
---@param zones moon.Table
---@param raster moon.Raster
---@param stats? string[]
---@param options? { band?: integer, all_touched?: boolean, prefix?: string }
---@return moon.Table
function moon.zonal(zones, raster, stats, options)
  core.options("zonal", options, "band", "all_touched", "prefix")
  local o = options or {}
  stats = stats or { "count", "mean", "min", "max" }
  if type(stats) ~= "table" then core.raise("argument", "zonal: stats: expected a list of names, got " .. core.show(stats)) end
  for _, name in ipairs(stats) do
    if not zonal_figures[name] then
      core.raise("argument", "zonal: stats: expected count, sum, mean, min, max, std or median, got " .. core.show(name))
    end
  end
  local figures = c.zonal(zones, raster, o.band, o.all_touched)
  local rows = zones:rows()
  for i, row in ipairs(rows) do
    for _, name in ipairs(stats) do row[(o.prefix or "") .. name] = figures[i][name] end
  end
  return moon.table(rows)
end

--- A raster (float32) of `fn` called with the neighbourhood of each pixel that has data: `at(dx, dy)` is the value that many pixels
--- to the right and down, NaN where there is none. `size` is odd, 3 to 31. A raster that was read with a margin of
--- at least half the size uses it up, so that tiles fit. Compiled by the JIT.
---
--- ```lua
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif")
--- local rough = dem:window(3, function(at)
---   local most, least = at(0, 0), at(0, 0)
---   for dy = -1, 1 do
---     for dx = -1, 1 do
---       local v = at(dx, dy)
---       if v > most then most = v elseif v < least then least = v end
---     end
---   end
---   return most - least
--- end)
--- assert(rough:min() >= 0 and rough.width == dem.width)
--- ```
---@param size integer
---@param fn fun(at: fun(dx: integer, dy: integer): number): number|boolean
---@return moon.Raster
function c.methods.window(raster, size, fn)
  if type(size) ~= "number" or size % 2 ~= 1 then
    core.raise("argument", "window: size: expected an odd number from 3 to 31, got " .. core.show(size))
  end
  if type(fn) ~= "function" then core.raise("argument", "window: expected a function, got " .. core.show(fn)) end
  local radius = (size - 1) / 2
  local out, target, wide, first, stride = c.window(raster, radius)
  local function fail(dx, dy)
    core.raise("argument", "window: at(" .. core.show(dx) .. ", " .. core.show(dy) .. "): expected whole numbers from " .. -radius
      .. " to " .. radius)
  end
  local loop = inner.loadstring([[local fn, fail, out, p, w, h, stride, r = ...
    local here = 0
    local function at(dx, dy)
      if dx >= -r and dx <= r and dy >= -r and dy <= r then return p[here + dy * stride + dx] end
      fail(dx, dy)
    end
    for y = 0, h - 1 do
      for x = 0, w - 1 do
        here = y * stride + x
        if p[here] == p[here] then out[y * w + x] = fn(at) else out[y * w + x] = 0/0 end
      end
    end]], "=?")
  -- `wide` is an upvalue, so that its samples stay while the loop runs.
  watched(function() loop(fn, fail, pointer(target, "float32"), pointer(first, "float32"), out.width, out.height, stride, radius) return wide end, fn)
  c.map_finish(out)
  return out
end

--- Reads an elevation model and paints it: colours by height, darkened by its hillshade. Neighbouring tiles fit.
---
--- ```lua
--- local r = moon.relief("fd://olinda_dem_utm25s.tif", moon.tile.bounds(12, 1651, 2139), { colours = "terrain", low = 0, high = 80 })
--- assert(r.bands == 4 and r.type == "uint8" and r.width == 256)
--- ```
---@param path string
---@param bounds? moon.Bounds|number[]
---@param options { colours?: string|table, low: number, high: number, azimuth?: number, altitude?: number, z?: number, band?: integer, resampling?: string, resolution?: number, size?: integer[], crs?: string, source_crs?: string }
---@return moon.Raster
function moon.relief(path, bounds, options)
  core.options("relief", options, "colours", "low", "high", "azimuth", "altitude", "z", "band", "resampling", "resolution", "size", "crs",
    "source_crs")
  local o = options or {}
  local read = { bands = o.band or 1, resampling = o.resampling or "cubic", margin = 1, resolution = o.resolution, size = o.size,
    crs = o.crs, source_crs = o.source_crs }
  local dem = c.read_raster(path, bounds, read)
  local shade = dem:hillshade { azimuth = o.azimuth, altitude = o.altitude, z = o.z }
  read.margin = nil
  local heights = c.read_raster(path, bounds, read)
  local low, high = number_or("relief: low", o.low) or heights:min() or 0, number_or("relief: high", o.high) or heights:max() or 1
  if high <= low then high = low + 1 end
  local paint, light = heights:colour(o.colours or "terrain", low, high):rgba(), shade / 255
  local function band(i) return (paint[i] * light):convert("uint8") end
  return c.stack({ band(1), band(2), band(3), (paint[4]:where(shade:ge(0), 0)):convert("uint8") }, { "red", "green", "blue", "alpha" })
end

--- A picture of a colour map and its scale, for a page beside a map.
---
--- ```lua
--- local picture = moon.legend("viridis", 0, 80, { width = 300 })
--- assert(picture.bands == 4 and picture.width == 300 and picture.height == 40)
--- ```
---@param map string|table as for `raster:colour`
---@param low number
---@param high number
---@param options? { width?: integer, height?: integer }
---@return moon.Raster
function moon.legend(map, low, high, options)
  core.options("legend", options, "width", "height")
  local o = options or {}
  return c.legend(map, low, high, o.width or 256, o.height or 40)
end

---@class moon.Pixels
--- The samples of one band by index: `p[row * width + column]`, both from 0; `#p` of them. Reading and writing outside
--- is an error. Loops over it are compiled. No data is NaN in floating-point rasters; integer ones show the raw sample.
local views, anchors

local function make_views()
  views, anchors = {}, setmetatable({}, { __mode = "k" })
  -- Fields of a C struct can be reached by name: these have names that nobody can guess.
  local word = c.secret()
  local define = inner.loadstring(([[
    local ffi, fail, type = ...
    return function(ctype)
      return ffi.metatype(ffi.typeof("struct { $ *@p; int32_t @n; }", ctype), {
        __index = function(v, i)
          if type(i) == "number" and i >= 0 and i < v.@n then return v.@p[i] end
          fail(i, v.@n)
        end,
        __newindex = function(v, i, x)
          if type(i) == "number" and i >= 0 and i < v.@n then v.@p[i] = x return end
          fail(i, v.@n)
        end,
        __len = function(v) return v.@n end,
      })
    end]]):gsub("@", word), "=?")
  local function fail(i, n)
    core.raise("argument", "pixels: index " .. core.show(i) .. ": expected 0 to " .. n - 1)
  end
  views.define = define(ffi, fail, type)
end

--- The samples of a band, for loops of one's own; see moon.Pixels.
---
--- ```lua
--- local red = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = 3, size = 64 })
--- local p, sum = red:pixels(), 0
--- for i = 0, #p - 1 do sum = sum + p[i] end
--- assert(sum == red:sum())
--- ```
function c.methods.pixels(raster, band)
  local address, sample, n = c.samples(raster, band)
  local samples = pointer(address, sample)
  if not views then make_views() end
  local view = views[sample]
  if not view then
    view = views.define(ffi.typeof(ctypes[sample]))
    views[sample] = view
  end
  local made = view(samples, n)
  anchors[made] = raster
  return made
end
