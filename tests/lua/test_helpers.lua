local moon = require "moon"
local check = require "check"

local tests = {}
local time = moon.time

tests["time: ISO 8601 both ways"] = function()
  local rows = { { "1970-01-01", 0 }, { "1969-12-31T23:59:59Z", -1 }, { "2000-02-29", 951782400 }, { "2024-02-29T12:00:00+05:30", 1709188200 },
    { "2024-02-29T12:00:00.25Z", 1709208000.25 }, { "20240229T120000Z", 1709208000 }, { "2024-02", 1706745600 }, { "2024", 1704067200 },
    { "2016-12-31T24:00:00Z", 1483228800 }, { "2024-02-29 12:00", 1709208000 }, { "-0001-01-01", -62198755200 } }
  for _, row in ipairs(rows) do check.equal(time.parse(row[1]), row[2], row[1]) end
  for _, text in ipairs { "", "x", "2023-02-29", "2024-13-01", "2024-00-10", "2024-02-30", "2024-02-29T25:00", "2024-02-29T12:60", "2024-2-9", "2024-02-29T12:00:00+99:00",
    "2024-02-29T12:00:00 Z" } do
    check.fails("expected a time such as", time.parse, text)
  end
  check.fails("expected a time such as", time.parse, nil)
  check.fails("within the years", time.parse, 1 / 0)
  -- Against the C library's calendar, over a thousand years.
  for i = 0, 4000 do
    local t = i * 8640000 + i * 37
    check.equal(time.format(t), os.date("!%Y-%m-%dT%H:%M:%SZ", t), "second " .. t)
    check.equal(time.parts(t).yearday, tonumber(os.date("!%j", t)), "yearday of " .. t)
    check.equal(time.parts(t).weekday % 7, tonumber(os.date("!%w", t)), "weekday of " .. t)
    check.equal(time.parse(time.format(t)), t)
  end
end

