local moon = require "moon"

--- Relief under a sun that goes round: each frame is a run of Olinda_Hillshade in a worker of its own, with its own
--- place in the cache. The answer is an APNG, or a GIF or WebP where that is asked for.
--- @param frames integer how many, once round
--- @param delay_ms integer how long each is shown
local function udf(tile, frames, delay_ms)
  local shade = moon.load("Olinda_Hillshade")
  local pool = moon.submit(shade, moon.range(frames, function(i)
    return { z = tile[1], x = tile[2], y = tile[3], azimuth = 360 * (i - 1) / frames, altitude = 30 }
  end), { max_workers = 8 })
  return moon.frames(pool:results(), { delay_ms = delay_ms })
end

return moon.udf(udf, {
  tile = moon.type.list({ 12, 1651, 2139 }),
  frames = moon.type.integer(12, { min = 2, max = 60 }),
  delay_ms = moon.type.integer(120, { min = 20, max = 2000 }),
})
