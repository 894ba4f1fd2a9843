--- The core of the library: a UDF, its types, its errors, its log. All other names are loaded when first used.
---
--- The environment is Lua 5.1 as LuaJIT runs it, with bit; os tells the time and nothing else, there is no io, debug or
--- package, and `load` takes text. Each run begins with fresh globals, and with the same `math.random` sequence: a result is
--- cached, so chance that differs from run to run would only show now and then (`math.randomseed` is there).
---
--- ```lua
--- local moon = require "moon"
--- return moon.udf(function(name) return "Hello from " .. name .. "!" end, { name = "Moongate" })
--- ```
---@class moon
---@type moon, table
local moon, inner = ...
local debug = inner.debug
local setmetatable, getmetatable, type, pairs, pcall, tostring = setmetatable, getmetatable, type, pairs, pcall, tostring

local c = inner.open "core"
inner.core = c

--- No data, for functions of `moon.map`: `if nir < 20 then return moon.nodata end`.
---@type number
moon.nodata = 0 / 0
--- JSON's null inside of tables, where nil would leave a hole.
moon.null = c.null
--- Writes a line to the log of the run; tables are written as JSON. `print` does the same with tabs.
---
--- ```lua
--- moon.log("bounds", { 1, 2 }, 3) -- bounds [1,2] 3
--- ```
---@type fun(...)
moon.log = c.log

---@class moon.Type
--- A type of a parameter. Called, it gets a default and limits: `moon.type.integer(12, { min = 0, max = 20, doc = "…" })`.
local Type = { __name = "type" }

local limits = { min = "number", max = "number", doc = "string", optional = "boolean" }
local kinds = { integer = "number", number = "number", boolean = "boolean", string = "string", list = "table", table = "table",
  date = "string" }

--- A default that the UDF itself could not be called with is told where it stands.
local function check_default(spec)
  local what, default, kind = "type." .. spec.type .. ": the default", spec.default, kinds[spec.type]
  if default == nil then return end
  local fits = kind == nil or type(default) == kind
  if not fits or (spec.type == "integer" and default % 1 ~= 0) then
    c.raise("argument", what .. ": expected " .. (spec.type == "integer" and "a whole number" or spec.type == "date" and
      'a text such as "2024-02-29"' or "a " .. spec.type) .. ", got " .. c.show(default))
  end
  if kind == "number" and (default < (spec.min or default) or default > (spec.max or default)) then
    c.raise("argument", what .. ": expected " .. (spec.min and "at least " .. spec.min or "") .. (spec.min and spec.max and " and " or "")
      .. (spec.max and "at most " .. spec.max or "") .. ", got " .. c.show(default))
  end
  if spec.type == "enum" then
    local texts = {}
    for i = 1, #spec.values do
      if spec.values[i] == default then return end
      texts[i] = tostring(spec.values[i])
    end
    c.raise("argument", what .. ": expected one of " .. table.concat(texts, ", ") .. ", got " .. c.show(default))
  end
end

function Type.__call(self, default, options)
  if self.type == "enum" and not self.values then
    if type(default) ~= "table" or #default == 0 then
      c.raise("argument", "type.enum: expected a list of values, got " .. c.show(default))
    end
    return setmetatable({ type = "enum", values = default }, Type)
  end
  if options ~= nil and type(options) ~= "table" then
    c.raise("argument", "type." .. self.type .. ": the second argument: expected a table of min, max, doc, optional, got "
      .. c.show(options))
  end
  local spec = { type = self.type, values = self.values, default = default }
  for key, value in pairs(options or {}) do
    if not limits[key] then
      c.raise("argument", "type." .. self.type .. ": no option " .. tostring(key) .. " (there are min, max, doc, optional)")
    end
    if type(value) ~= limits[key] then
      c.raise("argument", "type." .. self.type .. ": " .. key .. ": expected a " .. limits[key] .. ", got " .. c.show(value))
    end
    spec[key] = value
  end
  check_default(spec)
  return setmetatable(spec, Type)
end

--- The types of parameters: bounds, tile, integer, number, boolean, string, list, table, geometry, date, enum.
---
--- ```lua
--- local moon = require "moon"
--- local type = moon.type
--- return moon.udf(function(bounds, count, mode, area, day)
---   return { count = count, mode = mode, area = area and area:area(), day = day }
--- end, {
---   bounds = type.bounds({ -35, -9, -34, -8 }),
---   count = type.integer(12, { min = 0, max = 20, doc = "how many" }),
---   mode = type.enum { "fast", "exact" }("fast"),
---   area = type.geometry(nil, { optional = true }),
---   day = type.date("2024-02-29"),
--- })
--- ```
---@type table<string, moon.Type>
moon.type = setmetatable({}, { __index = function(t, name)
  local names = { "bounds", "tile", "integer", "number", "boolean", "string", "list", "table", "geometry", "date", "enum", "any" }
  for i = 1, #names do
    if names[i] == name then
      local made = setmetatable({ type = name }, Type)
      t[name] = made
      return made
    end
  end
  c.raise("argument", "moon.type has no `" .. tostring(name) .. "` (it has " .. table.concat(names, ", ") .. ")")
end })
inner.Type = Type

local UDF = { __name = "UDF" }

