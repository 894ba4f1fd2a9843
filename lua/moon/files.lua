--- Files of the organisation: `fd://NAME` (its own folder, the example data and the operator's mounts beneath it) and
--- `/mnt/cache/NAME` (a folder that all runs of the organisation share). There is no `io`; names are the same that
--- `moon.read_raster`, `moon.read_vector` and `moon.file` take. Own `fd://` and `/mnt/cache` can be changed, examples and
--- mounts only read; a file of the same name in `fd://` goes before an example's. Another organisation's files do not exist.
---
--- What a run reads, looks at or lists belongs to its result: when it changes, the next call runs again. What a run writes
--- does not: a run that wrote is cached like any other, and while its result is taken from the cache it does not write again
--- (`moon.udf(fn, {}, { max_age = 0 })` has it run each time). A run that reads a file and then changes it is never taken from
--- the cache.
---@type moon, table
local moon, inner = ...
local c, files = inner.core, inner.open "files"

---@class moon.FileEntry
---@field name string last part of the name; with `recursive`, the part behind the folder
---@field path string the whole name, which other functions take
---@field size integer bytes; 0 of a folder
---@field mtime number seconds since 1970
---@field is_folder boolean

---@class moon.files
moon.files = {}

--- The bytes of a file, up to 128 MB (and half of the run's memory). Raises `no_file`, `forbidden`, `too_large`.
---
--- ```lua
--- moon.files.write("/mnt/cache/notes/today.txt", "clear sky")
--- assert(moon.files.read("/mnt/cache/notes/today.txt") == "clear sky")
--- local text, err = moon.try(moon.files.read, "fd://missing.txt")
--- assert(text == nil and err.name == "no_file")
--- ```
---@type fun(name: string): string
moon.files.read = files.read

--- Writes a file as a whole: a reader sees the old one or the new one. Folders on the way are made. Raises `forbidden`
--- (mounts, names that leave the folder) and `quota`.
---
--- ```lua
--- moon.files.write("/mnt/cache/counts.json", moon.json.encode({ a = 1 }))
--- ```
---@type fun(name: string, text: string)
moon.files.write = files.write

--- What is in a folder, by name. Without an argument: `fd://`.
---
--- ```lua
--- moon.files.write("/mnt/cache/list/a.txt", "abc")
--- for _, f in ipairs(moon.files.list("/mnt/cache/list")) do print(f.name, f.size) end
--- assert(#moon.files.list("/mnt/cache", { recursive = true }) >= 2)
--- ```
---@type fun(folder?: string, options?: { recursive?: boolean }): moon.FileEntry[]
moon.files.list = files.list

--- What is known of a file or folder; nil when it is not there.
---
--- ```lua
--- moon.files.write("/mnt/cache/b.txt", "12345")
--- assert(moon.files.stat("/mnt/cache/b.txt").size == 5 and moon.files.stat("/mnt/cache/no.txt") == nil)
--- ```
---@type fun(name: string): moon.FileEntry?
moon.files.stat = files.stat

--- Deletes a file, or a folder: an empty one, or with `recursive` all of it. Gives whether it was there.
---
--- ```lua
--- moon.files.write("/mnt/cache/old/x.txt", "")
--- assert(moon.files.delete("/mnt/cache/old", { recursive = true }) and not moon.files.delete("/mnt/cache/old"))
--- ```
---@type fun(name: string, options?: { recursive?: boolean }): boolean
moon.files.delete = files.delete

local ENV = "/mnt/cache/.env"

--- The value of one line's right side: `'as it is'`, `"with \n and \""`, or bare up to a comment.
local function unquote(text, where)
  local first = text:sub(1, 1)
  if first == "'" then
    return text:match("^'([^']*)'%s*$") or text:match("^'([^']*)'%s+#") or c.raise("bad_file", where .. ": the quote has no end")
  end
  if first == '"' then
    local out, i = {}, 2
    while i <= #text do
      local ch = text:sub(i, i)
      if ch == '"' then
        local rest = text:sub(i + 1)
        if not rest:match("^%s*$") and not rest:match("^%s+#") then
          c.raise("bad_file", where .. ": there is text behind the quote")
        end
        return table.concat(out)
      end
      if ch == "\\" then
        i = i + 1
        local escaped = text:sub(i, i)
        ch = ({ n = "\n", r = "\r", t = "\t" })[escaped] or escaped
      end
      out[#out + 1] = ch
      i = i + 1
    end
    c.raise("bad_file", where .. ": the quote has no end")
  end
  return (text:gsub("%s+#.*$", ""):gsub("^#.*$", ""):gsub("%s+$", ""))
end

--- The names and values of a file in the format of `.env`: a `NAME=value` on each line, `#` comments, an optional `export`,
--- quotes as in a shell. Nothing is put into `moon.env`; the file is `/mnt/cache/.env` unless another is named.
---
--- ```lua
--- moon.files.write("/mnt/cache/app.env", "export HOST=example.org  # a comment\nTEXT=\"two\\nlines\"\n")
--- local env = moon.load_dotenv("/mnt/cache/app.env")
--- assert(env.HOST == "example.org" and env.TEXT == "two\nlines")
--- ```
---@param name? string
---@return table<string, string>
function moon.load_dotenv(name)
  name = name == nil and ENV or name
  local values, line_number = {}, 0
  for line in (files.read(name) .. "\n"):gmatch("(.-)\r?\n") do
    line_number = line_number + 1
    if not line:match("^%s*$") and not line:match("^%s*#") then
      local where = "load_dotenv: " .. name .. ":" .. line_number
      local key, value = line:gsub("^%s*export%s+", ""):match("^%s*([A-Za-z_][A-Za-z0-9_.]*)%s*=%s*(.-)$")
      if not key then c.raise("bad_file", where .. ": expected NAME=value") end
      values[key] = unquote(value, where)
    end
  end
  return values
end

--- Values of `/mnt/cache/.env` of the organisation, never of the server's environment; nil for a name that it does not have.
---
--- ```lua
--- moon.files.write("/mnt/cache/.env", "ROUTER=https://router.example.org\n")
--- assert(moon.env.ROUTER == "https://router.example.org" and moon.env.OTHER == nil)
--- ```
---@type table<string, string>
moon.env = setmetatable({}, {
  __index = function(t, key)
    local values = rawget(t, 0)
    if not values then
      values = files.stat(ENV) and moon.load_dotenv() or {}
      rawset(t, 0, values)
    end
    return values[key]
  end,
  __newindex = function()
    c.raise("argument", "moon.env is read-only: moon.files.write(\"" .. ENV .. "\", text) changes its file")
  end,
})
