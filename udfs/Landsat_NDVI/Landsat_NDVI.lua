local moon = require "moon"

--- NDVI of one scene: bare ground red, dense vegetation green. Operators work on whole rasters, no data carries through.
--- @param scene string a raster file with a red band 3 and a near-infrared band 4
--- @param low number the index that gets the first colour
--- @param high number the index that gets the last colour
local function udf(bounds, scene, low, high)
  local b = moon.read_raster(scene, bounds, { bands = { red = 3, nir = 4 } })
  local ndvi = (b.nir - b.red) / (b.nir + b.red)
  return ndvi:colour("rdylgn", low, high)
end

return moon.udf(udf, { bounds = moon.type.tile, scene = "fd://L7_ETMs.tif", low = -0.2, high = 0.8 })
