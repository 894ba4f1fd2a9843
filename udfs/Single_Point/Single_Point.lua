local moon = require "moon"

--- One point, to see whether everything works from here to the map.
local function udf(lat, lng, name)
  return moon.table { { name = name, geometry = moon.point(lng, lat) } }
end

return moon.udf(udf, {
  lat = moon.type.number(8, { min = -90, max = 90 }),
  lng = moon.type.number(-34.9, { min = -180, max = 180 }),
  name = "here",
})
