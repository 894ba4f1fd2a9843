local moon = require "moon"

--- Countries of Natural Earth (1:50,000,000), from TopoJSON. A vector tile is simplified to its pixels by the encoder;
--- a file is simplified when a tolerance is given.
--- @param tolerance number degrees
local function udf(bounds, tolerance)
  local countries = moon.read_vector("fd://countries-50m.json", bounds, { layer = "countries" })
  if tolerance > 0 then
    countries = countries:simplify(tolerance)
  end
  return countries
end

return moon.udf(udf, {
  bounds = moon.type.bounds({ -180, -85, 180, 85 }),
  tolerance = moon.type.number(0, { min = 0, max = 10 }),
})
