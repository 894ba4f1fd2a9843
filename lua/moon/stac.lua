--- Searches of STAC catalogues (SpatioTemporal Asset Catalog, API 1.0, item search): `moon.stac`.
---
--- ```lua
--- local function transport(request) -- as a test has it; without one `moon.http` asks
---   return { type = "FeatureCollection", features = { { id = "scene", properties = { datetime = "2024-05-01T00:00:00Z",
---     ["eo:cloud_cover"] = 3 }, geometry = { type = "Point", coordinates = { -34.9, -8 } }, assets = { red = { href = "https://example.org/red.tif" } } } } }
--- end
--- local items = moon.stac.search("https://example.org/stac", { collections = { "sentinel-2-l2a" }, bounds = { -35, -9, -34, -8 },
---   time = { "2024-05-01", "2024-05-31" }, query = { ["eo:cloud_cover"] = { lt = 20 } }, transport = transport })
--- assert(#items == 1 and moon.stac.assets(items, "red")[1] == "https://example.org/red.tif")
--- ```
---@class moon.StacItem
---@field id string
---@field properties table<string, any> `datetime`, `eo:cloud_cover` …
---@field geometry table GeoJSON
---@field assets table<string, { href: string, type?: string }>
---@type moon, table
local moon, inner = ...
local core = inner.core
local _ = moon.time
local type, ipairs, pairs, tostring = type, ipairs, pairs, tostring

---@class moon.stac
local M = {}

local function interval(t)
  local function one(v)
    if v == nil or v == ".." or v == moon.null then return ".." end
    return moon.time.format(v)
  end
  if type(t) ~= "table" then
    -- A day or a month is all of it.
    local unit = type(t) == "string" and (t:find("^%d%d%d%d%-%d%d%-%d%d$") and "day" or t:find("^%d%d%d%d%-%d%d$") and "month" or t:find("^%d%d%d%d$") and "year")
    if not unit then return one(t) end
    return one(t) .. "/" .. one(moon.time.add(moon.time.add(t, 1, unit), -1, "second"))
  end
  local from, to = one(t[1]), t[2]
  if type(to) == "string" and to:find("^%d%d%d%d%-%d%d%-%d%d$") then to = moon.time.add(moon.time.add(to, 1, "day"), -1, "second") end
  return from .. "/" .. one(to)
end

local function bbox(bounds)
  local b = moon.bounds(bounds)
  return { b.xmin, b.ymin, b.xmax, b.ymax }
end

local function through_http(request)
  local options = { headers = { accept = "application/geo+json, application/json" } }
  if request.method == "GET" then return moon.http.get(request.url, options):json() end
  options.json = request.json
  return moon.http.post(request.url, options):json()
end

local function next_of(answer, request)
  for _, link in ipairs(type(answer.links) == "table" and answer.links or {}) do
    if type(link) == "table" and link.rel == "next" and type(link.href) == "string" then
      if type(link.method) == "string" and link.method:upper() == "POST" then
        local body = type(link.body) == "table" and link.body or {}
        if link.merge == true then
          local merged = {}
          for k, v in pairs(request.json or {}) do merged[k] = v end
          for k, v in pairs(body) do merged[k] = v end
          body = merged
        end
        return { method = "POST", url = link.href, json = body }
      end
      return { method = "GET", url = link.href }
    end
  end
end

--- The body of a search, for those who send it themselves.
---
--- ```lua
--- local body = moon.stac.body { bounds = moon.bounds(1, 2, 3, 4), time = "2024-05", limit = 10 }
--- assert(body.bbox[3] == 3 and body.datetime == "2024-05-01T00:00:00Z/2024-05-31T23:59:59Z" and body.limit == 10)
--- ```
---@param options table the same as those of `search`
---@return table
function M.body(options)
  core.options("stac.search", options, "collections", "bounds", "intersects", "time", "query", "filter", "ids", "sort", "limit", "transport")
  local o = options or {}
  local body = { collections = type(o.collections) == "string" and { o.collections } or o.collections, ids = o.ids, query = o.query }
  if o.bounds ~= nil and o.intersects ~= nil then core.raise("argument", "stac.search: bounds and intersects cannot both be given") end
  if o.bounds ~= nil then body.bbox = bbox(o.bounds) end
  if o.intersects ~= nil then body.intersects = moon.json.decode(moon.geometry(o.intersects):geojson()) end
  if o.time ~= nil then body.datetime = interval(o.time) end
  if o.filter ~= nil then
    body.filter = o.filter
    body["filter-lang"] = type(o.filter) == "table" and "cql2-json" or "cql2-text"
  end
  if o.sort ~= nil then
    body.sortby = {}
    for i, name in ipairs(type(o.sort) == "table" and o.sort or { o.sort }) do
      local sign, field = tostring(name):match("^([+-]?)(.+)$")
      body.sortby[i] = { field = field, direction = sign == "-" and "desc" or "asc" }
    end
  end
  local limit = o.limit or 100
  if type(limit) ~= "number" or limit < 1 or limit > 10000 or limit % 1 ~= 0 then
    core.raise("argument", "stac.search: limit: expected a whole number from 1 to 10000, got " .. core.show(o.limit))
  end
  body.limit = limit > 250 and 250 or limit
  return body
