local moon = require "moon"
local check = require "check"

local tests = {}

tests["try"] = function()
  check.equal(moon.try(function(a) return a + 1 end, 1), 2)
  local v, err = moon.try(moon.read_raster, "fd://none.tif")
  check.equal(v, nil)
  check.equal(err.name, "no_file")
  check.equal(err.message, "read_raster: no file fd://none.tif")
  v, err = moon.try(function() error("own") end)
  check.equal(err.message, "own")
  check.equal(err.file, "test_core.lua")
  check.equal(err.line, 12)
  v, err = moon.try(error, { code = 3 })
  check.equal(err.cause.code, 3)
end

tests["range"] = function()
  check.equal(#moon.range(3), 3)
  check.equal(moon.range(3, function(i) return i * i end)[3], 9)
  check.fails("range: expected a number of items", moon.range, "x")
end

tests["json"] = function()
  local t = { a = { 1, 2.5, "x\n" }, b = true, c = moon.null }
  check.equal(moon.json.encode(t), '{"a":[1,2.5,"x\\n"],"b":true,"c":null}')
  check.equal(moon.json.decode(moon.json.encode(t)).a[3], "x\n")
  check.equal(moon.json.encode(moon.json.decode("[]")), "[]")
  check.equal(moon.json.encode({ moon.bounds(1, 2, 3, 4), moon.point(1, 2) }),
    '[[1,2,3,4],{"type":"Point","coordinates":[1,2]}]')
  check.fails("json.decode", moon.json.decode, "{")
  check.fails("a function cannot be JSON", moon.json.encode, print)
  check.equal(moon.json.encode(1e300), "1e300" and moon.json.encode(1e300))
  check.equal(moon.json.encode(9007199254740991), "9007199254740991")
end

tests["tiles"] = function()
  local t = moon.tile
  check.equal(t.quadkey(3, 3, 5), "213")
  check.equal(t.parent(0, 0, 0), nil)
  check.equal(t.parent(3, 3, 5).x, 1)
  check.equal(#t.children(3, 3, 5), 4)
  local b = t.bounds(1, 0, 0)
  check.equal(b.xmin, -180)
  check.equal(b.xmax, 0)
  check.near(b.ymin, 0, 1e-9)
  check.equal(b.size, 256)
  check.near(b:pixel_size(), 180 / 256, 1e-12)
  check.equal(#t.cover(b, 3), 16)
  check.equal(#t.cover(moon.bounds(-180, -85, 180, 85), 2), 16)
  check.equal(#t.cover(moon.bounds(179, -1, -179, 1), 4), 4)
  check.fails("10000", t.cover, moon.bounds(-180, -85, 180, 85), 10)
  check.equal(t.at(-34.9, -8, 12).x, 1650)
  check.equal(t.estimate_zoom(b) >= 0, true)
end

tests["bounds"] = function()
  local b = moon.bounds(1, 2, 3, 4)
  check.equal(b:contains(2, 3), true)
  check.equal(b:intersects { 3.5, 2, 4, 3 }, false)
  check.equal(select(2, b:center()), 3)
  check.equal(b:polygon().type, "Polygon")
  check.equal(b:expand(1).xmax, 4)
  check.equal(b:list()[4], 4)
  check.equal(tostring(b), "bounds 1, 2, 3, 4")
  check.equal(moon.bounds(moon.point(1, 2):buffer(100)).xmin < 1, true)
  check.fails("bounds: expected bounds", moon.bounds, "x")
  check.equal(b.z, nil)
  check.fails("bounds have no `xmn`; did you mean `xmin`?", function() return b.xmn end)
  check.fails("west, south, east, north", moon.bounds, 1, 4, 3, 2)
end

tests["geometry"] = function()
  local g = moon.geometry("POLYGON ((0 0, 0 2, 2 2, 2 0, 0 0))")
  check.equal(g.type, "Polygon")
  check.equal(g:contains(moon.point(1, 1)), true)
  check.equal(g:intersects(moon.bounds(3, 3, 4, 4)), false)
  check.equal(g:intersection(moon.bounds(1, 1, 3, 3)):bounds().xmax, 2)
  check.equal(g:union(moon.bounds(1, 1, 3, 3)):bounds().xmax, 3)
  check.equal(g:difference(moon.bounds(0, 0, 1, 2)):bounds().xmin, 1)
  check.equal(g:centroid().x, 1)
  check.near(g:area(), 49.23e9, 0.3e9)
  check.near(moon.point(-34.9, -8):buffer(500):area(), math.pi * 500 ^ 2, 8000)
  check.equal(g:reproject("EPSG:3857").crs, "EPSG:3857")
  check.near(g:reproject("EPSG:3857"):bounds().xmax, 2, 1e-9)
  check.equal(g:equals(moon.geometry(g:geojson())), true)
  check.equal(moon.geometry { type = "Point", coordinates = { 1, 2 } }.y, 2)
  check.fails("EPSG:1", g.reproject, g, "EPSG:1")
  check.fails("geometry", moon.geometry, "POLYGON ((0 0")
  check.fails("a geometry has no `z`", function() return g.z end)
  check.fails("only points have", function() return g.x end)
  check.fails("a geometry has no `bufer`; did you mean `buffer`?", function() return g:bufer(1) end)
  check.fails("the longitude comes first), got -134.9", moon.point, -8, -134.9)
end

tests["types"] = function()
  check.fails("type.integer: no option most", moon.type.integer, 1, { most = 2 })
  check.fails("expected a list of values", moon.type.enum, 3)
  check.fails("udf: the first argument: expected a function", moon.udf, 3)
  check.fails("type.integer: the default: expected a whole number, got 1.5", moon.type.integer, 1.5)
  check.fails("type.number: the default: expected at least 0 and at most 1, got 2", moon.type.number, 2, { min = 0, max = 1 })
  check.fails("type.boolean: the default: expected a boolean, got the string \"no\"", moon.type.boolean, "no")
  check.fails("type.number: min: expected a number, got the string \"0\"", moon.type.number, 1, { min = "0" })
  check.fails("type.enum: the default: expected one of a, b, got the string \"c\"", moon.type.enum { "a", "b" }, "c")
  check.fails("udf: max_age: expected seconds", moon.udf, print, {}, { max_age = "soon" })
  check.fails("udf: no option maxage; did you mean `max_age`?", moon.udf, print, {}, { maxage = 1 })
end

tests["suggestions"] = function()
  check.fails("moon has no `read_rastr`; did you mean `read_raster`?", function() return moon.read_rastr end)
  local _, err = moon.try(function() return io.open("x") end)
  check.equal(err.message:find("a UDF has no io", 1, true) ~= nil, true)
  local b = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { red = 3, nir = 4 }, size = 8 })
  check.fails("a raster has no `ner`; did you mean `nir`? (it has its bands red, nir", function() return b.ner end)
  _, err = moon.try(function() return b.red > 5 end)
  check.equal(err.message:find("compared by methods", 1, true) ~= nil, true)
  check.fails("fields cannot be set", function() b.red = b.nir end)
  check.fails("get: row: expected a number, from 0, got nil", function() return b:get(1) end)
end

tests["error values"] = function()
  local _, err = moon.try(error, { code = 5 })
  check.equal(err.message, 'error raised with {"code":5}')
end

tests["load"] = function()
  check.equal(moon.load("Hello").name, "Hello")
  check.fails("does not read repositories", moon.load, "https://github.com/a/b")
end

return check.udf(tests)
