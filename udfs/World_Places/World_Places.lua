local moon = require "moon"

--- Places of GeoNames: a vector tile, or a table of the places within the bounds.
--- @param country string two letters, such as CH; without it all countries
--- @param limit integer at most that many places
local function udf(bounds, country, limit)
  local where
  if country then
    where = "country = '" .. country:upper():gsub("[^A-Z]", "") .. "'"
  end
  local places = moon.read_vector("fd://places.fgb", bounds, {
    columns = { "name", "country", "admin1", "admin2" },
    where = where,
    limit = limit,
  })
  return places
end

return moon.udf(udf, {
  bounds = moon.type.bounds,
  country = moon.type.string(nil, { optional = true }),
  limit = moon.type.integer(nil, { min = 1, max = 1000000, optional = true }),
})
