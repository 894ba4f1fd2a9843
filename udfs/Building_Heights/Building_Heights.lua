local moon = require "moon"

--- Buildings with the height of the ground beneath them: zonal statistics over a surface model.
--- @param min_floors integer only buildings that have as many
local function udf(bounds, min_floors)
  local buildings = moon.read_vector("fd://buildings.fgb", bounds, { where = "floors >= " .. min_floors })
  if buildings:count() == 0 then
    return buildings
  end
  -- A little more than the tile, on the same grid of 10 m: a building on a seam has one height.
  local around = moon.bounds(bounds.xmin - 0.002, bounds.ymin - 0.002, bounds.xmax + 0.002, bounds.ymax + 0.002)
  local ground = moon.read_raster("fd://olinda_dem_utm25s.tif", around, { resolution = 10, resampling = "bilinear" })
  return moon.zonal(buildings, ground, { "mean", "min", "max" }, { all_touched = true, prefix = "ground_" })
end

return moon.udf(udf, {
  bounds = moon.type.bounds({ -34.9, -8.005, -34.89, -7.995 }),
  min_floors = moon.type.integer(1, { min = 1, max = 20 }),
})
