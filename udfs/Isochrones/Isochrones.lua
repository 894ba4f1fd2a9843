local moon = require "moon"

--- Isochrones of a routing service that speaks Valhalla's API: one request for each group of contours, several at once.
--- @param url string of the service, without /isochrone
--- @param costing string auto, bicycle or pedestrian
--- @param minutes list contours, in minutes
local function udf(url, lat, lng, costing, minutes)
  local groups = {}
  for i = 1, #minutes, 4 do -- a service takes at most four contours a request
    groups[#groups + 1] = { unpack(minutes, i, math.min(i + 3, #minutes)) }
  end
  local answers = moon.http.all(groups, function(group)
    local contours = {}
    for i, m in ipairs(group) do
      contours[i] = { time = m }
    end
    return {
      url = url .. "/isochrone",
      json = { locations = { { lat = lat, lon = lng } }, costing = costing, contours = contours, polygons = true },
    }
  end, { concurrency = 4, max_age = "1d" })
  local collections = {}
  for i, answer in ipairs(answers) do
    collections[i] = answer:json()
  end
  return moon.table.from_geojson(collections):sort("contour", "desc")
end

return moon.udf(udf, {
  url = moon.type.string(nil, { doc = "a routing service with Valhalla's /isochrone" }),
  lat = moon.type.number(-8.0, { min = -90, max = 90 }),
  lng = moon.type.number(-34.88, { min = -180, max = 180 }),
  costing = moon.type.enum { "auto", "bicycle", "pedestrian" }("pedestrian"),
  minutes = moon.type.list({ 5, 10, 15, 20, 30 }),
})
