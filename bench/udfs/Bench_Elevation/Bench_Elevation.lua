local moon = require "moon"

--- Heights from blue to yellow over -10 to 90 metres, bilinear: what MapServer and TiTiler are asked for as well.
local function udf(bounds)
  local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", bounds, { resampling = "bilinear" })
  return dem:colour({ "#000080", "#ffff00" }, -10, 90)
end

return moon.udf(udf, { bounds = moon.type.tile })
