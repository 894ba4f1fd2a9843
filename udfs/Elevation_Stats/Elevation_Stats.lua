local moon = require "moon"

--- Statistics of the heights within a radius of a point. The radius is in metres: the circle is made in the point's
--- own UTM zone.
--- @param radius number metres
local function udf(lat, lng, radius)
  local circle = moon.point(lng, lat):buffer(radius)
  local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", circle:bounds(), { resolution = 30 })
  return dem:mask(circle):stats("min", "max", "mean", "std", "count")
end

return moon.udf(udf, {
  lat = moon.type.number(-8.0, { min = -90, max = 90 }),
  lng = moon.type.number(-34.88, { min = -180, max = 180 }),
  radius = moon.type.number(500, { min = 1, max = 20000 }),
})
