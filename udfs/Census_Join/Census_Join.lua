local moon = require "moon"

--- Countries with a figure of a delimited file, joined by SQL, and simplified to what the zoom can show.
--- @param variable string a variable of the file: places or letters
local function udf(bounds, variable)
  local countries = moon.read_vector("fd://countries-50m.json", bounds, { layer = "countries", columns = { "name" } })
  local joined = moon.sql([[
      select b.geometry, b.name, c.value
      from countries b join read_csv($figures, delim = '|') c on c.country = b.name
      where c.variable = $variable]],
    { countries = countries, figures = moon.file("fd://country_places.psv"), variable = variable })
  return joined:simplify(bounds.z and 360 / 2 ^ bounds.z / 512 or 0.1)
end

return moon.udf(udf, { bounds = moon.type.bounds({ -180, -85, 180, 85 }), variable = moon.type.enum { "places", "letters" }("places") })
