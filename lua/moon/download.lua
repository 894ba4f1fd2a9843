--- Remote files as files of the organisation.
---@type moon, table
local moon, inner = ...
local c, download = inner.core, inner.open("download").download

local units = { s = 1, m = 60, h = 3600, d = 86400, w = 604800 }

--- Downloads a file and gives its name, which `moon.read_raster`, `moon.read_vector`, `moon.file` and `moon.files` take:
--- `fd://…` or `/mnt/cache/…` as given, any other path beneath `/mnt/cache`. It happens once, however many tiles ask; a run that
--- is ended meanwhile leaves what it has for the next to go on with. When the file is there already it is asked for its ETag
--- at most once in `max_age` (a minute unless said otherwise), and downloaded again when that has changed; a result made of
--- it is current for as long. Progress stands in the log of the run that downloads.
---
--- With `unpack`, path names a folder: the files of a zip or tar, or (by the end of the URL) the one file of a `.gz`, `.bz2`, `.xz` or `.zst` (up to 100
--- times the size of the archive, 10,000 files).
---
--- Raises `fetch`, `too_large`, `quota`, `bad_file`; nothing is left behind, and a file that was there stays.
---
--- ```lua
--- local path, err = moon.try(moon.download, "ftp://example.org/scene.tif", "tiles/scene.tif", { max_age = "1d" })
--- assert(path == nil and err)
--- ```
---@param url string
---@param path string
---@param options? { max_age?: number|string, unpack?: boolean }
---@return string name
function moon.download(url, path, options)
  if type(url) ~= "string" or url:find("%z") then c.raise("argument", "download: the URL: expected a string, got " .. c.show(url)) end
  if not url:match("^https?://") then
    c.raise("argument", "download: " .. c.show(url) .. ": expected a URL that begins with https:// or http://")
  end
  if type(path) ~= "string" or path == "" or path:find("%z") then
    c.raise("argument", "download: the path: expected a name such as \"tiles/scene.tif\", got " .. c.show(path))
  end
  c.options("download", options, "max_age", "unpack")
  local o = options or {}
  local age = o.max_age == nil and 60 or o.max_age
  if type(age) == "string" then
    local digits, unit = age:match("^(%d+)([smhdw]?)$")
    age = digits and tonumber(digits) * units[unit == "" and "s" or unit]
  end
  if type(age) ~= "number" or not (age >= 0 and age <= 3.2e8) then
    c.raise("argument", "download: max_age: expected seconds, or a text such as \"1d\", got " .. c.show(o.max_age))
  end
  if o.unpack ~= nil and type(o.unpack) ~= "boolean" then
    c.raise("argument", "download: unpack: expected true or false, got " .. c.show(o.unpack))
  end
  if path:sub(1, 5) ~= "fd://" and path:sub(1, 11) ~= "/mnt/cache/" then
    if path:sub(1, 1) == "/" or path:match("^%a[%w+.-]*://") then
      c.raise("argument", "download: " .. c.show(path) .. ": expected a path beneath /mnt/cache, or fd://NAME")
    end
    path = "/mnt/cache/" .. path
  end
  if o.unpack then path = path:gsub("([^/])/+$", "%1") end
  download(url, path, age, o.unpack or false)
  return path
end
