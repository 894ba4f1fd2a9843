local moon = require "moon"

--- Land cover of adjacent rasters as one layer, in the palette of the files.
--- @param files list the rasters; where they overlap the first that has data counts
local function udf(bounds, files)
  return moon.read_raster(files, bounds, { mosaic = "first" })
end

return moon.udf(udf, {
  bounds = moon.type.tile,
  files = moon.type.list({ "fd://cover_west.tif", "fd://cover_east.tif" }),
})
