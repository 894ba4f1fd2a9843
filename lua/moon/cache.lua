--- Values of functions, kept: `moon.cache`. What a cached function read counts as read by the run that called it, and
--- what it printed is printed again, whether it ran or not.
---@type moon, table
local moon, inner = ...
local c, cache = inner.core, inner.open("cache")
local ask, keep, drop, error_object = cache.ask, cache.keep, cache.drop, c.error_object
local pcall, xpcall, error, rawget, type, setmetatable = pcall, xpcall, error, rawget, type, setmetatable

-- Lua's own and the library's, by value: part of a key by their names. Only what this list names: an author may have
-- put something else in the place of it.
local known = setmetatable({}, { __mode = "k" })
local cached_of = setmetatable({}, { __mode = "k" })
do
  local libraries = { string = string, table = table, math = math, bit = bit, os = os, coroutine = coroutine }
  local is_library = cache.is_library
  for name, library in pairs(libraries) do
    known[library] = name
    for key, value in pairs(library) do
      if type(value) == "function" and is_library(value) then known[value] = name .. "." .. key end
    end
  end
  for key, value in pairs(_G) do
    if type(value) == "function" and is_library(value) then known[value] = key end
  end
  known[_G], known[moon] = "_G", "moon"
end
cache.set_up(known, cached_of)

local function keep_or_drop(call, ...)
  local function outcome(ok, ...)
    if ok then return ... end
    drop(call)
    error((...), 0)
  end
  return outcome(pcall(keep, call, ...))
end

local function ran(call, ok, ...)
  if ok then return keep_or_drop(call, ...) end
  drop(call)
  error((...), 0)
end

local function asked(fn, state, ...)
  if state == true then return ... end
  return ran(state, xpcall(fn, error_object, ...))
end

local seconds = { s = 1, m = 60, h = 3600, d = 86400, w = 604800 }

local function duration(value)
  if type(value) == "number" and value >= 0 then return value end
  local n, unit
  if type(value) == "string" then n, unit = value:match("^(%d+)([smhdw]?)$") end
  if not n then
    c.raise("argument", "cache: max_age: expected seconds, or a text such as \"90s\" or \"12h\", got " .. c.show(value))
  end
  return tonumber(n) * (seconds[unit] or 1)
end

local function folder(path)
  if type(path) ~= "string" then
    c.raise("argument", "cache: path: expected a folder of /mnt/cache, got " .. c.show(path))
  end
  local inside = path:gsub("^/mnt/cache/?", ""):gsub("/+$", "")
  if path:find("://", 1, true) or inside:sub(1, 1) == "/" then
    c.raise("argument", "cache: path: expected a folder of /mnt/cache, got " .. c.show(path))
  end
  if #inside > 300 then c.raise("argument", "cache: path: a name of 300 bytes at most") end
  for part in inside:gmatch("[^/]+") do
    if part == ".." or part == "." then
      c.raise("argument", "cache: path: " .. c.show(path) .. " leads out of its folder")
    end
  end
  return inside == "" and "/mnt/cache" or "/mnt/cache/" .. inside
end

local function exclude(fn, names)
  if type(names) ~= "table" then
    c.raise("argument", "cache: key_exclude: expected a list of parameter names, got " .. c.show(names))
  end
  local parameters, out = inner.parameters(fn), {}
  for i = 1, #names do
    local found
    for k = 1, #parameters do
      if parameters[k] == names[i] then found, out[k] = true, true end
    end
    if not found then
      c.raise("argument", "cache: key_exclude: the function has no parameter " .. c.show(names[i]) .. " (it has "
        .. (#parameters > 0 and table.concat(parameters, ", ") or "none") .. ")")
    end
  end
  return out
end

--- Makes a function whose values are kept. The key is the function's code and that of the functions it closes over, the
--- values of its upvalues, its arguments in full (tables, rasters and geometries by content), and `_cache_id`, which is
--- taken out of a table given as the last argument. An edit elsewhere in the file computes nothing again. However many
--- tiles ask at once, one of them computes; errors are not kept. A value is used while the files and UDFs that it read
--- are as they were, and `max_age` is not over.
---
--- ```lua
--- local runs = 0
--- local square = moon.cache(function(n) runs = runs + 1 return n * n end, { max_age = "12h", key_exclude = {} })
--- assert(square(3) == 9)
--- local slow = moon.cache(function(name) return { name = name } end)
--- assert(slow("a", { _cache_id = "2024-02" }).name == "a")
--- ```
---@generic F: function
---@param fn F
---@param options? { path?: string, max_age?: string|number, reset?: boolean, key_exclude?: string[] }
--- path: a folder of /mnt/cache whose files are the entries, shared by UDFs; reset: compute always, and keep the new value
---@return F
function moon.cache(fn, options)
  if type(fn) ~= "function" then
    c.raise("argument", "cache: the first argument: expected a function, got " .. c.show(fn))
  end
  c.options("cache", options, "path", "max_age", "reset", "key_exclude")
  options = options or {}
  if options.reset ~= nil and type(options.reset) ~= "boolean" then
    c.raise("argument", "cache: reset: expected true or false, got " .. c.show(options.reset))
  end
  local spec = {
    max_age = options.max_age ~= nil and duration(options.max_age) or nil,
    path = options.path ~= nil and folder(options.path) or nil,
    reset = options.reset,
    excluded = options.key_exclude ~= nil and exclude(fn, options.key_exclude) or nil,
  }
  local function cached(...)
    return asked(fn, ask(fn, spec, ...))
  end
  cached_of[cached] = fn
  return cached
end
