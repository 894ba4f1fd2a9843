--- Tables: `moon.read_vector`, `moon.table`, and their methods. A table never changes; each method gives a new one.
---
--- ```lua
--- local t = moon.table {
---   { name = "Olinda", n = 3, geometry = moon.point(-34.86, -8.01) },
---   { name = "Recife", n = 7, geometry = moon.point(-34.88, -8.05) },
--- }
--- assert(t:count() == 2 and t.columns.name[2] == "Recife")
--- assert(t:where("n >= ? and name like 'R%'", 5):count() == 1)
--- assert(t:sort("n", "desc"):rows()[1].name == "Recife")
--- ```
---@class moon.Table
---@field columns table<string, any[]> `t.columns.name` is a list of the values of that column
---@field names string[] of the columns
---@field crs string? of the geometry
---@field count fun(self): integer
---@field rows fun(self, limit?: integer): table[]
---@type moon, table
local moon, inner = ...
local c, core = inner.open "table", inner.core
local methods = c.methods
inner.table = c -- for vector.lua
local type, pairs, ipairs, pcall, tostring, tonumber, table, unpack = type, pairs, ipairs, pcall, tostring, tonumber, table, unpack

--- Reads a vector file through OGR: the features that meet the bounds, some columns, a condition (OGR SQL). On a tile
--- call the bounds count with a vector tile's buffer (1/64 of the tile on each side), so that no symbol is cut at a seam.
---
--- ```lua
--- local places = moon.read_vector("fd://places.fgb", moon.bounds(-35, -8.2, -34.8, -7.9), { columns = { "name" }, limit = 10 })
--- ```
---@type fun(path: string, bounds?: moon.Bounds|number[], options?: { columns?: string[], where?: string, limit?: integer, layer?: string, source_crs?: string }): moon.Table
moon.read_vector = c.read_vector

