--- Pages by hand: `moon.html`. Whatever is put into a template is escaped for the place where it stands; only
--- `moon.html.raw` puts in text as it is.
---
--- ```lua
--- local page = moon.html("<h1>{{title}}</h1><a href=\"{{link}}\">more</a>", { title = "5 < 6 & 7", link = "/places?q=a b" })
--- assert(tostring(page) == '<h1>5 &lt; 6 &amp; 7</h1><a href="/places?q=a b">more</a>')
--- ```
---@type moon, table
local moon, inner = ...
local c, core = inner.open "html", inner.core
local type, tostring, ipairs, setmetatable, getmetatable, table = type, tostring, ipairs, setmetatable, getmetatable, table
local escape = c.escape

---@class moon.Html
---@field body string the text, which is safe to be put into a page; `tostring(html)` and `..` give it too
---@field type string media type, for a UDF that returns it
local Html = { __name = "html", __moon_response = true }
Html.__tostring = function(h) return h.body end
Html.__index = { type = "text/html; charset=utf-8" }

--- Text that is markup already. `media_type` is what a UDF answers that returns it as it is.
local function markup(text, media_type)
  return setmetatable({ body = text, type = media_type }, Html)
end
local function is_markup(value)
  return type(value) == "table" and getmetatable(value) == Html
end

---@class moon.html
local M = {}
local put

-- What a rich value is in a page. Each is made by the codec that answers it over HTTP.
local function image(bytes, mime)
  return '<img alt="" src="data:' .. mime .. ";base64," .. c.base64(bytes) .. '">'
end
local function table_of(value, options)
  local page = moon.encode(value, "html", { rows = options and options.rows or 1000 })
  -- Cells are escaped, so that no other script can stand before the codec's own.
  local inside = page:match("<body>\n(.-)\n<script>")
  return '<div class="table">' .. (inside or "") .. "</div>"
end

--- The markup of a value in a page's text.
function put(value, options)
  local kind = type(value)
  if value == nil or value == moon.null then return "" end
  if kind == "string" then return escape(value) end
  if kind == "number" or kind == "boolean" then return escape(tostring(value)) end
  if is_markup(value) then return value.body end
  local rich = core.kind(value)
  if rich == "raster" then return image(moon.encode(value, "png"), "image/png") end
  if rich == "moon table" then return table_of(value, options) end
  if rich == "geometry" then return (moon.encode(value, "svg"):gsub("^<%?xml.-%?>%s*", "")) end
  if rich == "bounds" then return escape(tostring(value)) end
  if kind == "userdata" then
    local ok, film = pcall(moon.encode, value, "gif")
    if ok then return image(film, "image/gif") end
  end
  if kind == "table" and getmetatable(value) == nil then
    local parts = {}
    for i, item in ipairs(value) do parts[i] = put(item, options) end
    if #parts > 0 or next(value) == nil then return table.concat(parts) end
  end
  core.raise("argument", "html: expected text, a number, markup, a raster, table, geometry or a list of them, got " .. core.show(value))
end

-- A template is cut once into texts and values. Where a value stands decides how it is escaped, so the tags of the
-- template are followed: in text, in a quoted attribute, in an address, in a script. Where nothing can be made safe the
-- template is refused.
local addresses = { href = true, src = true, action = true, formaction = true, poster = true, cite = true, data = true,
  background = true, ["xlink:href"] = true }

local function refuse(template, at, what)
  local line = select(2, template:sub(1, at):gsub("\n", "\n")) + 1
  core.raise("argument", "html: line " .. line .. " of the template: " .. what)
end

