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
