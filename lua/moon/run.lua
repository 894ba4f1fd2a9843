--- Other UDFs: `moon.run`, `moon.load`. A run takes place in another worker, with its own cache entry; what it read
--- counts as read by this run too.
---@type moon, table
local moon, inner = ...
local c, call = inner.core, inner.open("run").call

--- Runs a UDF by name and gives its value: a raster, table, geometry, string, number, plain table …
--- `z, x, y` among the arguments make it a tile call. Errors of the other UDF are raised here, with its name.
---
--- ```lua
--- local text = moon.run("Hello", { name = "you" })
--- ```
---@param name string
---@param arguments? table<string, any>
---@return any
function moon.run(name, arguments)
  return call(name, arguments)
end

---@class moon.UDF
---@field name string
---@field run fun(self, arguments?: table): any
local UDF = { __name = "UDF handle" }
UDF.__call = function(self, arguments) return call(self.name, arguments) end
UDF.__index = function(self, key)
  if key == "run" then return function(me, arguments) return call(me.name, arguments) end end
  if key == "utils" then
    c.raise("argument", "load: " .. self.name .. ".utils: modules of other UDFs cannot be loaded in this version; copy the file into"
      .. " this UDF's folder and require it")
  end
  c.raise("argument", "a UDF handle has no `" .. tostring(key) .. "` (it has name, run, and can be called)")
end

--- A handle of another UDF, that can be called with a table of arguments. Names of this server only: URLs, owners and
--- folders are refused.
---
--- ```lua
--- local hello = moon.load("Hello")
--- assert(hello { name = "you" } == "Hello from you!" and hello:run { name = "you" } == "Hello from you!")
--- ```
---@param name string
---@return moon.UDF
function moon.load(name)
  if type(name) ~= "string" then
    c.raise("argument", "load: expected a UDF's name, got " .. c.show(name))
  end
  if not name:match("^[A-Za-z][A-Za-z0-9_]*$") then
    c.raise("argument", "load: " .. c.show(name) .. ": expected the bare name of a UDF of this server; URLs, owners and folders"
      .. " cannot be loaded in this version")
  end
  return setmetatable({ name = name }, UDF)
end
