local moon = require "moon"
local check = require "check"

local function rows()
  return moon.table { { id = 1, name = "Olinda", geometry = moon.point(-34.86, -8.01) },
    { id = 2, name = "=1+1", geometry = moon.point(10, 50) } }
end

local tests = {}

tests["each kind of value"] = function()
  check.equal(moon.encode({ a = 1, b = { true } }, "json"), '{"a":1,"b":[true]}')
  check.equal(moon.encode(42, "json"), "42")
  check.equal(moon.encode(false, "json"), "false")
  check.equal(moon.encode("<p>x", "html"):find("<p>x", 1, true) ~= nil, true)
  check.equal(moon.encode(moon.read_raster("fd://L7_ETMs.tif", nil, { bands = 1, size = { 8, 8 } }), "png"):sub(2, 4), "PNG")
  local point = moon.json.decode(moon.encode(moon.point(1, 2), "geojson")).features[1].geometry
  check.equal(point.coordinates[2], 2)
  check.equal(moon.encode(moon.bounds(1, 2, 3, 4), "json"), "[1,2,3,4]")
end

tests["options by name, with and without the format"] = function()
  check.equal(moon.encode(rows(), "csv", { delimiter = "semicolon" }):match("^[^\r\n]+"), "geometry;id;name")
  check.equal(moon.encode(rows(), "csv", { ["csv.delimiter"] = "pipe" }):match("^[^\r\n]+"), "geometry|id|name")
  check.equal(moon.encode(rows(), "csv", { bom = true }):sub(1, 3), "\239\187\191")
  local r = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { 3, 2, 1 }, size = { 64, 64 } })
  check.equal(#moon.encode(r, "jpg", { quality = 90 }) > #moon.encode(r, "jpg", { quality = 10 }), true)
  check.equal(moon.encode(r, "jpeg"), moon.encode(r, "jpg"), "an alias")
end

tests["the first format that holds the value"] = function()
  check.equal(moon.encode(rows(), "png,tsv"):match("^[^\r\n]+"), "geometry\tid\tname")
end

tests["a zip of named values"] = function()
  local zip = moon.encode({ rows = rows(), plain = { a = 1 }, page = "hello" }, "zip,csv,json,html", { ["csv.bom"] = true })
  check.equal(zip:sub(1, 4), "PK\3\4")
  for _, name in ipairs { "rows.csv", "plain.json", "page.html" } do
    check.equal(zip:find(name, 1, true) ~= nil, true, name)
  end
  check.equal(zip, moon.encode({ page = "hello", plain = { a = 1 }, rows = rows() }, "zip,csv,json,html", { ["csv.bom"] = 1 }))
end

tests["mvt needs a tile"] = function()
  check.fails("mvt is the format of a tile", moon.encode, rows(), "mvt")
  check.equal(#moon.encode(rows(), "mvt", { tile = moon.tile.bounds(0, 0, 0) }) > 20, true)
  check.fails("encode: tile: expected the bounds of a tile", moon.encode, rows(), "mvt", { tile = moon.bounds(1, 2, 3, 4) })
end

tests["mistakes are named"] = function()
  check.fails('encode: there is no format "docx" (there are png, ', moon.encode, rows(), "docx")
  check.fails("encode: the format: expected a text", moon.encode, rows())
  check.fails("encode: the value: expected a raster", moon.encode, nil, "json")
  check.fails("encode: the value: expected a raster", moon.encode, print, "json")
  check.fails("encode: png cannot hold a table; these can:", moon.encode, rows(), "png")
  check.fails('result "b": csv cannot hold a page', moon.encode, { a = rows(), b = "x" }, "zip,csv")
  check.fails('encode: jpg.quality is "101", expected an integer from 1 to 100', moon.encode,
    moon.read_raster("fd://L7_ETMs.tif", nil, { bands = 1, size = { 8, 8 } }), "jpg", { quality = 101 })
  check.fails('encode: csv has no option "qualty"', moon.encode, rows(), "csv", { qualty = 1 })
  check.fails("encode: option docx.a: there is no such format", moon.encode, rows(), "csv", { ["docx.a"] = 1 })
  check.fails("encode: option bom: expected a number, text or boolean, got a table", moon.encode, rows(), "csv", { bom = {} })
  check.fails("expected names as keys", moon.encode, rows(), "csv", { "bom" })
  check.fails("encode: the options: expected a table", moon.encode, rows(), "csv", 5)
  local ok, err = pcall(moon.encode, rows(), "png")
  check.equal(ok, false)
  check.equal(err.name, "not_acceptable")
end

return check.udf(tests)
