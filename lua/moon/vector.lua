--- Methods of tables beyond the first ones: geometry of all rows, and rows put together. Loaded when one is asked for.
---
--- ```lua
--- local towns = moon.table {
---   { name = "Olinda", n = 3, geometry = moon.point(-34.86, -8.01) },
---   { name = "Recife", n = 7, geometry = moon.point(-34.88, -8.05) },
---   { name = "Natal", n = 2, geometry = moon.point(-35.21, -5.79) },
--- }
--- local around = towns:buffer(20000):rename { name = "centre" }:drop("n")
--- local near = towns:sjoin(around, "within")
--- assert(near:where("name = 'Olinda'"):count() == 2)
--- assert(towns:add("double", "n * 2"):sort("double").columns.double[1] == 4)
--- ```
---@class moon.Table
---@field simplify fun(self, tolerance: number, keep_topology?: boolean): moon.Table in units of the coordinates: `bounds:pixel_size()`; keep_topology (true) keeps polygons valid, and is slower. Vector tiles are simplified to the pixel by their encoder.
---@field reproject fun(self, crs: string): moon.Table
---@field buffer fun(self, metres: number, quad_segments?: integer): moon.Table each row through the UTM zone where it lies
---@field clip fun(self, to: moon.Bounds|moon.Geometry): moon.Table rows of which nothing is left are dropped
---@field intersection fun(self, with: moon.Geometry|moon.Bounds): moon.Table rows of which nothing is left are dropped
---@field difference fun(self, with: moon.Geometry|moon.Bounds): moon.Table rows of which nothing is left are dropped
---@field centroid fun(self): moon.Table
---@field surface_point fun(self): moon.Table a point within each geometry
---@field hull fun(self): moon.Table convex hulls
---@field envelope fun(self): moon.Table
---@field boundary fun(self): moon.Table
---@field valid fun(self): moon.Table geometries repaired where they were not valid
---@field explode fun(self): moon.Table a row for each part of multi-geometries
---@field area fun(self): number[] square metres on the ellipsoid: `t:add("area", t:area())`
---@field length fun(self): number[] metres on the ellipsoid
---@field bounds fun(self): moon.Bounds? of all rows
---@type moon, table
local moon, inner = ...
local c, core, base = inner.open "vector", inner.core, inner.table
local methods = c.methods
local type, pairs, ipairs, tostring, table = type, pairs, ipairs, tostring, table

local function bad(what, expected, got)
  core.raise("argument", what .. ": expected " .. expected .. ", got " .. core.show(got))
end

local function check_table(what, value)
  if core.kind(value) ~= "moon table" then bad(what, "a moon table", value) end
end

--- A name or a list of names, of columns that the table has.
local function check_names(what, t, names)
  if type(names) == "string" then names = { names } end
  if type(names) ~= "table" or #names == 0 then bad(what, "the name of a column or a list of names", names) end
  for _, name in ipairs(names) do base.column_number(t, name, what) end
  return names
end

local function quoted(name) return '"' .. name:gsub('"', '""') .. '"' end

--- Columns under other names.
---
--- ```lua
--- local t = moon.table { { a = 1, b = 2 } }:rename { a = "first" }
--- assert(table.concat(t.names, ",") == "first,b")
--- ```
---@param names table<string, string> old name = new name
---@return moon.Table
function methods.rename(t, names)
  if type(names) ~= "table" or getmetatable(names) then bad("rename", "a table { old = \"new\" }", names) end
  for old, new in pairs(names) do
    base.column_number(t, old, "rename")
    if type(new) ~= "string" then bad("rename: " .. old, "the new name", new) end
  end
  local all = t.names
  for i, name in ipairs(all) do all[i] = names[name] or name end
  return c.rename(t, all)
end