end

--- The items that a search finds, at most `limit` (100), page after page. `url` is the catalogue's (`…/search` is put
--- on it).
---
--- `collections` is a name or a list; `bounds` or `intersects` (a geometry) the place; `time` a time, a day, a month,
--- or `{ from, to }` with nil-like `".."` for an open end; `query` and `filter` (CQL2) conditions; `sort` a field,
--- `"-properties.datetime"` descending. `transport` is a function that gets `{ method, url, json }` and gives the
--- decoded answer; `moon.http` unless given.
---
--- ```lua
--- local asked = 0
--- local function transport(request)
---   asked = asked + 1
---   if request.method == "POST" then return { features = { { id = "a" } }, links = { { rel = "next", href = "https://example.org/2" } } } end
---   return { features = { { id = "b" }, { id = "c" } } }
--- end
--- local items = moon.stac.search("https://example.org", { limit = 2, transport = transport })
--- assert(asked == 2 and #items == 2 and items[2].id == "b")
--- ```
---@param url string
---@param options? { collections?: string|string[], bounds?: moon.Bounds|number[], intersects?: moon.Geometry, time?: string|number|any[], query?: table, filter?: string|table, ids?: string[], sort?: string|string[], limit?: integer, transport?: fun(request: table): table }
---@return moon.StacItem[]
function M.search(url, options)
  if type(url) ~= "string" or not url:find("^https?://") then
    core.raise("argument", "stac.search: expected the address of a catalogue (https://…), got " .. core.show(url))
  end
  local body = M.body(options)
  local limit, transport = options and options.limit or 100, options and options.transport or through_http
  url = url:gsub("/+$", "")
  if not url:find("/search$") then url = url .. "/search" end
  local items, request, pages = {}, { method = "POST", url = url, json = body }, 0
  while request and #items < limit do
    local answer = transport(request)
    if type(answer) ~= "table" or type(answer.features) ~= "table" then
      core.raise("argument", "stac.search: " .. request.url .. " answered no list of items: " .. core.show(answer))
    end
    for _, item in ipairs(answer.features) do
      if #items < limit then items[#items + 1] = item end
    end
    pages = pages + 1
    request = #answer.features > 0 and pages < 1000 and next_of(answer, request) or nil
  end
  return items
end

--- The addresses of an asset of each item (or of one item), in their order; items that lack it are left out.
---
--- ```lua
--- local items = { { id = "a", assets = { red = { href = "a.tif" } } }, { id = "b", assets = {} } }
--- assert(#moon.stac.assets(items, "red") == 1)
--- ```
---@param items moon.StacItem[]|moon.StacItem
---@param name string
---@return string[]
function M.assets(items, name)
  if type(items) ~= "table" then core.raise("argument", "stac.assets: expected items, got " .. core.show(items)) end
  local list = {}
  for _, item in ipairs(items.assets and { items } or items) do
    local asset = type(item.assets) == "table" and item.assets[name]
    if type(asset) == "table" and asset.href then list[#list + 1] = asset.href end
  end
  return list
end

--- The items as a table: `id`, `collection`, `datetime`, the plain properties, `geometry`; and the columns
--- `asset_NAME` of the assets that are named.
---
--- ```lua
--- local items = { { id = "a", properties = { ["eo:cloud_cover"] = 3 }, geometry = { type = "Point", coordinates = { 1, 2 } } } }
--- local t = moon.stac.table(items)
--- assert(t.columns["eo:cloud_cover"][1] == 3 and t:rows()[1].geometry.x == 1)
--- ```
---@param items moon.StacItem[]
---@param assets? string[]
---@return moon.Table
function M.table(items, assets)
  if type(items) ~= "table" then core.raise("argument", "stac.table: expected items, got " .. core.show(items)) end
  local rows = {}
  for i, item in ipairs(items) do
    local row = { id = item.id, collection = item.collection }
    for name, value in pairs(type(item.properties) == "table" and item.properties or {}) do
      if type(value) ~= "table" and value ~= moon.null then row[name] = value end
    end
    for _, name in ipairs(assets or {}) do row["asset_" .. name] = M.assets({ item }, name)[1] end
    if type(item.geometry) == "table" then row.geometry = moon.geometry(item.geometry) end
    rows[i] = row
  end
  return moon.table(rows)
end

moon.stac = M
