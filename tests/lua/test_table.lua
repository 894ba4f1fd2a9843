local moon = require "moon"
local check = require "check"

local function cities()
  return moon.table({
    { name = "Olinda", n = 3, big = false, geometry = moon.point(-34.86, -8.01) },
    { name = "Recife", n = 7.5, big = true, geometry = moon.point(-34.88, -8.05), tags = { "port" } },
    { name = "O'Brien", big = true, geometry = moon.point(10, 50) },
  })
end

local tests = {}

tests["rows and columns"] = function()
  local t = cities()
  check.equal(t:count(), 3)
  check.equal(table.concat(t.names, ","), "big,geometry,n,name,tags")
  check.equal(t.columns.name[1], "Olinda")
  check.equal(t.columns.n[3], nil)
  check.equal(t:rows()[2].n, 7.5)
  check.equal(t:rows()[2].tags, '["port"]')
  check.equal(t:rows()[1].geometry.x, -34.86)
  check.equal(#t:rows(2), 2)
  check.equal(t.crs, "EPSG:4326")
  check.fails("no column nam; did you mean `name`? (there are big, geometry", function() return t.columns.nam end)
  check.fails("a moon table has no `nam`", function() return t.nam end)
  check.equal(#t, t:count())
  check.fails("never changes", function() t.n = 1 end)
  check.fails("never changes", function() t.columns.n = {} end)
  check.fails("got a table with the key `a`; one row is", moon.table, { a = 1 })
  check.fails("where: no column m (there are", function() return t:where("m > 1") end)
  check.fails("sort: no column nme; did you mean `name`?", function() return t:sort("nme") end)
  check.equal(table.concat(moon.table({ { b = 1, a = 2 } }, { columns = { "b", "a" } }).names, ","), "b,a")
  check.fails("row 2: the string \"x\", but the rows before", moon.table, { { a = 1 }, { a = "x" } })
  check.fails("row 1: expected a table", moon.table, { 1 })
  check.equal(moon.table({}):count(), 0)
end

tests["where"] = function()
  local t = cities()
  local function count(...) return t:where(...):count() end
  check.equal(count("n > 2"), 2)
  check.equal(count("n > ? and n <= ?", 3, 8), 1)
  check.equal(count("n is null"), 1)
  check.equal(count("n is not null and not (name = 'Recife')"), 1)
  check.equal(count("name = 'O''Brien'"), 1)
  check.equal(count("name like '%ind%' or name like 'R_cife'"), 2)
  check.equal(count("name in ('Olinda', ?)", "Recife"), 2)
  check.equal(count("name not in ('Olinda')"), 2)
  check.equal(count("big = true"), 2)
  check.equal(count("\"name\" <> 'Olinda'"), 2)
  check.equal(count(function(row) return row.name:sub(1, 1) == "O" end), 2)
  check.equal(t:where("n > 2").columns.name[2], "Recife")
  for condition, part in pairs {
    ["n >"] = "a value is missing at the end", ["n"] = "a comparison is missing", ["n = 1 1"] = "is too much",
    ["n = ?"] = "more ? than values", ["x = 1"] = "no column", ["(n = 1"] = "a ) is missing", ["n = 'a"] = "a quote is not closed",
    ["n = 'a'"] = "a number is compared with a string", ["n ; 1"] = "is not understood",
  } do
    check.fails(part, t.where, t, condition)
  end
  check.fails("more values than ?", t.where, t, "n = 1", 2)
end

tests["sort, head, select"] = function()
  local t = cities()
  check.equal(t:sort("name").columns.name[1], "O'Brien")
  check.equal(t:sort("n", "desc").columns.name[1], "Recife")
  check.equal(t:sort("n").columns.name[3], "O'Brien")
  check.equal(t:head(1):count(), 1)
  check.equal(table.concat(t:select("name").names, ","), "name,geometry")
  check.fails("direction", t.sort, t, "n", "down")
end

tests["geometry of all rows"] = function()
  local t = cities()
  check.equal(t:clip { -35, -9, -34, -7 }:count(), 2)
  check.equal(t:clip { 100, 1, 101, 2 }:count(), 0)
  local m = t:reproject("EPSG:3857")
  check.equal(m.crs, "EPSG:3857")
  check.near(m:rows()[3].geometry.x, 1113194.9, 0.1)
  check.equal(m.columns.name[3], "O'Brien")
  check.near(m:clip({ -35, -9, -34, -7 }):count(), 2, 0)
  check.fails("no geometry", function() return moon.table({ { a = 1 } }):clip { 0, 0, 1, 1 } end)
  local countries = moon.read_vector("fd://countries-50m.json", { 5, 45, 11, 48 }, { layer = "countries" })
  local simple = countries:simplify(0.2)
  check.equal(simple:count(), countries:count())
  check.equal(#simple:rows()[1].geometry:wkt() < #countries:rows()[1].geometry:wkt(), true)
end

tests["read_vector"] = function()
  local t = moon.read_vector("fd://places.fgb", { 8, 46, 9, 47 }, { columns = { "name", "country" }, where = "country = 'CH'", limit = 5 })
  check.equal(t:count(), 5)
  check.equal(t.columns.country[5], "CH")
  check.equal(t.columns.geometry[1].type, "Point")
  check.fails("read_vector: no file fd://none.fgb", function() local x = moon.read_vector("fd://none.fgb") return x end)
  check.fails("countries, land", function() local x = moon.read_vector("fd://countries-50m.json") return x end)
end

tests["from_geojson"] = function()
  local t = moon.table.from_geojson {
    '{"type":"Feature","properties":{"a":1,"b":null},"geometry":{"type":"Point","coordinates":[1,2]}}',
    { type = "Point", coordinates = { 3, 4 } },
  }
  check.equal(t:count(), 2)
  check.equal(t.columns.a[1], 1)
  check.equal(t.columns.geometry[2].y, 4)
  check.fails("expected GeoJSON", moon.table.from_geojson, 3)
end

return check.udf(tests)
