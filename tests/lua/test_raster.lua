local moon = require "moon"
local check = require "check"
local scene, dem = "fd://L7_ETMs.tif", "fd://olinda_dem_utm25s.tif"

local function read(options) return moon.read_raster(scene, nil, options or { bands = { red = 3, nir = 4 } }) end

local tests = {}

tests["fields"] = function()
  local b = read()
  check.equal(b.width, 349)
  check.equal(b.height, 352)
  check.equal(b.bands, 2)
  check.equal(b.type, "uint8")
  check.equal(b.names[1], "red")
  check.equal(b.red.bands, 1)
  check.near(b.bounds.xmin, -34.9166, 0.001)
  check.fails("a raster has no `blue`", function() return b.blue end)
  check.fails("band: expected 1 to 2, got 3", function() return b[3] end)
  check.fails("`max` is a method", moon.read_raster, scene, nil, { bands = { max = 1 } })
end

tests["operators, with the same as a loop over pixels"] = function()
  local b = read()
  local ndvi = (b.nir - b.red) / (b.nir + b.red)
  check.equal(ndvi.type, "float32")
  local red, nir, out = b.red:pixels(), b.nir:pixels(), ndvi:pixels()
  check.equal(#out, 349 * 352)
  for i = 0, #out - 1 do
    local expected = (nir[i] - red[i]) / (nir[i] + red[i])
    if math.abs(out[i] - expected) > 1e-6 then error("pixel " .. i) end
  end
  check.near((2 ^ (b.red * 0))[1]:max(), 1, 0)
  check.near((-b.red):max(), -b.red:min(), 0)
  check.near((b.red % 7):max(), 6, 0)
  check.fails("expected a raster or a number, got the string \"x\"", function() return b.red + "x" end)
end

tests["map gives what the operators give"] = function()
  local b = read()
  local a = (b.nir - b.red) / (b.nir + b.red)
  local m = moon.map(b.red, b.nir, function(red, nir) return (nir - red) / (nir + red) end)
  check.near((a - m):abs():max(), 0, 1e-6)
  local cut = moon.map(b.nir, function(nir)
    if nir < 20 then return moon.nodata end
    return nir
  end)
  check.equal(cut:min(), 20)
  check.equal(cut:count(), b.nir:where(b.nir:ge(20)):count())
  check.fails("the last argument is", moon.map, b.red)
  check.fails("map: raster 1 has 2 bands", moon.map, b, function(x) return x end)
  check.equal(moon.map(b.red, function(red) return red > 100 end):max(), 1)
  check.fails("map: the function gave string for a pixel", function()
    local _, err = moon.try(moon.map, b.red, function() return "x" end)
    error(err)
  end)
end

tests["masks"] = function()
  local b = read()
  local high = b.red:gt(100)
  check.equal(high:max(), 1)
  check.equal(high:band(high:bnot()):max(), 0)
  check.equal(high:bor(high:bnot()):min(), 1)
  check.equal(b.red:where(high):min(), 101)
  check.equal(b.red:where(high, 7):min(), 7)
  check.equal(b.red:clamp(50, 60):max(), 60)
  check.equal(b.red:eq(b.red):min(), 1)
end

tests["stats"] = function()
  local s = read():stats("min", "max")
  check.equal(s[1].min, 21)
  check.equal(s[1].mean, nil)
  check.equal(read { bands = 3 }:stats().count, 122848)
  check.fails("stats: expected", function() return read():stats("middle") end)
end

tests["get, pixels"] = function()
  local r = read { bands = 1 }
  check.equal(r:get(0, 0), r:pixels()[0])
  check.equal(r:get(348, 351), r:pixels()[349 * 352 - 1])
  check.fails("column 349", function() return r:get(349, 0) end)
  check.fails("index 122848: expected 0 to 122847", function() return r:pixels()[349 * 352] end)
  check.fails("index -1", function() r:pixels()[-1] = 0 end)
  check.fails("index the string \"p\"", function() return r:pixels().p end)
end

tests["size, resolution, crs"] = function()
  local r = moon.read_raster(scene, nil, { bands = 1, size = { 100, 50 } })
  check.equal(r.width, 100)
  check.equal(r.height, 50)
  local u = moon.read_raster(dem, { -34.9, -8.02, -34.85, -7.98 }, { resolution = 30 })
  check.near(u.width, 184, 3)
  local m = moon.read_raster(dem, { -34.9, -8.02, -34.85, -7.98 }, { crs = "EPSG:4326", size = { 50, 40 } })
  check.equal(m.crs, "EPSG:4326")
  check.near(m.bounds.xmin, -34.9, 1e-9)
  check.fails("give a resolution (in its units) or a size", moon.read_raster, dem, { -34.9, -8.02, -34.85, -7.98 }, { crs = "EPSG:4326" })
  check.fails("resampling: expected nearest", moon.read_raster, dem, nil, { resampling = "lanczos" })
  check.equal(moon.read_raster(dem, moon.tile.bounds(12, 1651, 2139)).width, 256)
  check.equal(moon.read_raster(dem, moon.tile.bounds(12, 1651, 2139, 512), { margin = 2 }).width, 516)
end

tests["hillshade: four tiles equal one of double size"] = function()
  local z, x, y = 12, 1651, 2139
  local whole = moon.hillshade(dem, moon.tile.bounds(z, x, y, 512))
  check.equal(whole.width, 512)
  local all, differ = whole:pixels(), 0
  for i, t in ipairs(moon.tile.children(z, x, y)) do
    local part = moon.hillshade(dem, moon.tile.bounds(t)):pixels()
    local left, top = (i - 1) % 2 * 256, math.floor((i - 1) / 2) * 256
    for row = 0, 255 do
      for column = 0, 255 do
        if math.abs(part[row * 256 + column] - all[(top + row) * 512 + left + column]) > 0 then differ = differ + 1 end
      end
    end
  end
  check.equal(differ, 0)
  check.equal(moon.read_raster(dem):hillshade().width, 111)
  check.equal(moon.read_raster(dem, nil, { margin = 1 }):hillshade().width, 111)
end

tests["lists of files"] = function()
  local at = moon.tile.bounds(12, 1651, 2139)
  local one = moon.read_raster(dem, at)
  for _, how in ipairs { "first", "latest", "min", "max", "mean", "median" } do
    local all = moon.read_raster({ dem, dem }, at, { mosaic = how })
    check.equal((all - one):abs():max(), 0, how)
  end
  check.equal(moon.read_raster({ dem, dem }, at, { mosaic = "count" }):max(), 2)
  check.equal(moon.read_raster({ dem, dem, dem }, at, { stack = true }).bands, 3)
  -- Without bounds: all of the files.
  local both = moon.read_raster({ dem, scene }, nil, { resolution = 500, bands = 1 })
  for _, file in ipairs { dem, scene } do
    local b = moon.read_raster(file, nil, { bands = 1, size = 64 }).bounds
    check.equal(both.bounds.xmin <= b.xmin + 0.01 and both.bounds.ymax >= b.ymax - 0.01 and both.bounds.xmax >= b.xmax - 0.01, true)
  end
  check.fails("mosaic: expected first", moon.read_raster, { dem }, at, { mosaic = "best" })
  check.fails("mosaic: needs a list of files", moon.read_raster, dem, at, { mosaic = "min" })
  check.fails("give mosaic or stack", moon.read_raster, { dem }, at, { mosaic = "min", stack = true })
  check.fails("a list of 1 to 64 names is expected, got 0", moon.read_raster, {}, at)
  check.fails("fd://none.tif", moon.read_raster, { dem, "fd://none.tif" }, at)
  check.fails("no overview 9 in", moon.read_raster, dem, at, { overview = 9 })
  check.equal(moon.read_raster(dem, at, { overview = 0 }).width, 256)
end

tests["reductions and distributions"] = function()
  local b = read { bands = { 1, 2, 3 } }
  check.near(b:reduce("sum"):max(), (b[1] + b[2] + b[3]):max(), 1e-3)
  check.equal(b:reduce("count"):max(), 3)
  check.near(b[1]:percentile(50), b[1]:stats("median").median, 1e-9)
  local h = b[1]:histogram { parts = 16 }
  local sum = 0
  for _, n in ipairs(h.counts) do sum = sum + n end
  check.equal(sum, b[1]:count())
  check.equal(b:stretch()[2]:max(), 255)
  check.fails("reduce: expected", function() return b:reduce("middle") end)
  check.fails("a percentile is 0 to 100", function() return b:percentile(101) end)
  check.fails("histogram: parts: expected", function() return b:histogram { parts = 0 } end)
  check.fails("stretch: low is 60", function() return b:stretch(60, 40) end)
  check.fails("normalise: low: expected a number", function() return b:normalise("a") end)
end

tests["terrain and contour lines"] = function()
  local d = moon.read_raster(dem)
  check.equal(d:slope():max() < 90, true)
  check.equal(d:aspect():max() <= 360, true)
  check.equal(d:slope().width, d.width)
  check.equal(moon.read_raster(dem, nil, { margin = 1 }):slope().width, d.width)
  local lines = d:contours { interval = 20, base = 5 }
  for _, row in ipairs(lines:rows()) do check.equal((row.level - 5) % 20, 0) end
  check.fails("contours: interval: expected a positive number", function() return d:contours { interval = 0 } end)
  check.fails("contours: expected 1 to 1000 levels", function() return d:contours {} end)
  check.fails("contours: a level", function() return d:contours { "high" } end)
  check.fails("slope: expected one band", function() return read():slope() end)
  check.fails("slope: z", function() return d:slope(-1) end)
end

tests["geometry and rasters"] = function()
  local d = moon.read_raster(dem)
  local circle = moon.point(-34.87, -8.0):buffer(400)
  local zones = moon.table { { name = "a", h = 3, geometry = circle }, { name = "far", h = 4, geometry = moon.point(10, 50):buffer(400) } }
  local inside, outside = d:mask(circle), d:mask(circle, { invert = true })
  check.equal(inside:count() + outside:count(), d:count())
  check.equal(d:mask(circle, { all_touched = true }):count() > inside:count(), true)
  check.equal(d:mask(d.bounds):count(), d:count())
  local rows = moon.zonal(zones, d, { "count", "mean", "max", "median" }):rows()
  check.equal(rows[1].count, inside:count())
  check.near(rows[1].mean, inside:mean(), 1e-6)
  check.near(rows[1].median, inside:stats("median").median, 1e-6)
  check.equal(rows[2].count, 0)
  check.equal(rows[2].mean, nil)
  check.equal(moon.zonal(zones, d, { "sum" }, { prefix = "z_" }):rows()[1].z_sum, inside:sum())
  local burnt = moon.rasterize(zones, d, { column = "h", background = 0 })
  check.near(burnt:sum(), 3 * d:convert("float32"):mask(circle):count(), 3 * 20)
  local twice = moon.table { { h = 3, geometry = circle }, { h = 5, geometry = circle } }
  for how, want in pairs { last = 5, first = 3, sum = 8, mean = 4, min = 3, max = 5, count = 2 } do
    check.equal(moon.rasterize(twice, d, { column = "h", merge = how }):max(), want, how)
  end
  local points = moon.read_raster(dem, nil, { size = 16 }):points()
  check.equal(points:count() > 0, true)
  local back = moon.rasterize(points, moon.read_raster(dem, nil, { size = 16 }), { column = "value" })
  check.equal((back - moon.read_raster(dem, nil, { size = 16 })):abs():max(), 0)
  check.fails("rasterize: column: expected", moon.rasterize, zones, d, { column = "none" })
  check.fails("rasterize: merge", moon.rasterize, zones, d, { merge = "median" })
  check.fails("mask: the geometry: expected", function() return d:mask(7) end)
  check.fails("zonal: stats: expected", moon.zonal, zones, d, { "middle" })
  check.fails("the table has no geometry", moon.zonal, moon.table { { a = 1 } }, d)
end

tests["window"] = function()
  local d = moon.read_raster(dem)
  local mean = d:window(3, function(at)
    local sum, n = 0, 0
    for dy = -1, 1 do
      for dx = -1, 1 do
        local v = at(dx, dy)
        if v == v then sum, n = sum + v, n + 1 end
      end
    end
    return sum / n
  end)
  local want, n = 0, 0
  for y = 9, 11 do for x = 9, 11 do local v = d:get(x, y) if v then want, n = want + v, n + 1 end end end
  check.near(mean:get(10, 10), want / n, 1e-3)
  check.equal((d:window(5, function(at) return at(0, 0) end) - d):abs():max(), 0)
  check.fails("window: at(2, 0): expected whole numbers from -1 to 1", function() return d:window(3, function(at) return at(2, 0) end) end)
  check.fails("window: at(", function() return d:window(3, function(at) return at(0/0, 0) end) end)
  check.fails("window: size: expected an odd number", function() return d:window(4, function() return 1 end) end)
  check.fails("window: size: expected an odd number", function() return d:window(33, function() return 1 end) end)
  check.fails("window: expected a function", function() return d:window(3) end)
  -- Tiles fit.
  local z, x, y = 12, 1651, 2139
  local function smooth(b) return moon.read_raster(dem, b, { margin = 2 }):window(5, function(at) return at(-2, 1) + at(2, -1) end) end
  local whole, part = smooth(moon.tile.bounds(z, x, y, 512)), smooth(moon.tile.bounds(z + 1, 2 * x + 1, 2 * y))
  check.equal(whole.width, 512)
  for row = 0, 255, 5 do check.equal(part:get(3, row), whole:get(259, row)) end
end

tests["relief"] = function()
  local r = moon.relief(dem, moon.tile.bounds(12, 1651, 2139), { low = 0, high = 80 })
  check.equal(r.bands, 4)
  check.equal(read { bands = 1 }:colour("viridis", 0, 255):rgba().bands, 4)
  check.equal(read { bands = 1 }:palette(), nil)
  check.equal(#read { bands = 1 }:colour("viridis", 0, 255):palette() > 200, true)
  check.fails("the raster has no palette", function() return read { bands = 1 }:rgba() end)
end

tests["colour"] = function()
  local r = read { bands = 1 }
  check.equal(r:colour("viridis", 0, 255).type, "uint8")
  check.equal(r:colour({ "#000000", "#fff" }, 0, 255).type, "uint8")
  check.equal(r:colour({ { 0, "#000000" }, { 0.3, { 255, 0, 0 } }, { 1, "#ffffff80" } }, 0, 255).type, "uint8")
  check.fails("colour: low: expected a number", function() return r:colour("viridis") end)
  check.fails("viridis", function() return r:colour("nothing", 0, 1) end)
  check.fails("expected one band", function() return read():colour("viridis", 0, 1) end)
  check.fails("a colour such as", function() return r:colour({ "red", "blue" }, 0, 1) end)
  check.equal(#moon.colour.names() >= 7, true)
end

tests["stack"] = function()
  local b = read()
  local s = moon.raster({ b.nir, b.red }, { "a", "b" })
  check.equal(s.bands, 2)
  check.equal(s.b:mean(), b.red:mean())
  check.fails("a list of rasters", moon.raster, 3)
end

tests["map calls where there is data, in every chunk"] = function()
  local b = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { red = 3, nir = 4 } })
  check.equal(b.width * b.height > 65536, true)
  local sum = b.red + b.nir
  for _, limit in ipairs { 0, 60, 90, 254, 255, 600 } do
    local some, calls, wrong = b.red:where(b.red:ge(limit)), 0, 0
    local out = moon.map(some, b.nir, function(red, nir)
      calls = calls + 1
      if red < limit then wrong = wrong + 1 end
      return red + nir
    end)
    local expected = sum:where(b.red:ge(limit))
    check.equal(calls, some:count(), "calls at " .. limit)
    check.equal(wrong, 0)
    check.equal(out:count(), expected:count(), "pixels at " .. limit)
    check.equal(out:sum(), expected:sum(), "sum at " .. limit)
    check.equal((out - expected):max(), out:count() > 0 and 0 or nil)
  end
  -- Outside of the file a tile has a mask.
  local t = moon.read_raster("fd://L7_ETMs.tif", moon.tile.bounds(12, 1651, 2139), { bands = { red = 3, nir = 4 } })
  local twice = moon.map(t.red, t.nir, function(red, nir) return red + nir end)
  check.equal(t.red:count() < 65536, true)
  check.equal(twice:count(), t.red:count())
  check.equal(twice:sum(), (t.red + t.nir):sum())
end

return check.udf(tests)
