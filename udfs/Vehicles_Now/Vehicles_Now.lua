local moon = require "moon"

--- The feed, asked at most every 30 s however many people look.
local feed = moon.cache(function(url) return moon.http.get(url, { max_age = "30s" }):json() end, { max_age = "30s" })

--- Where the vehicles of a GTFS Realtime feed (its JSON form) are now.
--- @param url string of the feed of vehicle positions
--- @param route string only the vehicles of this route
local function udf(url, route)
  local rows = {}
  for _, entity in ipairs(feed(url).entity) do
    local v = entity.vehicle
    if v and v.position and (not route or v.trip.routeId == route) then
      rows[#rows + 1] = {
        id = entity.id, route = v.trip and v.trip.routeId, bearing = v.position.bearing,
        geometry = moon.point(v.position.longitude, v.position.latitude),
      }
    end
  end
  return moon.table(rows, { columns = { "id", "route", "bearing", "geometry" } })
end

return moon.udf(udf, {
  url = moon.type.string(nil, { doc = "GTFS Realtime vehicle positions, as JSON" }),
  route = moon.type.string(nil, { optional = true }),
})
