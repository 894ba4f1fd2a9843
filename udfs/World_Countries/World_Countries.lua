local moon = require "moon"

--- Countries of Natural Earth (1:50,000,000), from TopoJSON; their borders are simplified to the pixel.
local function udf(bounds)
  local countries = moon.read_vector("fd://countries-50m.json", bounds, { layer = "countries" })
  return countries:simplify(bounds:pixel_size() / 2)
end

return moon.udf(udf, { bounds = moon.type.bounds({ -180, -85, 180, 85 }) })
