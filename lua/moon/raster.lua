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
---@field stats fun(self, ...: string): table min, max, mean, std, sum, count
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
local c, core, jit = inner.open "raster", inner.core, inner.jit
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
---@type fun(path: string, bounds?: moon.Bounds|number[], options?: { bands?: integer|integer[]|table<string, integer>, resampling?: string, resolution?: number, size?: integer[], crs?: string, source_crs?: string, margin?: integer, unscale?: boolean }): moon.Raster
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

--- Names of the colour maps, for `raster:colour`; "_r" behind a name reverses it.
---
--- ```lua
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", nil, { size = 64 })
--- local named = dem:colour("terrain", 0, 80)
--- local stops = dem:colour({ { 0, "#2166ac" }, { 0.1, "#f7f7f7" }, { 1, "#b2182b" } }, 0, 80)
--- assert(named.type == "uint8" and stops.width == dem.width and #moon.colour.names() >= 7)
--- ```
moon.colour = { names = c.colormaps }

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

--- The author's line of a function that the JIT speaks of.
local function line_of(util, func, pc)
  local info = func and util.funcinfo(func, pc)
  if info and info.source and info.source:sub(1, 1) == "@" then
    return info.source:sub(2) .. ":" .. (pc and info.currentline or info.linedefined)
  end
end

--- Watches the JIT while `loop(fn, …)` runs: what cannot be compiled is some 50 times slower, and the author is told. A call that
--- is not compiled ends a trace, which is then stitched to the next.
local function watched(loop, fn, ...)
  local compiled, refused, stitched, where, util = 0, 0, 0, nil, nil
  local function watch(what, trace, func, pc)
    if what ~= "stop" and what ~= "abort" then return end
    util = util or inner.jit_util()
    if what == "abort" then
      refused = refused + 1
      where = line_of(util, func, pc) or where
    elseif util.traceinfo(trace).linktype == "stitch" then
      stitched = stitched + 1
      where = line_of(util, func) or where or line_of(util, fn)
    else
      compiled = compiled + 1
    end
  end
  jit.attach(watch, "trace")
  loop(fn, ...)
  jit.attach(watch)
  if stitched > 0 or (refused > 0 and compiled == 0) or refused > 8 then
    moon.log("map: " .. (where or "the function") .. " could not be compiled and ran interpreted, which is some 50 times slower;"
      .. " keep to arithmetic, math.* and local variables in it (no tables, pairs, strings or closures made for each pixel)")
  end
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
