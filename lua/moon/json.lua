--- JSON: `moon.json`.
---
--- ```lua
--- local t = moon.json.decode('{"a":[1,2,null]}')
--- assert(t.a[3] == moon.json.null)
--- assert(moon.json.encode({ b = 1, a = { 1, 2 } }) == '{"a":[1,2],"b":1}')
--- ```
---@type moon, table
local moon, inner = ...
local c = inner.open "json"

---@class moon.json
local M = {}

--- JSON text of a value: keys sorted, an empty table is a list (see `object`), NaN and infinities are null. Tables
--- with holes, of mixed keys, that contain themselves, and functions are errors that name the place.
---
--- ```lua
--- assert(moon.json.encode({ list = {}, object = moon.json.object() }) == '{"list":[],"object":{}}')
--- ```
---@type fun(value: any): string
M.encode = c.encode
--- The value of JSON text; null is `moon.json.null`.
---
--- ```lua
--- local value, err = moon.try(moon.json.decode, "{")
--- assert(value == nil and err.message:find("json.decode", 1, true))
--- ```
---@type fun(text: string): any
M.decode = c.decode
--- JSON's null.
M.null = c.null

--- Marks a table so that it is an object even when it is empty.
---
--- ```lua
--- assert(moon.json.encode(moon.json.object()) == "{}" and moon.json.encode({}) == "[]")
--- ```
---@param t? table
---@return table
function M.object(t) return setmetatable(t or {}, inner.core.Object) end

moon.json = M
