local moon = require "moon"

--- Heights along a line: statistics around each of its points, by a pool of runs of Elevation_Stats. A point without
--- data does not spoil the others: its row has no height.
--- @param points integer how many along the line
--- @param radius number metres around each
local function udf(from, to, points, radius)
  local list = moon.range(points, function(i)
    local t = (i - 1) / (points - 1)
    return { lng = from[1] + t * (to[1] - from[1]), lat = from[2] + t * (to[2] - from[2]), radius = radius }
  end)
  local pool = moon.submit("Elevation_Stats", list, { max_workers = 8 }):wait()
  local failed = {}
  for _, e in ipairs(pool:errors()) do
    failed[e.index] = e.error.message
  end
  local rows = {}
  for i, point in ipairs(list) do
    local stats = not failed[i] and pool.runs[i]:wait() or {}
    rows[i] = {
      n = i, mean = stats.mean, min = stats.min, max = stats.max, error = failed[i],
      geometry = moon.point(point.lng, point.lat),
    }
  end
  return moon.table(rows, { columns = { "n", "mean", "min", "max", "error", "geometry" } })
end

return moon.udf(udf, {
  from = moon.type.list({ -34.91, -8.02 }),
  to = moon.type.list({ -34.83, -7.97 }),
  points = moon.type.integer(20, { min = 2, max = 200 }),
  radius = moon.type.number(200, { min = 10, max = 2000 }),
})
