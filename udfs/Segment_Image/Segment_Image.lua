local moon = require "moon"

local colours = { { 0, "#2b6cb0" }, { 1 / 3, "#2f855a" }, { 2 / 3, "#718096" }, { 1, "#d69e2e" } }

--- A mask of segments from the three colours of an image: 0 water, 1 green, 2 built, 3 bare. Each pixel by itself, in
--- one compiled pass.
--- @param raw boolean the numbers of the segments instead of their colours
local function udf(bounds, scene, raw)
  local rgb = moon.read_raster(scene, bounds, { bands = { red = 3, green = 2, blue = 1 } })
  local segments = moon.map(rgb.red, rgb.green, rgb.blue, function(red, green, blue)
    local bright = (red + green + blue) / 3
    if blue > 1.35 * red and bright > 65 then return 0 end -- haze over water is blue; green is darker
    if bright < 62 then return 1 end
    if bright < 95 then return 2 end
    return 3
  end)
  if raw then
    return segments:convert("uint8")
  end
  return segments:colour(colours, 0, 3)
end

return moon.udf(udf, { bounds = moon.type.tile, scene = "fd://L7_ETMs.tif", raw = false })