--- The table without these columns.
---
--- ```lua
--- assert(table.concat(moon.table({ { a = 1, b = 2, c = 3 } }):drop("a", "c").names, ",") == "b")
--- ```
---@param ... string
---@return moon.Table
function methods.drop(t, ...)
  local gone, left = {}, {}
  for _, name in ipairs(check_names("drop", t, type((...)) == "table" and (...) or { ... })) do gone[name] = true end
  for _, name in ipairs(t.names) do
    if not gone[name] then left[#left + 1] = name end
  end
  if #left == 0 then core.raise("argument", "drop: no column would be left") end
  return base.take(t, nil, left)
end

--- The first `n` rows, behind `offset` of them.
---
--- ```lua
--- assert(moon.table({ { a = 1 }, { a = 2 }, { a = 3 } }):limit(1, 1).columns.a[1] == 2)
--- ```
---@param n integer
---@param offset? integer
---@return moon.Table
function methods.limit(t, n, offset)
  if type(n) ~= "number" or not (n >= 0) then bad("limit", "a number of rows", n) end
  if offset ~= nil and (type(offset) ~= "number" or not (offset >= 0)) then bad("limit: offset", "a number of rows", offset) end
  local rows = {}
  offset = offset or 0
  for i = 1, math.min(n, t:count() - offset) do rows[i] = i + offset end
  return base.take(t, rows)
end

--- The table with a column more (or another in its place): an SQL expression over the columns, a list of values, a
--- function of a row, or one value for all rows (a number, boolean or geometry).
---
--- ```lua
--- local t = moon.table { { n = 3 }, { n = 7 } }
--- assert(t:add("double", "n * 2").columns.double[2] == 14)
--- assert(t:add("name", { "a", "b" }).columns.name[2] == "b")
--- assert(t:add("big", function(row) return row.n > 5 end).columns.big[2] == true)
--- assert(t:add("n", 1).columns.n[2] == 1)
--- ```
---@param name string
---@param what string|any[]|fun(row: table): any
---@return moon.Table
function methods.add(t, name, what)
  if type(name) ~= "string" or name == "" then bad("add", "the column's name", name) end
  local has = base.has_column(t, name)
  if type(what) == "string" then
    local rest = has and "* exclude (" .. quoted(name) .. ")" or "*"
    if has and #t.names == 1 then return moon.sql("select (" .. what .. ") as " .. quoted(name) .. " from t", { t = t }) end
    return moon.sql("select " .. rest .. ", (" .. what .. ") as " .. quoted(name) .. " from t", { t = t })
  end
  local n, values = t:count(), {}
  if type(what) == "function" then
    for i, row in ipairs(t:rows()) do values[i] = what(row) end
  elseif type(what) == "table" and not getmetatable(what) then
    values = what
    if table.maxn(what) > n then
      core.raise("argument", "add: " .. name .. ": " .. table.maxn(what) .. " values for " .. n .. " rows")
    end
  elseif what == nil then
    bad("add: " .. name, "an expression, a list, a function or a value", what)
  else
    for i = 1, n do values[i] = what end
  end
  local column = base.build({ [name] = values }, { name }, nil, n)
  if not has then return c.beside(t, nil, column, nil) end
  if #t.names == 1 then return column end
  return c.beside(methods.drop(t, name), nil, column, nil)
end

--- Rows of two tables side by side that agree in columns: a name, a list of names, or { left = "right" }. A row without
--- a value meets none. Columns of the other table whose names are taken get `_right` behind them.
---
--- ```lua
--- local towns = moon.table { { name = "Olinda", state = "PE" }, { name = "Natal", state = "RN" }, { name = "Bern" } }
--- local states = moon.table { { state = "PE", capital = "Recife" }, { state = "RN", capital = "Natal" } }
--- assert(towns:join(states, "state").columns.capital[1] == "Recife")
--- assert(towns:join(states, "state", { how = "left" }):count() == 3)
--- assert(towns:join(states, { name = "capital" }):count() == 1)
--- ```
---@param other moon.Table
---@param on string|string[]|table<string, string>
---@param options? { how?: "inner"|"left", columns?: string[] } columns of the other table
---@return moon.Table
function methods.join(t, other, on, options)
  check_table("join: the other table", other)
  core.options("join", options, "how", "columns")
  local how = options and options.how or "inner"
  if how ~= "inner" and how ~= "left" then bad("join: how", "\"inner\" or \"left\"", how) end
  local left, right = {}, {}
  if type(on) == "table" and #on == 0 then
    for a, b in pairs(on) do
      if type(b) ~= "string" then bad("join: on: " .. tostring(a), "the other table's column", b) end
      left[#left + 1], right[#right + 1] = a, b
    end
  else
    left = check_names("join: on", t, on)
    right = left
  end
  if #left == 0 then bad("join: on", "the names of the columns", on) end
  local function keys(of, names)
    local lists, n = {}, of:count()
    for k, name in ipairs(names) do lists[k] = base.column(of, name, "join: on") end
    return function(i)
      if #lists == 1 then return lists[1][i] end
      local parts = {}
      for k = 1, #lists do
        local v = lists[k][i]
        if v == nil then return nil end
        parts[k] = type(v):sub(1, 1) .. (#tostring(v)) .. ":" .. tostring(v)
      end
      return table.concat(parts)
    end, n
  end
  local left_key, n_left = keys(t, left)
  local right_key, n_right = keys(other, right)
  local index, left_rows, right_rows = {}, {}, {}
  for i = 1, n_right do
    local key = right_key(i)
    if key ~= nil then
      local list = index[key]
      if list then list[#list + 1] = i else index[key] = { i } end
    end
  end
  for i = 1, n_left do
    local key = left_key(i)
    local list = key ~= nil and index[key] or nil
    if list then
      for k = 1, #list do left_rows[#left_rows + 1], right_rows[#right_rows + 1] = i, list[k] end
    elseif how == "left" then
      left_rows[#left_rows + 1], right_rows[#right_rows + 1] = i, false
    end
  end
  local wanted, is_key = {}, {}
  for k, name in ipairs(right) do is_key[name] = left[k] == name end
  for _, name in ipairs(options and options.columns and check_names("join: columns", other, options.columns) or other.names) do
    if not is_key[name] then wanted[#wanted + 1] = name end
  end
  if #wanted == 0 then return base.take(t, left_rows) end
  return c.beside(t, left_rows, base.take(other, nil, wanted), right_rows)
end

--- A row for each value (or combination) of columns, in their order, with aggregates in SQL; without any, `n` counts.
---
--- ```lua
--- local t = moon.table { { kind = "a", n = 1 }, { kind = "b", n = 2 }, { kind = "a", n = 3 } }
--- assert(t:group("kind").columns.n[1] == 2)
--- local g = t:group("kind", { sum = "sum(n)", most = "max(n)" })
--- assert(g.columns.sum[1] == 4 and g.columns.most[2] == 2)
--- ```
---@param keys string|string[]
---@param aggregates? table<string, string> name = expression
---@return moon.Table
function methods.group(t, keys, aggregates)
  keys = check_names("group", t, keys)
  if aggregates == nil then aggregates = { n = "count(*)" } end
  if type(aggregates) ~= "table" then bad("group: aggregates", "a table { name = \"sum(n)\" }", aggregates) end
  local names, list, by = {}, {}, {}
  for i, key in ipairs(keys) do list[i], by[i] = quoted(key), tostring(i) end
  for name, expression in pairs(aggregates) do
    if type(name) ~= "string" or type(expression) ~= "string" then
      bad("group: aggregates", "a table { name = \"sum(n)\" }", type(name) == "string" and expression or name)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do list[#list + 1] = "(" .. aggregates[name] .. ") as " .. quoted(name) end
  by = table.concat(by, ", ")
  return moon.sql("select " .. table.concat(list, ", ") .. " from t group by " .. by .. " order by " .. by, { t = t })
end

--- One geometry for all rows, or for each value of columns; in the order in which the values come. Aggregates are SQL.
---
--- ```lua
--- local function square(x) return moon.geometry(("POLYGON ((%d 0, %d 0, %d 1, %d 1, %d 0))"):format(x, x + 1, x + 1, x, x)) end
--- local t = moon.table { { kind = "a", n = 1, geometry = square(0) }, { kind = "a", n = 2, geometry = square(1) },
---   { kind = "b", n = 3, geometry = square(5) } }
--- local d = t:dissolve("kind", { n = "sum(n)" })
--- assert(d:count() == 2 and d.columns.n[1] == 3 and d.columns.geometry[1]:equals(moon.geometry("POLYGON ((0 0, 2 0, 2 1, 0 1, 0 0))")))
--- assert(t:dissolve():count() == 1)
--- ```
---@param keys? string|string[]
---@param aggregates? table<string, string> name = expression
---@return moon.Table
function methods.dissolve(t, keys, aggregates)
  if not t.geometry then core.raise("argument", "dissolve: the table has no geometry") end
  if keys == nil then
    if aggregates ~= nil then bad("dissolve", "columns to dissolve by, with aggregates", keys) end
    return c.unite(t, nil, 1)
  end
  keys = check_names("dissolve", t, keys)
  local lists, groups, first, seen = {}, {}, {}, {}
  for k, name in ipairs(keys) do lists[k] = base.column(t, name, "dissolve") end
  for i = 1, t:count() do
    local parts = {}
    for k = 1, #lists do
      local v = lists[k][i]
      parts[k] = v == nil and "-" or type(v):sub(1, 1) .. #tostring(v) .. ":" .. tostring(v)
    end
    local key = table.concat(parts)
    if not seen[key] then
      first[#first + 1] = i
      seen[key] = #first
    end
    groups[i] = seen[key]
  end
  local made = c.beside(base.take(t, first, keys), nil, c.unite(t, groups, #first), nil)
  if aggregates == nil then return made end
  local figures = methods.group(methods.add(methods.drop(t, t.geometry), "dissolve ", groups), "dissolve ", aggregates)
  return c.beside(made, nil, methods.drop(figures, "dissolve "), nil)
end

--- Rows beside the rows of another table that they meet: "intersects" (or "within", "contains", "covers", "covered_by",
--- "touches", "crosses", "overlaps"). The geometry is that of this table; with `how = "left"` rows that meet none stay.
---
--- ```lua
--- local points = moon.table { { id = 1, geometry = moon.point(1, 1) }, { id = 2, geometry = moon.point(5, 5) } }
--- local zones = moon.table { { zone = "a", geometry = moon.geometry("POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))") } }
--- assert(points:sjoin(zones, "within").columns.zone[1] == "a")
--- assert(points:sjoin(zones, "within", { how = "left" }):count() == 2)
--- assert(zones:sjoin(points, "contains"):group("zone").columns.n[1] == 1)
--- ```
---@param other moon.Table
---@param predicate? string
---@param options? { how?: "inner"|"left" }
---@return moon.Table
function methods.sjoin(t, other, predicate, options)
  core.options("sjoin", options, "how")
  local how = options and options.how or "inner"
  if how ~= "inner" and how ~= "left" then bad("sjoin: how", "\"inner\" or \"left\"", how) end
  return c.sjoin(t, other, predicate == nil and "intersects" or predicate, how == "left")
end

--- Each row beside the nearest row of another table; `distance` names a column of metres between them.
---
--- ```lua
--- local towns = moon.table { { name = "Olinda", geometry = moon.point(-34.86, -8.01) } }
--- local ports = moon.table { { port = "Recife", geometry = moon.point(-34.88, -8.05) }, { port = "Natal", geometry = moon.point(-35.21, -5.79) } }
--- local t = towns:nearest(ports, { distance = "metres" })
--- assert(t.columns.port[1] == "Recife" and math.abs(t.columns.metres[1] - 4942) < 10)
--- assert(towns:nearest(ports, { max_distance = 100 }):count() == 0)
--- ```
---@param other moon.Table
---@param options? { max_distance?: number, distance?: string, how?: "inner"|"left" }
---@return moon.Table
function methods.nearest(t, other, options)
  core.options("nearest", options, "max_distance", "distance", "how")
  options = options or {}
  local how = options.how or "inner"
  if how ~= "inner" and how ~= "left" then bad("nearest: how", "\"inner\" or \"left\"", how) end
  return c.nearest(t, other, options.max_distance, options.distance, how == "left")
end

--- Numbers the clusters of the rows (DBSCAN): a row with `min_points` rows (itself counts) within `distance` metres
--- belongs to one, with all of those; rows that belong to none have no number.
---
--- ```lua
--- local t = moon.table { { geometry = moon.point(0, 0) }, { geometry = moon.point(0.001, 0) }, { geometry = moon.point(5, 5) } }
---   :cluster { distance = 500, min_points = 2 }
--- assert(t.columns.cluster[2] == 1 and t.columns.cluster[3] == nil)
--- ```
---@param options { distance: number, min_points?: integer, column?: string }
---@return moon.Table
function methods.cluster(t, options)
  if type(options) ~= "table" then bad("cluster", "{ distance = metres }", options) end
  core.options("cluster", options, "distance", "min_points", "column")
  return c.cluster(t, options.distance, options.min_points or 5, options.column or "cluster")
end

--- Counts rows in the cells of a grid: columns `n` and `geometry`. `size` is the side of a square, or the width of a
--- hexagon, in metres of the UTM zone where the rows lie, or in units of `crs`: with "EPSG:3857" all tiles share the grid.
---
--- ```lua
--- local t = moon.table { { geometry = moon.point(8.1, 47.1) }, { geometry = moon.point(8.1001, 47.1) }, { geometry = moon.point(8.2, 47.1) } }
--- local cells = t:grid(1000, { shape = "hexagon" })
--- assert(cells:count() == 2 and cells.columns.n[1] + cells.columns.n[2] == 3)
--- ```
---@param size number
---@param options? { shape?: "square"|"hexagon", crs?: string }
---@return moon.Table
function methods.grid(t, size, options)
  core.options("grid", options, "shape", "crs")
  local shape, crs = options and options.shape or "square", options and options.crs
  if shape ~= "square" and shape ~= "hexagon" then bad("grid: shape", "\"square\" or \"hexagon\"", shape) end
  if crs == nil then
    local all = methods.bounds(t)
    crs = all and c.utm((all.xmin + all.xmax) / 2, (all.ymin + all.ymax) / 2) or "EPSG:3857"
  end
  return c.grid(t, size, shape == "hexagon", crs)
end
