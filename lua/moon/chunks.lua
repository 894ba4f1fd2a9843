--- The part of a large table that a tile needs: `moon.table_to_tile`.
---@type moon, table
local moon, inner = ...
local c, core = inner.open "chunks", inner.core
local type, ipairs, pairs, tostring, table, math = type, ipairs, pairs, tostring, table, math

local function quoted(name) return '"' .. name:gsub('"', '""') .. '"' end

--- Degrees, with a vector tile's buffer on a tile call.
local function widened(bounds)
  if not bounds.z then return bounds end
  local dx, dy = (bounds.xmax - bounds.xmin) / 64, (bounds.ymax - bounds.ymin) / 64
  return moon.bounds { math.max(bounds.xmin - dx, -180), math.max(bounds.ymin - dy, -90), math.min(bounds.xmax + dx, 180),
    math.min(bounds.ymax + dy, 90) }
end

--- What a Parquet file has, as a table without rows.
local function shape_of(file)
  local empty = moon.sql("select * from read_parquet($file) limit 0", { file = file })
  if not empty.geometry then core.raise("argument", "table_to_tile: " .. file.name .. " has no geometry") end
  return empty
end

local function columns_of(empty, wanted)
  local names, list = wanted or empty.names, {}
  local has, geometry = {}, empty.geometry
  for _, name in ipairs(empty.names) do has[name] = true end
  for _, name in ipairs(names) do
    if type(name) ~= "string" or not has[name] then
      core.raise("argument", "table_to_tile: columns: there is no " .. core.show(name) .. " (there are " .. table.concat(empty.names, ", ") .. ")")
    end
    if name ~= geometry and (wanted or name ~= "bbox") then list[#list + 1] = quoted(name) end
  end
  list[#list + 1] = quoted(geometry)
  return table.concat(list, ", "), has
end

--- Rows of a Parquet file that meet the box; `ranges`: of those row numbers (from 0) alone. All files of a table have
--- the columns of `empty`.
local function read_parquet(file, empty, box, wanted, ranges, nothing)
  local list, has = columns_of(empty, wanted)
  if nothing then return moon.sql("select " .. list .. " from read_parquet($file) limit 0", { file = file }) end
  local values = { file = file, box = moon.geometry(box):reproject(empty.crs) }
  local conditions = { "ST_Intersects(" .. quoted(empty.geometry) .. ", $box)" }
  if has.bbox and box.xmin <= box.xmax and empty.crs == "EPSG:4326" then -- its statistics tell which row groups to read
    values.w, values.s, values.e, values.n = box.xmin, box.ymin, box.xmax, box.ymax
    table.insert(conditions, 1, "bbox.xmin <= $e and bbox.xmax >= $w and bbox.ymin <= $n and bbox.ymax >= $s")
  end
  if ranges then
    local parts = {}
    for i, range in ipairs(ranges) do parts[i] = ("file_row_number between %d and %d"):format(range[1], range[2]) end
    table.insert(conditions, 1, "(" .. table.concat(parts, " or ") .. ")")
  end
  return moon.sql("select " .. list .. " from read_parquet($file, file_row_number = " .. (ranges and "true" or "false")
    .. ") where " .. table.concat(conditions, " and "), values)
end

--- The chunks of a table by the boxes of its `_sample`: the base64 text of a Parquet file in the metadata of another.
local function chunks_of(folder)
  local found = moon.sql("select from_base64(decode(value)) as bytes from parquet_kv_metadata($sample) where decode(key) = 'fused:_metadata'",
    { sample = moon.file(folder .. "_sample") })
  local bytes = found.columns.bytes[1]
  if not bytes then core.raise("bad_file", "table_to_tile: " .. folder .. "_sample has no fused:_metadata") end
  return c.from_parquet(bytes)
end

local function read_chunks(folder, box, wanted, nothing)
  local chunks = chunks_of(folder)
  local parts = box.xmin <= box.xmax and { { box.xmin, box.xmax } } or { { box.xmin, 180 }, { -180, box.xmax } }
  local conditions = {}
  for i, part in ipairs(parts) do
    conditions[i] = ("(bbox_maxx >= %.17g and bbox_minx <= %.17g)"):format(part[1], part[2])
  end
  local hits = nothing and chunks:limit(1) or moon.sql(("select file_id, chunk_id from chunks where bbox_maxy >= %.17g and bbox_miny <= %.17g and (")
    :format(box.ymin, box.ymax) .. table.concat(conditions, " or ") .. ") order by file_id, chunk_id", { chunks = chunks })
  if hits:count() == 0 then
    if chunks:count() == 0 then core.raise("bad_file", "table_to_tile: " .. folder .. "_sample lists no chunks") end
    hits, nothing = chunks:limit(1), true
  end
  local order, ids = {}, {}
  for _, row in ipairs(hits:rows()) do
    local name = tostring(row.file_id)
    if not ids[name] then
      ids[name] = {}
      order[#order + 1] = name
    end
    ids[name][row.chunk_id] = true
  end
  local answer, empty
  for _, name in ipairs(order) do
    local file = moon.file(folder .. name .. ".parquet")
    empty = empty or shape_of(file)
    local ranges, at = {}, 0
    if not nothing then
      local groups = moon.sql("select row_group_id as id, any_value(row_group_num_rows) as n from parquet_metadata($file) group by 1 order by 1", { file = file })
      for _, group in ipairs(groups:rows()) do
        local last = ranges[#ranges]
        if ids[name][group.id] then
          if last and last[2] == at - 1 then last[2] = at + group.n - 1 else ranges[#ranges + 1] = { at, at + group.n - 1 } end
        end
        at = at + group.n
      end
      if #ranges == 0 then core.raise("bad_file", "table_to_tile: " .. file.name .. " has not the chunks that _sample names") end
    end
    local part = read_parquet(file, empty, box, wanted, ranges, nothing)
    answer = answer and moon.sql("select * from a union all by name select * from b", { a = answer, b = part }) or part
  end
  return answer
end

--- The rows of a table that a tile (or bounds) needs. `path` is a folder of chunks with its `_sample`, as `ingest` makes
--- it, of which only the chunks that meet the bounds are read; or a file: GeoParquet, FlatGeobuf, or any other of OGR's.
--- Below `min_zoom` there are no rows. `clip` cuts geometries at the edge. On a tile call both count with a vector
--- tile's buffer (1/64 of the tile on each side).
---
--- ```lua
--- local t = moon.table_to_tile(moon.bounds(8, 46, 9, 47), "fd://places.fgb", { columns = { "name" } })
--- assert(t:count() > 100)
--- assert(moon.table_to_tile(moon.tile.bounds(3, 4, 2), "fd://places.fgb", { min_zoom = 12 }):count() == 0)
--- ```
---@param bounds moon.Bounds
---@param path string
---@param options? { min_zoom?: integer, columns?: string[], clip?: boolean }
---@return moon.Table
function moon.table_to_tile(bounds, path, options)
  core.options("table_to_tile", options, "min_zoom", "columns", "clip")
  options = options or {}
  bounds = core.kind(bounds) == "bounds" and bounds or moon.bounds(bounds)
  if type(path) ~= "string" then
    core.raise("argument", "table_to_tile: path: expected a folder or a file such as \"fd://buildings/\", got " .. core.show(path))
  end
  local least, wanted = options.min_zoom, options.columns
  if least ~= nil and (type(least) ~= "number" or not (least >= 0 and least <= 24)) then
    core.raise("argument", "table_to_tile: min_zoom: expected 0 to 24, got " .. core.show(least))
  end
  if wanted ~= nil and (type(wanted) ~= "table" or getmetatable(wanted) or #wanted == 0) then
    core.raise("argument", "table_to_tile: columns: expected a list of names, got " .. core.show(wanted))
  end
  local box = widened(bounds)
  local nothing = least ~= nil and bounds.z ~= nil and bounds.z < least
  local answer
  if path:sub(-1) == "/" then
    answer = read_chunks(path, box, wanted, nothing)
  elseif path:lower():find("%.g?e?o?parquet$") then
    local file = moon.file(path)
    answer = read_parquet(file, shape_of(file), box, wanted, nil, nothing)
  else
    answer = moon.read_vector(path, nothing and nil or box, { columns = wanted, limit = nothing and 1 or nil })
    if nothing then answer = answer:head(0) end
  end
  if options.clip and answer:count() > 0 then answer = answer:clip(box) end
  return answer
end
