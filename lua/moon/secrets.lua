--- Secrets of the organisation, which its operator sets with `moongate secret set NAME`: kept encrypted under the server's
--- key, read by UDFs. A changed secret makes the results that were made with it anew.
---@type moon, table
local moon, inner = ...
local c, get = inner.core, inner.open("secrets").get

--- A secret by its name; nil when there is none of that name.
---
--- ```lua
--- local ok, err = moon.try(function() return moon.secrets.API_KEY or "none" end)
--- assert(ok == "none" or err.name == "unavailable")
--- ```
---@type table<string, string?>
moon.secrets = setmetatable({}, {
  __index = function(t, name)
    if type(name) ~= "string" then c.raise("argument", "secrets: expected a name, got " .. c.show(name)) end
    local value = get(name)
    if value ~= nil then rawset(t, name, value) end
    return value
  end,
  __newindex = function(_, name)
    c.raise("argument", "secrets: they are read-only here: moongate secret set " .. tostring(name))
  end,
})
