local moon = require "moon"

--- A raster of classes in its file's own palette, as a map tile; one class alone, when it is named.
--- @param class integer 0 to 5; without it all
local function udf(bounds, class)
  local crops = moon.read_raster("fd://crops.tif", bounds, { resampling = bounds.z < 13 and "mode" or "nearest" })
  if class then
    crops = crops:where(crops:eq(class))
  end
  return crops
end

return moon.udf(udf, {
  bounds = moon.type.tile,
  class = moon.type.integer(nil, { min = 0, max = 5, optional = true }),
})
