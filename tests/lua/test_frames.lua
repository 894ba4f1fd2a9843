local moon = require "moon"
local check = require "check"

local function rasters(n, size)
  local list = {}
  local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", nil, { size = { size or 32, size or 32 } })
  for i = 1, n do list[i] = dem:colour("terrain", 0, 40 + 20 * i) end
  return list
end

local tests = {}

tests["what it is made of"] = function()
  local film = moon.frames(rasters(3), { delay_ms = 120 })
  check.equal(film.count, 3)
  check.equal(#film, 3)
  check.equal(film.width, 32)
  check.equal(film.height, 32)
  check.equal(film[2].type, "uint8")
  check.equal(film[4], nil)
  check.equal(table.concat(film.delays, ","), "120,120,120")
  check.equal(table.concat(moon.frames(rasters(1)).delays, ","), "80")
  check.equal(table.concat(moon.frames(rasters(3), { delay_ms = { 1, 20.4, 60000 } }).delays, ","), "1,20,60000")
end

tests["it keeps its rasters alive"] = function()
  local film = moon.frames(rasters(5))
  local before = moon.encode(film, "gif")
  collectgarbage()
  collectgarbage()
  check.equal(moon.encode(film, "gif") == before, true)
end

tests["formats"] = function()
  local film = moon.frames(rasters(3))
  check.equal(moon.encode(film, "gif"):sub(1, 6), "GIF89a")
  check.equal(moon.encode(film, "apng"):find("acTL", 1, true) ~= nil, true)
  check.equal(moon.encode(film, "webp"):find("ANMF", 1, true) ~= nil, true)
  check.fails("gif, apng", moon.encode, film, "png")
  check.fails("gif, apng", moon.encode, film, "tif")
  check.equal(moon.encode({ film = film, n = 1 }, "zip"):sub(1, 2), "PK")
end

tests["mistakes"] = function()
  check.fails("frames: expected a list of rasters, got nil", moon.frames)
  check.fails("frames: expected a list of rasters", moon.frames, {})
  check.fails("frame 2: expected a raster, got 7", moon.frames, { rasters(1)[1], 7 })
  check.fails("frame 2 has 16 x 16 pixels, the first 32 x 32", moon.frames, { rasters(1)[1], rasters(1, 16)[1] })
  check.fails("delay_ms: expected 1 to 60,000", moon.frames, rasters(1), { delay_ms = 0 })
  check.fails("delay_ms: expected 1 to 60,000", moon.frames, rasters(1), { delay_ms = 0 / 0 })
  check.fails("expected 2 delays, one a frame, got 1", moon.frames, rasters(2), { delay_ms = { 5 } })
  check.fails("delay", moon.frames, rasters(1), { delay = 5 })
  check.fails("no field `speed`", function() return moon.frames(rasters(1)).speed end)
end

return check.udf(tests)