--- The place at the end of `text`, from the place at its start: { kind =, … }.
local function follow(place, text, template, base)
  local at = 1
  while at <= #text do
    if place.kind == "text" then
      local open = text:find("<", at, true)
      if not open then return place end
      if text:sub(open, open + 3) == "<!--" then
        place, at = { kind = "comment" }, open + 4
      else
        local name, stop = text:match("^<(/?[%a][%w:-]*)()", open)
        if name then
          place, at = { kind = "tag", name = name:lower() }, stop
        elseif text:sub(open + 1, open + 1):find("[!?]") then
          place, at = { kind = "tag", name = "!" }, open + 1
        else
          at = open + 1
        end
      end
    elseif place.kind == "comment" then
      local _, stop = text:find("-->", at, true)
      if not stop then return place end
      place, at = { kind = "text" }, stop + 1
    elseif place.kind == "script" or place.kind == "style" then
      local stop = text:lower():find("</" .. place.kind, at, true)
      if not stop then return place end
      place, at = { kind = "text" }, stop
    elseif place.kind == "tag" then
      local attribute, quote, value = text:match("^%s*([^%s=>\"'/]+)%s*=%s*([\"'])()", at)
      if attribute then
        place, at = { kind = "attribute", tag = place.name, name = attribute:lower(), quote = quote, from = base + value }, value
      elseif text:sub(at, at) == ">" then
        at = at + 1
        place = { kind = (place.name == "script" or place.name == "style") and place.name or "text" }
      else
        local stop = text:match("^%s*[^%s=>\"'/]+%s*=%s*[^%s>\"']+()", at)
        local name = not stop and text:match("^%s*([^%s=>\"'/]+)%s*=%s*$", at)
        if name then return { kind = "unquoted", name = name } end
        at = stop or text:match("^%s*[^%s=>\"'/]+()", at) or at + 1
      end
    else -- attribute
      local stop = text:find(place.quote, at, true)
      if not stop then return place end
      place, at = { kind = "tag", name = place.tag }, stop + 1
    end
  end
  return place
end

local function safe_address(value)
  local text = tostring(value)
  local scheme = text:gsub("[%c%s]", ""):match("^([%a][%w+.-]*):")
  local first = text:match("^[^/?#]*")
  if not scheme or not first:find(":", 1, true) then return escape(text) end
  scheme = scheme:lower()
  local image_data = scheme == "data" and text:lower():match("^data:image/[%w.+-]+[;,]") and not text:lower():find("^data:image/svg")
  if scheme == "http" or scheme == "https" or scheme == "mailto" or scheme == "tel" or image_data then return escape(text) end
  return "#"
end

local function plain(value, name)
  if value == nil or value == moon.null then return "" end
  if type(value) == "string" or type(value) == "number" or type(value) == "boolean" then return tostring(value) end
  core.raise("argument", "html: {{" .. name .. "}} stands in an attribute: expected text, a number or a boolean, got " .. core.show(value))
end

local writers = {
  text = function(value) return put(value) end,
  attribute = function(value, name) return escape(plain(value, name)) end,
  address = function(value, name) return safe_address(plain(value, name)) end,
  -- JSON is a value of JavaScript; "<" could end the script.
  script = function(value) return (moon.json.encode(value == nil and moon.null or value):gsub("<", "\\u003c"):gsub("\226\128\168", "\\u2028")
    :gsub("\226\128\169", "\\u2029")) end,
}

local function writer_at(place, template, at, name)
  if place.kind == "text" then
    if template:sub(1, at - 1):find("</?$") then refuse(template, at, "{{" .. name .. "}} stands for the name of a tag") end
    return writers.text
  end
  if place.kind == "script" then return writers.script end
  if place.kind == "attribute" then
    if place.name:find("^on") or place.name == "style" or place.name == "srcdoc" or place.name == "srcset" then
      refuse(template, at, "{{" .. name .. "}} stands in the attribute " .. place.name .. ", where no text can be made safe")
    end
    -- Only at its start can a value bring an address's scheme.
    local before = template:sub(place.from, at - 1)
    if addresses[place.name] and before:find("^%s*$") then return writers.address end
    if addresses[place.name] and before:gsub("{{.-}}", ""):find("^%s*$") then
      refuse(template, at, "{{" .. name .. "}} goes on an address that starts with another value; put them together before")
    end
    return writers.attribute
  end
  if place.kind == "unquoted" then refuse(template, at, "{{" .. name .. "}} stands in an attribute without quotes; write " .. place.name .. '="{{' .. name .. '}}"') end
  refuse(template, at, "{{" .. name .. "}} stands in a " .. place.kind .. ", where no text can be made safe")
end