tests["time: format, add, floor, range"] = function()
  check.equal(time.format("2024-03-05T06:07:08.9Z", "%y %m %d %e %H %M %S %f %j %u %B %b %A %a %%"), "24 03 05 5 06 07 08 900 065 2 March Mar Tuesday Tue %")
  check.fails("no %q", time.format, 0, "%q")
  check.equal(time.format(time.add("2024-01-31T10:00:00Z", 1, "month")), "2024-02-29T10:00:00Z")
  check.equal(time.format(time.add("2024-03-31", -13, "months"), "%F"), "2023-02-28")
  check.equal(time.add(0, 2, "weeks"), 1209600)
  check.fails("whole number of months", time.add, 0, 0.5, "month")
  check.fails("expected second, minute", time.add, 0, 1, "fortnight")
  check.equal(time.format(time.floor("2024-03-03", "week"), "%F"), "2024-02-26")
  check.equal(time.format(time.floor("1969-12-31", "year"), "%F"), "1969-01-01")
  check.equal(#time.range("2024-01-01", "2024-01-01T23:59:59Z", 6, "hours"), 4)
  check.equal(#time.range("2024-01-02", "2024-01-01"), 0)
  check.fails("more than 100000", time.range, 0, 1e6, 1, "second")
  check.fails("expected a positive number", time.range, 0, 1, 0)
end

tests["xml: elements, text, prefixes"] = function()
  local doc = moon.xml.parse([==[<?xml version="1.0"?><g:root xmlns:g="urn:x" a="1 &amp; 2"><!-- no --> one <![CDATA[<two>]]><g:b/> three <c d='é'/></g:root>]==])
  check.equal(doc.name, "g:root")
  check.equal(doc.attributes.a, "1 & 2")
  check.equal(doc.text, "one <two> three")
  check.equal(#doc, 2)
  check.equal(doc:find("b").name, "g:b")
  check.equal(doc:find("g:b").name, "g:b")
  check.equal(doc[2].attributes.d, "é")
  check.equal(doc[1].text, "")
  local deep = moon.xml.parse(("<a>"):rep(200) .. ("</a>"):rep(200))
  check.equal(#deep:all("**/a"), 199)
  local wide = moon.xml.parse("<r>" .. ("<i>x</i>\n"):rep(20000) .. "</r>")
  check.equal(#wide, 20000)
  check.equal(#wide.text, 0)
  check.equal(moon.xml.parse('<?xml version="1.0" encoding="ISO-8859-1"?><a>\233</a>').text, "é")
end

tests["xml: what is refused"] = function()
  for _, row in ipairs { { "", "no element found" }, { "<a>", "no element found" }, { "<a></b>", "mismatched tag" }, { "<a b=1/>", "not well-formed" },
    { "<a>&nope;</a>", "undefined entity" }, { "<a/><b/>", "junk" }, { "text", "syntax error" }, { "<a b='1' b='2'/>", "duplicate attribute" },
    { "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "declarations of its own" },
    { "<!DOCTYPE a [<!ENTITY x 'ha'><!ENTITY y '&x;&x;'>]><a>&y;</a>", "declarations of its own" },
    { ("<a>"):rep(201), "more than 200 deep" }, { "<a>\255</a>", "not well-formed" } } do
    check.fails(row[2], moon.xml.parse, row[1])
  end
  check.fails("the text of a document", moon.xml.parse, nil)
  check.fails("expected a path", moon.xml.parse("<a/>").all, moon.xml.parse("<a/>"), 7)
  -- Cut anywhere, and with bytes turned: an element or an error, nothing else.
  local whole = "<?xml version='1.0'?><a x='1'><b>t&amp;u</b><![CDATA[z]]></a>"
  for i = 0, #whole - 1 do
    pcall(moon.xml.parse, whole:sub(1, i))
    pcall(moon.xml.parse, whole:sub(1, i) .. string.char((whole:byte(i + 1) + 37) % 256) .. whole:sub(i + 2))
  end
end

tests["stac: pages, times, conditions"] = function()
  local seen = {}
  local function transport(request)
    seen[#seen + 1] = request
    local n = #seen
    local features = {}
    for i = 1, 3 do features[i] = { id = n .. "-" .. i, properties = { n = n }, assets = { data = { href = n .. i .. ".tif" } } } end
    return { features = features, links = { { rel = "next", method = "POST", href = request.url, body = { token = n + 1 }, merge = true } } }
  end
  local items = moon.stac.search("https://example.org/api/", { collections = "c", bounds = moon.bounds(1, 2, 3, 4), limit = 7, transport = transport, sort = "-properties.datetime" })
  check.equal(#items, 7)
  check.equal(#seen, 3)
  check.equal(seen[1].url, "https://example.org/api/search")
  check.equal(seen[3].json.token, 3)
  check.equal(seen[3].json.collections[1], "c")
  check.equal(seen[1].json.sortby[1].direction, "desc")
  check.equal(table.concat(moon.stac.assets(items, "data"), " "):sub(1, 12), "11.tif 12.ti")
  check.equal(moon.stac.table(items, { "data" }).columns.asset_data[7], "31.tif")
  check.equal(moon.stac.body({ time = { "2024-05-01", "2024-05-02" } }).datetime, "2024-05-01T00:00:00Z/2024-05-02T23:59:59Z")
  check.equal(moon.stac.body({ time = { "2024-05-01" } }).datetime, "2024-05-01T00:00:00Z/..")
  check.equal(moon.stac.body({ intersects = moon.point(1, 2) }).intersects.coordinates[2], 2)
  check.fails("cannot both", moon.stac.body, { bounds = { 1, 2, 3, 4 }, intersects = moon.point(1, 2) })
  check.fails("expected the address", moon.stac.search, "ftp://x")
  check.fails("answered no list of items", moon.stac.search, "https://x", { transport = function() return { oh = "no" } end })
  check.equal(#moon.stac.search("https://x", { transport = function() return { features = {} } end }), 0)
end

tests["to_table, get_tiles, visualize"] = function()
  local point = '{"type":"Point","coordinates":[1,2]}'
  for _, value in ipairs { "POINT (1 2)", point, moon.json.decode(point), moon.point(1, 2), { { lng = 1, lat = 2 } }, { x = 1, y = 2 },
    { { geometry = "POINT (1 2)" } }, { moon.point(1, 2) }, moon.table { { geometry = moon.point(1, 2) } } } do
    local t = moon.to_table(value)
    check.equal(t:count(), 1)
    check.equal(t:rows()[1].geometry.x, 1)
  end
  check.equal(moon.to_table({}):count(), 0)
  check.equal(moon.to_table({ moon.point(1, 2), moon.bounds(1, 2, 3, 4), { z = 1, x = 0, y = 1 } }):count(), 3)
  check.fails("to_table: expected", moon.to_table, 7)
  check.fails("rows and other values", moon.to_table, { { lng = 1, lat = 2 }, moon.point(1, 2) })
  check.fails("zoom: expected", moon.get_tiles, { 1, 2, 3, 4 }, { zoom = 1.5 })
  check.fails("target_num_tiles: expected", moon.get_tiles, { 1, 2, 3, 4 }, { target_num_tiles = 0 })
  check.equal(moon.get_tiles(moon.tile.bounds(3, 1, 2), { zoom = 5 }):count(), 16)
  check.equal(moon.estimate_zoom(moon.tile.bounds(7, 3, 4)), 7)
  local b = moon.read_raster("fd://L7_ETMs.tif", nil, { bands = { 3, 2, 1 }, size = 32 })
  local picture = moon.visualize(b, { mask = b[1]:gt(60), opacity = 0.25 })
  check.equal(picture.bands, 4)
  check.equal(picture.alpha:max(), 64)
  check.equal(picture.red:max(), b[1]:max())
  check.fails("opacity", moon.visualize, b, { opacity = 2 })
  check.fails("expected a raster", moon.visualize, {})
end

return check.udf(tests)