--- Columns by name only (the geometry as well when it is named or `keep_geometry` is not false).
---
--- ```lua
--- local t = moon.table { { name = "Olinda", n = 3 }, { name = "Recife", n = 7 }, { name = "Natal" } }
--- assert(table.concat(t:select("n").names, ",") == "n")
--- ```
---@param ... string
---@return moon.Table
function methods.select(t, ...)
  local names = { ... }
  if type(names[1]) == "table" then names = names[1] end
  local geometry = t.geometry
  if geometry then
    local has = false
    for _, name in ipairs(names) do has = has or name == geometry end
    if not has then names[#names + 1] = geometry end
  end
  return c.take(t, nil, names)
end

--- The first `n` rows.
---
--- ```lua
--- local t = moon.table { { name = "Olinda", n = 3 }, { name = "Recife", n = 7 }, { name = "Natal" } }
--- assert(t:head(2):count() == 2)
--- ```
---@param n integer
---@return moon.Table
function methods.head(t, n)
  if type(n) ~= "number" or n < 0 then core.raise("argument", "head: expected a number of rows, got " .. core.show(n)) end
  local rows = {}
  for i = 1, math.min(n, t:count()) do rows[i] = i end
  return c.take(t, rows)
end

--- Rows by the values of a column, "asc" or "desc"; rows without a value come last. Equal ones keep their order.
---
--- ```lua
--- local t = moon.table { { name = "Olinda", n = 3 }, { name = "Recife", n = 7 }, { name = "Natal" } }
--- assert(t:sort("n", "desc").columns.name[1] == "Recife")
--- ```
---@param column string
---@param direction? "asc"|"desc"
---@return moon.Table
function methods.sort(t, column, direction)
  if direction ~= nil and direction ~= "asc" and direction ~= "desc" then
    core.raise("argument", "sort: direction: expected \"asc\" or \"desc\", got " .. core.show(direction))
  end
  local values, n = c.column(t, column, "sort")
  local rows, missing, kind = {}, {}, nil
  for i = 1, n do
    local v = values[i]
    if v == nil then
      missing[#missing + 1] = i
    else
      if type(v) == "boolean" then
        v = v and 1 or 0
        values[i] = v
      end
      kind = kind or type(v)
      if type(v) ~= kind or (kind ~= "number" and kind ~= "string") then
        core.raise("argument", "sort: column " .. column .. " holds values that have no order")
      end
      rows[#rows + 1] = i
    end
  end
  local descending = direction == "desc"
  table.sort(rows, function(a, b)
    local x, y = values[a], values[b]
    if x == y then return a < b end
    if descending then return x > y end
    return x < y
  end)
  for _, i in ipairs(missing) do rows[#rows + 1] = i end
  return c.take(t, rows)
end

local operators = { ["="] = "==", ["=="] = "==", ["<>"] = "~=", ["!="] = "~=", ["<"] = "<", ["<="] = "<=", [">"] = ">", [">="] = ">=" }

local function tokens_of(text)
  local list, at = {}, 1
  while true do
    at = text:find("%S", at)
    if not at then return list end
    local word = text:match("^[%a_][%w_]*", at)
    local number = text:match("^%-?%d+%.?%d*[eE]?[%+%-]?%d*", at) or text:match("^%-?%.%d+", at)
    local symbol = text:match("^[<>!=]=", at) or text:match("^<>", at) or text:match("^[=<>%(%),%?]", at)
    if word then
      list[#list + 1] = { kind = "word", text = word }
      at = at + #word
    elseif number and tonumber(number) then
      list[#list + 1] = { kind = "value", value = tonumber(number) }
      at = at + #number
    elseif symbol then
      list[#list + 1] = { kind = "symbol", text = symbol }
      at = at + #symbol
    else
      local quote = text:sub(at, at)
      if quote ~= "'" and quote ~= '"' then
        core.raise("argument", "where: `" .. text:sub(at, at + 10) .. "` is not understood in `" .. text .. "`")
      end
      local value, from = {}, at + 1
      while true do
        local stop = text:find(quote, from, true)
        if not stop then core.raise("argument", "where: a quote is not closed in `" .. text .. "`") end
        value[#value + 1] = text:sub(from, stop - 1)
        if text:sub(stop + 1, stop + 1) ~= quote then
          at = stop + 1
          break
        end
        value[#value + 1] = quote
        from = stop + 2
      end
      local joined = table.concat(value)
      list[#list + 1] = quote == "'" and { kind = "value", value = joined } or { kind = "word", text = joined, quoted = true }
    end
  end
end

local function like_pattern(text)
  return "^" .. text:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", function(ch)
    return ch == "%" and ".*" or "%" .. ch
  end):gsub("_", ".") .. "$"
end

--- A test of row numbers from an expression: column op value, and, or, not, is [not] null, [not] in (…), [not] like.
--- As in SQL, a comparison with a missing value is not true.
local function compile(t, text, arguments)
  local tokens, at, used = tokens_of(text), 1, 0
  local columns = {}
  local function fail(what)
    core.raise("argument", "where: " .. what .. " in `" .. text .. "`")
  end
  local function keyword(name)
    local token = tokens[at]
    if token and token.kind == "word" and not token.quoted and token.text:lower() == name then
      at = at + 1
      return true
    end
    return false
  end
  local function symbol(name)
    local token = tokens[at]
    if token and token.kind == "symbol" and token.text == name then
      at = at + 1
      return true
    end
    return false
  end
  local function value()
    local token = tokens[at]
    if not token then fail("a value is missing at the end") end
    at = at + 1
    if token.kind == "value" then
      local v = token.value
      return function() return v end
    elseif token.kind == "symbol" and token.text == "?" then
      used = used + 1
      if used > arguments.n then fail("there are more ? than values") end
      local v = arguments[used]
      return function() return v end
    elseif token.kind == "word" then
      local lower = token.text:lower()
      if not token.quoted and (lower == "true" or lower == "false") then
        return function() return lower == "true" end
      end
      local list = columns[token.text]
      if not list then
        list = c.column(t, token.text, "where")
        columns[token.text] = list
      end
      return function(i) return list[i] end
    end
    fail("`" .. token.text .. "` is not a value")
  end
  local expression
  local compare = {
    ["=="] = function(a, b) return a == b end, ["~="] = function(a, b) return a ~= b end,
    ["<"] = function(a, b) return a < b end, ["<="] = function(a, b) return a <= b end,
    [">"] = function(a, b) return a > b end, [">="] = function(a, b) return a >= b end,
  }
  local function comparison()
    if symbol "(" then
      local inside = expression()
      if not symbol ")" then fail("a ) is missing") end
      return inside
    end
    local left = value()
    if keyword "is" then
      local negated = keyword "not"
      if not keyword "null" then fail("`is` wants null") end
      return function(i) return (left(i) == nil) ~= negated end
    end
    local negated = keyword "not"
    if keyword "in" then
      if not symbol "(" then fail("`in` wants a list in parentheses") end
      local items = {}
      repeat items[#items + 1] = value() until not symbol ","
      if not symbol ")" then fail("a ) is missing") end
      return function(i)
        local v = left(i)
        if v == nil then return false end
        for k = 1, #items do
          if items[k](i) == v then return not negated end
        end
        return negated
      end
    end
    if keyword "like" then
      local right = value()
      return function(i)
        local v, pattern = left(i), right(i)
        if type(v) ~= "string" or type(pattern) ~= "string" then return false end
        return (v:match(like_pattern(pattern)) ~= nil) ~= negated
      end
    end
    local token = tokens[at]
    local name = token and token.kind == "symbol" and operators[token.text]
    if negated or not name then fail("a comparison is missing" .. (token and " before `" .. tostring(token.text or token.value) .. "`" or " at the end")) end
    at = at + 1
    local right, op = value(), compare[name]
    return function(i)
      local a, b = left(i), right(i)
      if a == nil or b == nil then return false end
      if type(a) ~= type(b) then fail("a " .. type(a) .. " is compared with a " .. type(b)) end
      return op(a, b)
    end
  end
  local function negation()
    if keyword "not" then
      local inside = negation()
      return function(i) return not inside(i) end
    end
    return comparison()
  end
  local function conjunction()
    local left = negation()
    while keyword "and" do
      local a, b = left, negation()
      left = function(i) return a(i) and b(i) end
    end
    return left
  end
  function expression()
    local left = conjunction()
    while keyword "or" do
      local a, b = left, conjunction()
      left = function(i) return a(i) or b(i) end
    end
    return left
  end
  local test = expression()
  if tokens[at] then fail("`" .. tostring(tokens[at].text or tokens[at].value) .. "` is too much") end
  if used < arguments.n then fail("there are more values than ?") end
  return test
end

--- The rows that meet a condition: text such as `"n >= ? and name like 'R%'"` with values for each `?`, or a function
--- of a row (a Lua table).
---
--- ```lua
--- local t = moon.table { { name = "Olinda", n = 3 }, { name = "Recife", n = 7 }, { name = "Natal" } }
--- assert(t:where("n is null or name in ('Recife')"):count() == 2)
--- assert(t:where("n >= ? and n < ?", 3, 5).columns.name[1] == "Olinda")
--- assert(t:where(function(row) return row.name:find("^R") end):count() == 1)
--- ```
---@param condition string|fun(row: table): boolean
---@param ... any
---@return moon.Table
function methods.where(t, condition, ...)
  local rows = {}
  if type(condition) == "function" then
    for i, row in ipairs(t:rows()) do
      if condition(row) then rows[#rows + 1] = i end
    end
  elseif type(condition) == "string" then
    local test = compile(t, condition, { n = select("#", ...), ... })
    for i = 1, t:count() do
      if test(i) then rows[#rows + 1] = i end
    end
  else
    core.raise("argument", "where: expected a condition or a function, got " .. core.show(condition))
  end
  return c.take(t, rows)
end

--- A chart of the table's columns: the same as `moon.chart(t, kind, options)`.
---
--- ```lua
--- local t = moon.table { { name = "Olinda", n = 3 }, { name = "Recife", n = 7 } }
--- assert(tostring(t:chart("bar", { x = "name", y = "n" })):find("Olinda", 1, true))
--- ```
---@param kind "bar"|"line"|"scatter"|"histogram"
---@param options table
---@return moon.Html svg
function methods.chart(t, kind, options) return moon.chart(t, kind, options) end

---@class moon.table
local M = {}

local function from_rows(rows, options)
  core.options("table", options, "crs", "columns")
  if type(rows) ~= "table" or getmetatable(rows) ~= nil then
    core.raise("argument", "table: expected a list of rows, got " .. core.show(rows))
  end
  if rows[1] == nil and next(rows) ~= nil then
    core.raise("argument", "table: expected a list of rows, got a table with the key `" .. tostring((next(rows))) .. "`"
      .. "; one row is { { name = value } }")
  end
  local names = options and options.columns
  if not names then
    local seen = {}
    names = {}
    for _, row in ipairs(rows) do
      if type(row) == "table" then
        for name in pairs(row) do
          if type(name) ~= "string" then
            core.raise("argument", "table: a row is a table of values by column name, got the key " .. core.show(name))
          end
          if not seen[name] then
            seen[name] = true
            names[#names + 1] = name
          end
        end
      end
    end
    table.sort(names)
  elseif type(names) ~= "table" then
    core.raise("argument", "table: columns: expected a list of names, got " .. core.show(names))
  end
  return c.build(rows, names, options and options.crs)
end

local function add_features(rows, from)
  if type(from) == "string" then from = moon.json.decode(from) end
  if type(from) ~= "table" then
    core.raise("argument", "table.from_geojson: expected GeoJSON, got " .. core.show(from))
  end
  if from.type == "FeatureCollection" then
    for _, feature in ipairs(from.features or {}) do add_features(rows, feature) end
  elseif from.type == "Feature" then
    local row = {}
    if type(from.properties) == "table" then
      for name, v in pairs(from.properties) do row[name] = v end
    end
    if type(from.geometry) == "table" then row.geometry = moon.geometry(from.geometry) end
    rows[#rows + 1] = row
  elseif from.type then
    rows[#rows + 1] = { geometry = moon.geometry(from) }
  else
    for _, item in ipairs(from) do add_features(rows, item) end
  end
end

--- A table of the features of GeoJSON: text, a decoded table, or a list of either.
---
--- ```lua
--- local t = moon.table.from_geojson('{"type":"Feature","properties":{"a":1},"geometry":{"type":"Point","coordinates":[1,2]}}')
--- assert(t.columns.a[1] == 1 and t:rows()[1].geometry.x == 1)
--- ```
---@param from string|table
---@return moon.Table
function M.from_geojson(from)
  local rows = {}
  add_features(rows, from)
  return from_rows(rows)
end

--- A table of columns: lists of values, as long as the longest (nil where a list has none).
---
--- ```lua
--- local t = moon.table.from_columns({ name = { "Olinda", "Recife" }, n = { 3, 7 } }, { columns = { "name", "n" } })
--- assert(t:count() == 2 and t.columns.n[2] == 7 and t.names[1] == "name")
--- ```
---@param columns table<string, any[]>
---@param options? { crs?: string, columns?: string[] } columns: their order
---@return moon.Table
function M.from_columns(columns, options)
  core.options("table.from_columns", options, "crs", "columns")
  if type(columns) ~= "table" or getmetatable(columns) ~= nil then
    core.raise("argument", "table.from_columns: expected a table of lists by name, got " .. core.show(columns))
  end
  local names, n = {}, 0
  for name, list in pairs(columns) do
    if type(name) ~= "string" then
      core.raise("argument", "table.from_columns: expected names as keys, got " .. core.show(name))
    end
    if type(list) ~= "table" or getmetatable(list) ~= nil then
      core.raise("argument", "table.from_columns: " .. name .. ": expected a list of values, got " .. core.show(list))
    end
    names[#names + 1] = name
    n = math.max(n, table.maxn(list))
  end
  table.sort(names)
  local order = options and options.columns
  for _, name in ipairs(type(order) == "table" and order or {}) do
    if columns[name] == nil then core.raise("argument", "table.from_columns: columns: there is no " .. core.show(name)) end
  end
  return c.build(columns, order or names, options and options.crs, n)
end

local readers = {
  parquet = "read_parquet($file)", geoparquet = "read_parquet($file)", csv = "read_csv($file)", tsv = "read_csv($file)",
  psv = "read_csv($file, delim = '|')", txt = "read_csv($file)", json = "read_json($file)", ndjson = "read_json($file)",
  jsonl = "read_json($file)",
}

--- Reads a file of rows: Parquet, CSV (tsv, psv, txt) and JSON by DuckDB, anything else by OGR (`moon.read_vector`).
--- `where` is SQL, with `values` for its parameters. `geometry = { "lng", "lat" }` makes points of two columns.
---
--- ```lua
--- local t = moon.table.read("fd://places.fgb", { columns = { "name" }, where = "country = 'CH'", limit = 3 })
--- assert(t:count() == 3)
--- ```
---@param path string
---@param options? { columns?: string[], where?: string, values?: table<string, any>, limit?: integer, bounds?: moon.Bounds, geometry?: string[], layer?: string }
---@return moon.Table
function M.read(path, options)
  core.options("table.read", options, "columns", "where", "values", "limit", "bounds", "geometry", "layer")
  options = options or {}
  if type(path) ~= "string" then
    core.raise("argument", "table.read: expected a path such as \"fd://places.parquet\", got " .. core.show(path))
  end
  local reader = readers[(path:gsub("%.gz$", ""):match("%.(%w+)$") or ""):lower()]
  if not reader then
    if options.values or options.geometry then
      core.raise("argument", "table.read: " .. (options.values and "values" or "geometry") .. ": only for Parquet, CSV and JSON")
    end
    return c.read_vector(path, options.bounds, { columns = options.columns, where = options.where, limit = options.limit, layer = options.layer })
  end
  if options.layer then core.raise("argument", "table.read: layer: " .. path .. " has no layers") end
  local values, list, conditions = { file = moon.file(path) }, {}, {}
  local function quoted(name)
    if type(name) ~= "string" then core.raise("argument", "table.read: columns: expected names, got " .. core.show(name)) end
    return '"' .. name:gsub('"', '""') .. '"'
  end
  for name, value in pairs(options.values or {}) do values[name] = value end
  for i, name in ipairs(options.columns or {}) do list[i] = quoted(name) end
  if #list == 0 then list[1] = "*" end
  local lng, lat
  if options.geometry then
    if type(options.geometry) ~= "table" then
      core.raise("argument", "table.read: geometry: expected { \"lng\", \"lat\" }, got " .. core.show(options.geometry))
    end
    lng, lat = quoted(options.geometry[1]), quoted(options.geometry[2])
    list[#list + 1] = "ST_Point(" .. lng .. "::double, " .. lat .. "::double) as geometry"
  end
  if options.where ~= nil then
    if type(options.where) ~= "string" then core.raise("argument", "table.read: where: expected SQL, got " .. core.show(options.where)) end
    conditions[1] = "(" .. options.where .. ")"
  end
  if options.bounds then
    local b = moon.bounds(options.bounds)
    values.xmin_, values.ymin_, values.xmax_, values.ymax_ = b.xmin, b.ymin, b.xmax, b.ymax
    conditions[#conditions + 1] = lng and (lng .. " between $xmin_ and $xmax_ and " .. lat .. " between $ymin_ and $ymax_")
      or "ST_Intersects(geometry, ST_MakeEnvelope($xmin_, $ymin_, $xmax_, $ymax_))"
  end
  if options.limit ~= nil and (type(options.limit) ~= "number" or options.limit < 0) then
    core.raise("argument", "table.read: limit: expected a number of rows, got " .. core.show(options.limit))
  end
  return moon.sql("select " .. table.concat(list, ", ") .. " from " .. reader
    .. (#conditions > 0 and " where " .. table.concat(conditions, " and ") or "")
    .. (options.limit and (" limit %d"):format(options.limit) or ""), values)
end

--- Makes a table of rows: geometries, numbers, strings, booleans; nested tables become JSON text. Columns are in the order
--- of their names unless `columns` lists them.
---
--- ```lua
--- local t = moon.table({ { n = 1, geometry = moon.point(1, 2) }, { n = 2 } }, { columns = { "n", "geometry" } })
--- assert(t:count() == 2 and t.columns.n[2] == 2 and t.crs == "EPSG:4326")
--- ```
---@overload fun(rows: table[], options?: { crs?: string, columns?: string[] }): moon.Table
moon.table = setmetatable(M, { __call = function(_, rows, options) return from_rows(rows, options) end })
