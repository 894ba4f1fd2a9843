--- Bytes of any format: `moon.encode`, to store (`moon.files.write`), to send, or to put into a page.
---@type moon, table
local moon, inner = ...
local encode = inner.open("encode").encode

--- The value as the bytes of a format, as a URL with that `format` would answer it: a raster as `"png"`, `"tif"` …, a
--- table or geometry as `"geojson"`, `"parquet"`, `"csv"` …, text as `"html"`, plain values as `"json"`, a table of named
--- values as `"zip"`. `moongate formats` lists all, with their options. A list of formats (`"csv,png"`) takes the first that
--- holds the value.
---
--- ```lua
--- local t = moon.table { { name = "Olinda", geometry = moon.point(-34.86, -8.01) } }
--- assert(moon.encode(t, "csv"):find("Olinda", 1, true))
--- local bytes = moon.encode(t, "geojson", { precision = 2 })
--- assert(moon.json.decode(bytes).features[1].geometry.coordinates[1] == -34.86)
--- ```
---
--- Options have the names of the URL without the format in front; with it (`["jpg.quality"]`) they are for the members of
--- a zip. `tile` (the bounds of a tile) is what `"mvt"` needs where the run is no tile call.
---
--- ```lua
--- local t = moon.table { { n = 1 } }
--- local zip = moon.encode({ rows = t, page = "<h1>Rows</h1>" }, "zip,csv,html", { ["csv.delimiter"] = "tab" })
--- assert(zip:sub(1, 4) == "PK\3\4")
--- ```
---
--- A format that cannot hold the value is `not_acceptable`, with the formats that can; a wrong option is `argument`.
---
--- ```lua
--- local bytes, err = moon.try(moon.encode, "a page", "png")
--- assert(not bytes and err.name == "not_acceptable" and err.message:find("html", 1, true))
--- ```
---@param value any
---@param format string
---@param options? table<string, string|number|boolean|moon.Bounds>
---@return string bytes
function moon.encode(value, format, options)
  return encode(value, format, options)
end