--- Seconds, or a text such as "90s".
local function check_duration(name, value, units)
  local fits = value == nil or (type(value) == "number" and value >= 0 and value % 1 == 0)
    or (type(value) == "string" and value:match("^%d+[" .. units .. "]?$"))
  if not fits then
    c.raise("argument", "udf: " .. name .. ": expected seconds, or a text such as \"90s\" or \"2m\", got " .. c.show(value))
  end
end

--- Makes a UDF of a function: its parameter names are the query parameters; `defaults` gives each a default (and with
--- it the type) or a type. A name without an entry is a required string.
---
--- ```lua
--- local moon = require "moon"
--- return moon.udf(function(bounds, scene, low, ...)
---   local others = ... -- all other parameters, by name
---   return { scene = scene, low = low, others = others }
--- end, { bounds = moon.type.tile, scene = "fd://L7_ETMs.tif", low = -0.2 }, { max_age = "12h", timeout = "10s" })
--- ```
---@param fn function
---@param defaults? table<string, any>
---@param options? { max_age?: string|number, timeout?: string|number, doc?: string }
---@return table udf what the file returns
function moon.udf(fn, defaults, options)
  if type(fn) ~= "function" then
    c.raise("argument", "udf: the first argument: expected a function, got " .. c.show(fn))
  end
  if defaults ~= nil and (type(defaults) ~= "table" or getmetatable(defaults) ~= nil) then
    c.raise("argument", "udf: the second argument: expected a table of defaults by name, got " .. c.show(defaults))
  end
  c.options("udf", options, "max_age", "timeout", "doc")
  if options then
    check_duration("max_age", options.max_age, "smhdw")
    check_duration("timeout", options.timeout, "smh")
  end
  return setmetatable({ fn = fn, defaults = defaults or {}, options = options or {} }, UDF)
end

--- What the UDF's file returned: its function and record.
function inner.udf_of(value)
  if type(value) == "function" then
    value = moon.udf(value)
  end
  if type(value) ~= "table" or getmetatable(value) ~= UDF then
    c.raise("udf_broken", "the file must end in `return moon.udf(…)`; it returned " .. (value == nil and "nothing" or c.show(value)))
  end
  return value.fn, value
end

--- The parameters of a function by name, and whether it takes `...`.
function inner.parameters(fn)
  local names = {}
  for i = 1, 128 do
    local name = debug.getlocal(fn, i)
    if not name then break end
    names[i] = name
  end
  return names, debug.getinfo(fn, "u").isvararg, debug.getinfo(fn, "S").linedefined
end

--- An answer with its own media type, status and headers.
---
--- ```lua
--- return moon.response("a,b\n1,2\n", "text/csv; charset=utf-8", 200, { ["X-Rows"] = "1" })
--- ```
---@param body string|table|nil
---@param media_type? string nil: the body is encoded like any result
---@param status? integer 200 to 599
---@param headers? table<string, string>
function moon.response(body, media_type, status, headers)
  if media_type ~= nil and type(media_type) ~= "string" then
    c.raise("argument", "response: type: expected a media type such as \"text/plain\", got " .. c.show(media_type))
  end
  if status ~= nil and type(status) ~= "number" then
    c.raise("argument", "response: status: expected a number, got " .. c.show(status))
  end
  if headers ~= nil and type(headers) ~= "table" then
    c.raise("argument", "response: headers: expected a table, got " .. c.show(headers))
  end
  return setmetatable({ body = body, type = media_type, status = status, headers = headers }, c.Response)
end

local function outcome(ok, ...)
  if ok then return ... end
  return nil, c.error_object((...))
end

--- Calls `fn(...)`. Gives its results, or nil and the error: an object with name, message, file, line, cause.
---
--- ```lua
--- local dem, err = moon.try(moon.read_raster, "fd://missing.tif", bounds)
--- if not dem then return err.name end
--- ```
function moon.try(fn, ...)
  if type(fn) ~= "function" then
    c.raise("argument", "try: the first argument: expected a function, got " .. c.show(fn))
  end
  return outcome(pcall(fn, ...))
end

--- A list of `fn(1)` to `fn(n)`, or of the numbers themselves: `moon.range(3)` is `{ 1, 2, 3 }`.
---
--- ```lua
--- local squares = moon.range(3, function(i) return i * i end)
--- assert(squares[3] == 9 and moon.range(3)[2] == 2)
--- ```
---@param n integer
---@param fn? fun(i: integer): any
---@return any[]
function moon.range(n, fn)
  if type(n) ~= "number" or n < 0 or n > 1e7 then
    c.raise("argument", "range: expected a number of items, got " .. c.show(n))
  end
  if fn ~= nil and type(fn) ~= "function" then
    c.raise("argument", "range: the second argument: expected a function, got " .. c.show(fn))
  end
  local list = {}
  for i = 1, n do
    if fn then list[i] = fn(i) else list[i] = i end
  end
  return list
end

-- A loop whose trace ended this often has run some 20,000 times, and LuaJIT is about to give it up.
local aborts_to_tell, most_told = 8, 3
local aborts, told = nil, 0

--- Hears of each trace (jit.attach): an author is told of hot loops that stay interpreted. It costs nothing where none ends.
function inner.on_trace(what, _, func, pc, why)
  if what ~= "abort" or told >= most_told then return end
  aborts = aborts or {}
  aborts[func] = (aborts[func] or 0) + 1
  if aborts[func] ~= aborts_to_tell then return end
  if not inner.tell_abort then inner.load "compiled" end
  if inner.tell_abort(func, pc, why) then told = told + 1 end
end
inner.jit.attach(inner.on_trace, "trace")
