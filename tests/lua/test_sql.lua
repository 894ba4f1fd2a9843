local moon = require "moon"
local check = require "check"

local function places()
  return moon.table {
    { name = "Olinda", n = 3, geometry = moon.point(-34.86, -8.01) },
    { name = "Recife", n = 7, geometry = moon.point(-34.88, -8.05) },
    { name = "Natal" },
  }
end

local tests = {}

tests["values of every kind"] = function()
  local t = moon.sql("select $a + 1 a, $b || '!' b, $c c, $d d, st_x($e) e, list_sum($f) f, $g is null g",
    { a = 41, b = "it's", c = true, d = 0.5, e = moon.point(1.5, 2), f = { 1, 2, 3.5 }, g = moon.null })
  local row = t:rows()[1]
  check.equal(row.a, 42)
  check.equal(row.b, "it's!")
  check.equal(row.c, true)
  check.equal(row.d, 0.5)
  check.equal(row.e, 1.5)
  check.equal(row.f, 6.5)
  check.equal(row.g, true)
  check.equal(moon.sql("select ? * ? as x", { 6, 7 }).columns.x[1], 42, "by position")
end

tests["tables are views, and answers are tables like any other"] = function()
  local p = places()
  local t = moon.sql("select name, geometry, n from p where n is not null order by n desc", { p = p })
  check.equal(t:count(), 2)
  check.equal(t.columns.name[1], "Recife")
  check.equal(t.crs, "EPSG:4326")
  check.equal(t:where("n >= ?", 5):count(), 1)
  check.equal(moon.sql("select count(*) c from t a join t b on a.n <= b.n", { t = t }).columns.c[1], 3, "of an answer")
  check.equal(moon.encode(t, "geojson"):find("Recife", 1, true) ~= nil, true)
  check.equal(moon.encode(t, "parquet"):sub(1, 4), "PAR1")
end

tests["mistakes in a call"] = function()
  local function fails(name, part, ...)
    local t, err = moon.try(moon.sql, ...)
    check.equal(t, nil, part)
    check.equal(err.name, name, err.message)
    check.equal(err.message:find(part, 1, true) ~= nil, true, err.message)
  end
  fails("argument", "expected a statement", 5)
  fails("argument", "a table of values by name", "select 1", "x")
  fails("argument", "$f", "select $f", { f = print })
  fails("argument", "$f", "select $f", { f = { a = 1 } })
  fails("argument", "$f", "select $f", { f = { 1, "x" } })
  fails("argument", "no value", "select $f")
  fails("argument", "has no $g", "select 1", { g = 1 })
  fails("no_file", "fd://none.csv", "from read_csv($f)", { f = moon.file("fd://none.csv") })
  fails("sql", "line 2, column 3", "select 1,\n  nope")
  for _, path in ipairs { "/etc/passwd", "", "fd:/x", "file:///etc/passwd" } do
    local f, err = moon.try(moon.file, path)
    check.equal(f, nil, path)
    check.equal(err.name, "argument", path)
  end
end

return check.udf(tests)
