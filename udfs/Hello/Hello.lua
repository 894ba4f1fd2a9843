local moon = require "moon"

--- The smallest UDF: a string is a page.
local function udf(name)
  return "Hello from " .. name .. "!"
end

return moon.udf(udf, { name = "Moongate" })