local function compile(template)
  local parts, at, place = {}, 1, { kind = "text" }
  while true do
    local open, close, name = template:find("{{%s*([%w_.]*)%s*}}", at)
    local text = template:sub(at, (open or #template + 1) - 1)
    if text:find("{{", 1, true) then refuse(template, at + text:find("{{", 1, true) - 1, "expected {{name}} or {{row.name}} behind {{") end
    place = follow(place, text, template, at - 1)
    parts[#parts + 1] = text
    if not open then return parts end
    if name == "" then refuse(template, open, "{{}} has no name") end
    parts[#parts + 1] = { name = name, write = writer_at(place, template, open, name), at = open }
    at = close + 1
  end
end

local function lookup(values, name, template, at)
  local value = values
  for part in name:gmatch("[^.]+") do
    if type(value) ~= "table" then
      refuse(template, at, "{{" .. name .. "}}: there is no `" .. part .. "` in " .. core.show(value))
    end
    value = value[tonumber(part) or part]
  end
  if value == nil then refuse(template, at, "there is no value for {{" .. name .. "}} (moon.null puts in nothing)") end
  return value
end

local known, n_known = {}, 0

local function fill(template, values)
  if type(template) ~= "string" then core.raise("argument", "html: expected a template, got " .. core.show(template)) end
  if values ~= nil and type(values) ~= "table" then
    core.raise("argument", "html: the second argument: expected a table of values by name, got " .. core.show(values))
  end
  local parts = known[template]
  if not parts then
    parts = compile(template)
    if n_known >= 100 then known, n_known = {}, 0 end
    known[template], n_known = parts, n_known + 1
  end
  local out = {}
  for i, part in ipairs(parts) do
    if type(part) == "string" then
      out[i] = part
    else
      out[i] = part.write(lookup(values or {}, part.name, template, part.at), part.name)
    end
  end
  return markup(table.concat(out))
end

--- A template for each item of a list, one after the other. The template is text, whose names are fields of the item
--- (`{{value}}` is an item that is no table, `{{index}}` its number), or a function `(item, index)` that gives markup
--- or text.
---
--- ```lua
--- local list = moon.html.each({ "a", "<b>" }, "<li>{{index}} {{value}}</li>")
--- assert(tostring(moon.html("<ul>{{list}}</ul>", { list = list })) == "<ul><li>1 a</li><li>2 &lt;b&gt;</li></ul>")
--- ```
---@param list any[]
---@param template string|fun(item: any, index: integer): any
---@return moon.Html
function M.each(list, template)
  if type(list) ~= "table" then core.raise("argument", "html.each: expected a list, got " .. core.show(list)) end
  local out = {}
  for i, item in ipairs(list) do
    if type(template) == "function" then
      out[i] = put(template(item, i))
    else
      local values = { index = i, value = item }
      if type(item) == "table" then setmetatable(values, { __index = item }) end
      out[i] = fill(template, values).body
    end
  end
  return markup(table.concat(out))
end

--- Text as markup, unchanged: for markup of one's own, never for what came from elsewhere.
---
--- ```lua
--- assert(tostring(moon.html("{{a}}", { a = moon.html.raw("<br>") })) == "<br>")
--- ```
---@param text string
---@return moon.Html
function M.raw(text)
  if type(text) ~= "string" then core.raise("argument", "html.raw: expected text, got " .. core.show(text)) end
  return markup(text)
end

--- Text with & < > " ' as entities.
---
--- ```lua
--- assert(moon.html.escape("<a href='x'>") == "&lt;a href=&#39;x&#39;&gt;")
--- ```
---@param text string|number
---@return string
function M.escape(text)
  if type(text) ~= "string" and type(text) ~= "number" then core.raise("argument", "html.escape: expected text, got " .. core.show(text)) end
  return escape(tostring(text))
end

--- The markup of any value as a page shows it: text is escaped, a table is a table, a raster a picture, a list its
--- items.
---
--- ```lua
--- assert(tostring(moon.html.of({ "a", 1 })) == "a1")
--- ```
---@param value any
---@return moon.Html
function M.of(value) return markup(put(value)) end

--- Fills `{{name}}` and `{{row.name}}` of a template from `values`: text is escaped for where it stands (text, a
--- quoted attribute, an address, a script), a table is a table, a raster a picture, a list its items, markup is put
--- in as it is. Where nothing can be made safe (an attribute without quotes, `onclick`, `style`) the template is
--- refused. A UDF may return the result.
---
--- ```lua
--- local safe = moon.html('<a href="{{url}}" title="{{t}}">x</a>', { url = "javascript:alert(1)", t = '"><script>' })
--- assert(tostring(safe) == '<a href="#" title="&quot;&gt;&lt;script&gt;">x</a>')
--- local page, err = moon.try(function() return moon.html("<p onclick='{{x}}'>", { x = "a" }) end)
--- assert(not page and err.message:find("onclick", 1, true))
--- ```
---@overload fun(template: string, values?: table<string, any>): moon.Html
moon.html = setmetatable(M, { __call = function(_, template, values) return fill(template, values) end })

inner.html = { put = put, markup = markup, is_markup = is_markup, escape = escape }
