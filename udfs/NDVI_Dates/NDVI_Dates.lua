local moon = require "moon"

local function ndvi(date, bounds)
  local red = moon.read_raster("fd://dates/" .. date .. "_red.tif", bounds)
  local nir = moon.read_raster("fd://dates/" .. date .. "_nir.tif", bounds)
  return (nir - red) / (nir + red)
end

--- NDVI from the red and near infrared files of a date; with a second date, what has changed since.
--- @param since string the earlier date; then green has gained and red has lost
local function udf(bounds, date, since)
  local now = ndvi(date, bounds)
  if since then
    return (now - ndvi(since, bounds)):colour("rdylgn", -0.3, 0.3)
  end
  return now:colour("rdylgn", -0.4, 0.5)
end

local dates = { "2000-07-15", "2000-11-04", "2001-03-02" }
return moon.udf(udf, {
  bounds = moon.type.tile,
  date = moon.type.enum(dates)("2000-07-15"),
  since = moon.type.enum(dates)(nil, { optional = true }),
})
