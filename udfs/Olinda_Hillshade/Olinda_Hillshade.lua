local moon = require "moon"

--- Shaded relief of an elevation model. A margin of one pixel is read, so that neighbouring tiles fit.
--- @param azimuth number where the light comes from, degrees clockwise from north
--- @param altitude number how high the light stands, degrees above the horizon
--- @param exaggeration number heights are multiplied by it
local function udf(bounds, azimuth, altitude, exaggeration)
  local shade = moon.hillshade("fd://olinda_dem_utm25s.tif", bounds, {
    azimuth = azimuth, altitude = altitude, z = exaggeration,
  })
  return shade
end

return moon.udf(udf, {
  bounds = moon.type.tile,
  azimuth = moon.type.number(315, { min = 0, max = 360 }),
  altitude = moon.type.number(45, { min = 0, max = 90 }),
  exaggeration = moon.type.number(3, { min = 0.1, max = 20 }),
})
