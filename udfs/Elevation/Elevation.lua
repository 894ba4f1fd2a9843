local moon = require "moon"

--- Heights of an elevation model in a colour map, as a map tile.
--- @param low number metres that get the first colour
--- @param high number metres that get the last colour
--- @param colours string name of a colour map; "_r" behind it reverses it
local function udf(bounds, low, high, colours)
  local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", bounds, { resampling = "bilinear" })
  return dem:colour(colours, low, high)
end

return moon.udf(udf, { bounds = moon.type.tile, low = 0, high = 80, colours = "viridis" })
