local moon = require "moon"
local check = require "check"

local function towns()
  return moon.table {
    { name = "Olinda", state = "PE", n = 3, geometry = moon.point(-34.86, -8.01) },
    { name = "Recife", state = "PE", n = 7.5, geometry = moon.point(-34.88, -8.05) },
    { name = "Natal", state = "RN", geometry = moon.point(-35.21, -5.79) },
    { name = "Nowhere", n = 1 },
  }
end

local function square(x, y, side)
  return moon.geometry(("POLYGON ((%g %g, %g %g, %g %g, %g %g, %g %g))"):format(x, y, x + side, y, x + side, y + side, x, y + side, x, y))
end

local tests = {}

tests["columns: rename, drop, limit, add"] = function()
  local t = towns()
  check.equal(table.concat(t:rename { name = "town", n = "count" }.names, ","), "geometry,count,town,state")
  check.equal(t:rename { geometry = "shape" }.geometry, "shape")
  check.equal(t:rename { geometry = "shape" }.crs, "EPSG:4326")
  check.fails("column n twice", t.rename, t, { name = "n" })
  check.fails("rename: no column nme; did you mean `name`?", t.rename, t, { nme = "a" })
  check.fails("rename: n: expected the new name, got 3", t.rename, t, { n = 3 })
  check.equal(table.concat(t:drop("n", "state").names, ","), "geometry,name")
  check.equal(t:drop("geometry").crs, nil)
  check.fails("drop: no column would be left", t.drop, t, t.names)
  check.equal(t:limit(2, 1).columns.name[1], "Recife")
  check.equal(t:limit(10, 3):count(), 1)
  check.equal(t:limit(10, 30):count(), 0)
  check.fails("limit: expected a number of rows, got -1", t.limit, t, -1)
  check.equal(t:add("m", "n + 1").columns.m[2], 8.5)
  check.equal(t:add("n", "n + 1").columns.n[1], 4)
  check.equal(t:add("m", "n + 1").crs, "EPSG:4326")
  check.equal(t:add("m", { nil, "b" }).columns.m[2], "b")
  check.equal(t:add("m", { nil, "b" }).columns.m[1], nil)
  check.equal(t:add("m", function(row) return #row.name end).columns.m[4], 7)
  check.equal(t:add("m", true).columns.m[3], true)
  check.equal(t:drop("geometry"):add("geometry", moon.point(1, 2)).columns.geometry[2].y, 2)
  check.equal(t:add("geometry", moon.point(1, 2)).columns.geometry[4].x, 1)
  check.fails("add: m: 5 values for 4 rows", t.add, t, "m", { 1, 2, 3, 4, 5 })
  check.fails("nope", t.add, t, "m", "nope + 1")
  check.fails("add: m: expected an expression", t.add, t, "m", nil)
end

tests["from_columns, read"] = function()
  local t = moon.table.from_columns { a = { 1, nil, 3 }, b = { "x" }, geometry = { moon.point(1, 2) } }
  check.equal(t:count(), 3)
  check.equal(t.columns.a[3], 3)
  check.equal(t.columns.b[2], nil)
  check.equal(t.crs, "EPSG:4326")
  check.equal(moon.table.from_columns({}):count(), 0)
  check.fails("b: expected a list of values, got 3", moon.table.from_columns, { b = 3 })
  check.fails("there is no the string \"c\"", moon.table.from_columns, { b = { 1 } }, { columns = { "c" } })
  check.fails("column a, row 2: the string \"x\", but the rows before", moon.table.from_columns, { a = { 1, "x" } })
  local places = moon.table.read("fd://places.fgb", { bounds = { 8, 46, 9, 47 }, columns = { "name" }, limit = 3 })
  check.equal(places:count(), 3)
  check.fails("no file fd://none.parquet", moon.table.read, "fd://none.parquet")
  check.fails("values: only for Parquet", moon.table.read, "fd://places.fgb", { values = {} })
  check.fails("expected a path", moon.table.read, 3)
end

tests["a table that SQL made has all methods"] = function()
  check.equal(moon.sql("select 1 as a union all select 2"):where("a > 1"):count(), 1)
  check.equal(moon.sql("select 1 as a"):rename { a = "b" }.names[1], "b")
end

tests["group"] = function()
  local t = towns():drop("geometry")
  local g = t:group("state")
  check.equal(g:count(), 3)
  check.equal(g.columns.n[1], 2)
  g = t:group({ "state" }, { sum = "sum(n)", first = "min(name)" })
  check.equal(g.columns.sum[1], 10.5)
  check.equal(g.columns.first[2], "Natal")
  check.fails("group: no column stat; did you mean `state`?", t.group, t, "stat")
  check.fails("group: aggregates: expected", t.group, t, "state", { n = 3 })
  check.fails("sql: ", t.group, t, "state", { n = "sum(" })
end

tests["join"] = function()
  local t = towns()
  local states = moon.table { { state = "PE", name = "Pernambuco" }, { state = "RN", name = "Rio Grande do Norte" }, { state = "PE", name = "again" } }
  local j = t:join(states, "state")
  check.equal(j:count(), 5)
  check.equal(j.columns.name_right[1], "Pernambuco")
  check.equal(j.columns.name_right[2], "again")
  check.equal(j.columns.name[3], "Recife")
  check.equal(j.crs, "EPSG:4326")
  j = t:join(states, "state", { how = "left" })
  check.equal(j:count(), 6)
  check.equal(j.columns.name_right[6], nil)
  check.equal(j.columns.name[6], "Nowhere")
  check.equal(t:join(states, { name = "state" }):count(), 0)
  check.equal(t:join(t:select("name", "state"):drop("geometry"), { "name", "state" }):count(), 3)
  check.equal(states:join(t, "state", { columns = { "geometry" } }).crs, "EPSG:4326")
  check.fails("join: on: no column stat", t.join, t, states, "stat")
  check.fails("join: how: expected \"inner\" or \"left\", got the string \"outer\"", t.join, t, states, "state", { how = "outer" })
  check.fails("join: the other table: expected a moon table, got a table", t.join, t, {}, "state")
  check.fails("no option hwo", t.join, t, states, "state", { hwo = 1 })
end

tests["sjoin"] = function()
  local points, zones = towns(), moon.table {
    { zone = "a", geometry = square(-35, -9, 1) }, { zone = "b", geometry = square(-34.9, -8.1, 0.5) }, { zone = "none" },
  }
  local j = points:sjoin(zones, "within")
  check.equal(table.concat(j.columns.zone, ","), "a,b,a,b")
  check.equal(table.concat(j.columns.name, ","), "Olinda,Olinda,Recife,Recife")
  check.equal(table.concat(j.names, ","), "geometry,n,name,state,zone")
  j = points:sjoin(zones, "within", { how = "left" })
  check.equal(j:count(), 6)
  check.equal(j.columns.zone[5], nil)
  check.equal(j.columns.name[6], "Nowhere")
  check.equal(zones:sjoin(points, "contains"):count(), 4)
  check.equal(zones:sjoin(zones):count(), 4)
  check.equal(points:reproject("EPSG:3857"):sjoin(zones):count(), 4)
  check.fails("sjoin: predicate: expected one of \"intersects\"", points.sjoin, points, zones, "inside")
  check.fails("sjoin: the other table: expected a moon table, got 3", points.sjoin, points, 3)
  check.fails("sjoin: the table has no geometry", function() return points:drop("geometry"):sjoin(zones) end)
end

tests["nearest, distance"] = function()
  local t = towns()
  local j = t:nearest(t:drop("n", "state"):rename { name = "other" }, { distance = "metres", how = "left" })
  check.equal(table.concat(j.columns.other, ","), "Olinda,Recife,Natal")
  check.equal(j.columns.metres[1], 0)
  check.equal(j.columns.metres[4], nil)
  check.near(moon.point(-34.9, -8):distance(moon.point(-34.88, -8.05)), 5953.106979349092, 1e-6)
  check.near(square(8, 46, 1):distance(moon.point(7.9, 46.5)), 7676.257268466375, 8)
  check.equal(moon.geometry("POINT EMPTY"):distance(moon.point(1, 2)), nil)
  check.fails("nearest: distance: the table has a column n", t.nearest, t, t, { distance = "n" })
  check.fails("nearest: max_distance: expected metres, from 0, got -1", t.nearest, t, t, { max_distance = -1 })
  check.fails("distance: expected a geometry or bounds, got 3", function() return moon.point(1, 2):distance(3) end)
end

tests["geometry of all rows"] = function()
  local t = towns()
  local b = t:buffer(1000)
  check.near(b:area()[1], math.pi * 1e6, 5e4)
  check.equal(b:area()[4], nil)
  check.equal(b:count(), 4)
  check.equal(b.columns.name[2], "Recife")
  check.near(b:length()[1], 2 * math.pi * 1000, 50)
  check.near(moon.table({ { geometry = square(8, 46, 1) } }):area()[1], 8532776592.456238, 1)
  check.near(square(8, 46, 1):area(), 8532776592.456238, 1)
  check.near(square(8, 46, 1):length(), 375840.43730833626, 1e-3)
  check.near(moon.point(-34.9, -8):buffer(1000):reproject("EPSG:3857"):area(), math.pi * 1e6, 5e4)
  check.equal(t:intersection(square(-35, -9, 1)):count(), 2)
  check.equal(t:difference(square(-35, -9, 1)):count(), 1)
  check.equal(t:clip(square(-35, -9, 2)):count(), 2)
  check.equal(b:centroid().columns.geometry[1].type, "Point")
  check.equal(b:envelope().columns.geometry[1].type, "Polygon")
  check.equal(b:hull():boundary().columns.geometry[1].type, "LineString")
  check.equal(b:surface_point():sjoin(b, "within"):count() >= 3, true)
  check.near(t:bounds().xmin, -35.21, 1e-9)
  check.near(t:reproject("EPSG:3857"):bounds().ymax, -5.79, 1e-9)
  check.equal(moon.table({ { a = 1, geometry = moon.geometry("POINT EMPTY") } }):bounds(), nil)
  local bow = moon.table { { geometry = moon.geometry("POLYGON ((0 0, 4 4, 4 0, 0 4, 0 0))") } }
  check.equal(bow:valid().columns.geometry[1].type, "MultiPolygon")
  check.equal(bow:valid():explode():count(), 2)
  check.equal(t:explode():count(), 4)
  check.fails("buffer: expected a distance in metres, got the string \"a\"", t.buffer, t, "a")
  check.fails("buffer: segments: expected 1 to 64, got 100", t.buffer, t, 1, 100)
  check.fails("intersection: expected a geometry or bounds, got nil", function() return t:intersection() end)
  check.fails("a moon table has no `bufer`; did you mean `buffer`?", function() return t:bufer(1) end)
end

tests["dissolve"] = function()
  local t = moon.table {
    { k = "b", n = 1, geometry = square(0, 0, 1) }, { k = "a", n = 2, geometry = square(5, 5, 1) },
    { k = "b", n = 3, geometry = square(1, 0, 1) }, { n = 4, geometry = square(9, 9, 1) }, { k = "a", n = 5 },
  }
  local d = t:dissolve("k", { sum = "sum(n)" })
  check.equal(d:count(), 3)
  check.equal(d.columns.k[1], "b")
  check.equal(d.columns.sum[1], 4)
  check.equal(d.columns.sum[2], 7)
  check.equal(d.columns.k[3], nil)
  check.equal(d.columns.geometry[1]:equals(moon.geometry("POLYGON ((0 0, 2 0, 2 1, 0 1, 0 0))")), true)
  check.equal(t:dissolve():count(), 1)
  check.equal(t:dissolve().columns.geometry[1].type, "MultiPolygon")
  check.fails("dissolve: no column z", t.dissolve, t, "z")
  check.fails("dissolve: the table has no geometry", function() return t:drop("geometry"):dissolve("k") end)
end

tests["clusters and grids"] = function()
  local rows = {}
  for i = 1, 20 do rows[i] = { geometry = moon.point(8 + i * 0.001, 47) } end
  for i = 21, 30 do rows[i] = { geometry = moon.point(9 + i * 0.001, 47) } end
  rows[31] = { geometry = moon.point(10, 50) }
  local t = moon.table(rows)
  local labels = t:cluster({ distance = 200, min_points = 3 }).columns.cluster
  check.equal(labels[1], 1)
  check.equal(labels[20], 1)
  check.equal(labels[30], 2)
  check.equal(labels[31], nil)
  check.equal(t:cluster({ distance = 200, min_points = 3, column = "c" }):dissolve("c"):count(), 3)
  for _, shape in ipairs { "square", "hexagon" } do
    local cells, n = t:grid(2000, { shape = shape }), 0
    for _, v in ipairs(cells.columns.n) do n = n + v end
    check.equal(n, 31, shape)
    check.equal(cells.crs, "EPSG:4326")
    check.near(cells:area()[1], (shape == "square" and 1 or math.sqrt(3) / 2) * 4e6, 2e4, shape)
    local j = t:sjoin(cells)
    check.equal(j:count(), 31, shape)
  end
  check.equal(moon.table({}):add("geometry", {}):count(), 0)
  check.fails("cluster: distance: expected metres, above 0, got nil", t.cluster, t, {})
  check.fails("grid: size: expected a size above 0, got 0", t.grid, t, 0)
  check.fails("grid: shape", t.grid, t, 1, { shape = "hex" })
end

tests["table_to_tile"] = function()
  local box = moon.bounds(8, 46, 9, 47)
  local t = moon.table_to_tile(box, "fd://places.fgb", { columns = { "name" }, clip = true })
  check.equal(table.concat(t.names, ","), "name,geometry")
  check.equal(t:count(), moon.read_vector("fd://places.fgb", box):count())
  check.equal(moon.table_to_tile(moon.tile.bounds(3, 4, 2), "fd://places.fgb", { min_zoom = 4 }):count(), 0)
  check.equal(moon.table_to_tile(moon.tile.bounds(3, 4, 2), "fd://places.fgb", { min_zoom = 3 }):count() > 100, true)
  check.fails("table_to_tile: min_zoom: expected 0 to 24, got 99", moon.table_to_tile, box, "fd://places.fgb", { min_zoom = 99 })
  check.fails("table_to_tile: columns: expected a list of names", moon.table_to_tile, box, "fd://places.fgb", { columns = "name" })
  check.fails("table_to_tile: path: expected a folder or a file", moon.table_to_tile, box, 3)
  check.fails("no file fd://nowhere/_sample", moon.table_to_tile, box, "fd://nowhere/")
  check.fails("no file fd://none.parquet", moon.table_to_tile, box, "fd://none.parquet")
  check.fails("no option zoom", moon.table_to_tile, box, "fd://places.fgb", { zoom = 3 })
end

return check.udf(tests)
