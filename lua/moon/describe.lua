--- The signature record of a UDF: what the server must know of it without running Lua.
---@type moon, table
local moon, inner = ...
local c = inner.core
local types = { string = "string", number = "number", boolean = "boolean" }

local function is_list(t)
  local n = 0
  for _ in pairs(t) do n = n + 1 end
  return n == #t
end

--- Comment lines `--- text` above line `line`, without annotations; and the docs of `@param`.
local function comments(source, line)
  local lines, at = {}, 0
  for text in (source .. "\n"):gmatch("(.-)\r?\n") do
    at = at + 1
    if at >= line then break end
    lines[at] = text
  end
  local first = at
  if lines[line - 1] == nil then return nil, {} end
  first = line
  while lines[first - 1] and lines[first - 1]:match("^%s*%-%-%-") do first = first - 1 end
  local doc, params = {}, {}
  for i = first, line - 1 do
    local text = lines[i]:match("^%s*%-%-%-%s?(.-)%s*$")
    local name, rest = text:match("^@param%s+([%w_]+)%??%s*(.*)$")
    if name then
      params[name] = rest:match("^%S+%s+(.+)$")
    elseif not text:match("^@") then
      doc[#doc + 1] = text
    end
  end
  local whole = table.concat(doc, "\n"):match("^%s*(.-)%s*$")
  return whole ~= "" and whole or nil, params
end

local function describe_parameter(name, spec, doc)
  if spec == nil then
    return { name = name, type = "string", required = true, optional = false, doc = doc }
  end
  local kind = c.kind(spec)
  if getmetatable(spec) == inner.Type then
    local default = spec.default
    if default ~= nil and spec.type == "bounds" then
      default = moon.bounds(default):list()
    end
    if spec.type == "enum" and not spec.values then
      c.raise("udf_broken", "moon.udf: " .. name .. ": moon.type.enum needs its values: moon.type.enum{ \"a\", \"b\" }")
    end
    return {
      name = name, type = spec.type, values = spec.values, default = default, min = spec.min, max = spec.max,
      required = default == nil and not spec.optional, optional = spec.optional and true or false, doc = spec.doc or doc,
    }
  end
  local t = types[kind]
  if kind == "table" then t = is_list(spec) and "list" or "table" end
  if kind == "bounds" then t, spec = "bounds", spec:list() end
  if kind == "geometry" then t = "geometry" end
  if not t then
    c.raise("udf_broken", "moon.udf: " .. name .. ": the default cannot be " .. c.show(spec))
  end
  if t == "table" and next(spec) == nil then spec = setmetatable({}, c.Object) end
  return { name = name, type = t, default = spec, required = false, optional = false, doc = doc }
end

function inner.describe(udf, source)
  local names, varargs, line = inner.parameters(udf.fn)
  local doc, docs = comments(source, line)
  local params, known = {}, {}
  for i, name in ipairs(names) do
    known[name] = true
    params[i] = describe_parameter(name, udf.defaults[name], docs[name])
  end
  for name in pairs(udf.defaults) do
    if not known[name] then
      c.raise("udf_broken", "moon.udf: there is a default for `" .. tostring(name) .. "`, but the function has no such parameter (it has "
        .. (#names > 0 and table.concat(names, ", ") or "none") .. ")")
    end
  end
  local timeout = udf.options.timeout
  if type(timeout) == "string" then
    local n, unit = timeout:match("^(%d+)([smh]?)$")
    timeout = n and n * (unit == "h" and 3600 or unit == "m" and 60 or 1)
    if not timeout then
      c.raise("udf_broken", "moon.udf: timeout: expected seconds, or a text such as \"90s\" or \"2m\"")
    end
  end
  return { params = params, varargs = varargs and true or false, doc = udf.options.doc or doc, max_age = udf.options.max_age,
    timeout_s = timeout }
end
