--- Charts as SVG: `moon.chart`, and `t:chart` of a table. They fit to light and dark pages, and each mark says its
--- values to the pointer.
---
--- ```lua
--- local t = moon.table { { city = "Olinda", people = 390 }, { city = "Recife", people = 1650 } }
--- local svg = t:chart("bar", { x = "city", y = "people", title = "Thousands of people" })
--- assert(tostring(svg):find("^<svg") and tostring(svg):find("Recife", 1, true))
--- ```
---
--- A UDF may return a chart (it answers image/svg+xml), or put it into `moon.page` or `moon.html`.
---@type moon, table
local moon, inner = ...
local core = inner.core
local _ = moon.html
local html, time = inner.html, moon.time
local type, ipairs, pairs, tostring, math, table, string = type, ipairs, pairs, tostring, math, table, string
local floor, max, min, abs, huge = math.floor, math.max, math.min, math.abs, math.huge

-- Hues that stay apart for the colour-blind, and have a contrast of 3:1 on their paper.
local light = { "#2f6db5", "#d1691e", "#2a8c62", "#b0428f", "#7158b8", "#8a7216", "#4b8ea6", "#a8483f" }
local dark = { "#71aaf0", "#f2a15f", "#62c99b", "#e58bc8", "#b09cf0", "#d6bd5c", "#86c6dc", "#ee958c" }

local function style_of(colours)
  local out = { "svg:root{background:#fff}.mg-chart{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;max-width:100%;height:auto}"
    .. ".mg-chart text{fill:#3d4956}.mg-chart .title{font-size:15px;font-weight:600;fill:#1d2530}.mg-chart .name{fill:#5b6775}"
    .. ".mg-chart .grid{stroke:#e3e8ee}.mg-chart .base{stroke:#8b97a5}.mg-chart .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    .. ".mg-chart .dot{stroke:#fff;stroke-width:1}.mg-chart .bar:hover,.mg-chart .dot:hover{filter:brightness(1.15)}" }
  local night = { "svg:root{background:#14181d}.mg-chart text{fill:#b8c3cf}.mg-chart .title{fill:#eef2f6}.mg-chart .name{fill:#97a4b2}"
    .. ".mg-chart .grid{stroke:#2a323b}.mg-chart .base{stroke:#6b7886}.mg-chart .dot{stroke:#14181d}" }
  for i = 1, #light do
    local day, late = colours[i] or light[i], colours[i] or dark[i]
    out[#out + 1] = (".mg-chart .c%d{fill:%s}.mg-chart .l%d{stroke:%s}"):format(i, day, i, day)
    night[#night + 1] = (".mg-chart .c%d{fill:%s}.mg-chart .l%d{stroke:%s}"):format(i, late, i, late)
  end
  return "<style>" .. table.concat(out) .. "@media(prefers-color-scheme:dark){" .. table.concat(night) .. "}</style>"
end

local function n2(v) return (("%.2f"):format(v):gsub("%.?0+$", "")) end

--- Text that XML can hold: UTF-8 without control characters.
local function clean(value)
  local text = tostring(value):gsub("%c", " ")
  if text:find("[\128-\255]") and text:gsub("[%z\1-\127]", ""):gsub("[\194-\223][\128-\191]", ""):gsub("[\224-\239][\128-\191][\128-\191]", "")
    :gsub("[\240-\244][\128-\191][\128-\191][\128-\191]", "") ~= "" then
    text = text:gsub("[\128-\255]", "?")
  end
  return text
end

local function width_of(text, size)
  local w = 0
  for ch in text:gmatch("[%z\1-\127\194-\244][\128-\191]*") do
    local b = ch:byte()
    w = w + (b >= 227 and 1 or b > 127 and 0.58 or ch:find("[iljtf.,:;'|!I ]") and 0.3 or ch:find("[mwMW@%%]") and 0.86
      or ch:find("%u") and 0.66 or 0.555)
  end
  return w * (size or 12)
end

local function shorten(text, width, size)
  if width_of(text, size) <= width then return text end
  local out, w = {}, width_of("…", size)
  for ch in text:gmatch("[%z\1-\127\194-\244][\128-\191]*") do
    w = w + width_of(ch, size)
    if w > width then break end
    out[#out + 1] = ch
  end
  return table.concat(out):gsub("%s+$", "") .. "…"
end

local function grouped(text)
  local sign, whole, rest = text:match("^(%-?)(%d+)(.*)$")
  if not whole or #whole < 5 then return text end
  return sign .. whole:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "") .. rest
end

--- A number as people write it.
local function said(v)
  if v % 1 == 0 and abs(v) < 1e15 then return grouped(("%.0f"):format(v)) end
  return grouped((("%.4g"):format(v)))
end

--- Round steps over low .. high, about `n` of them: a list of ticks, the step.
local function nice(low, high, n)
  local raw = (high - low) / max(1, n)
  local power = 10 ^ floor(math.log10(raw))
  local f = raw / power
  local step = (f <= 1 and 1 or f <= 2 and 2 or f <= 2.5 and 2.5 or f <= 5 and 5 or 10) * power
  return floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step
end

local function label_of(v, step, biggest)
  local unit, letter = 1, ""
  if biggest >= 1e9 then unit, letter = 1e9, "G" elseif biggest >= 1e6 then unit, letter = 1e6, "M" end
  if abs(v) < step * 1e-6 then return "0" end
  v, step = v / unit, step / unit
  if step < 1e-5 then return ("%.3g"):format(v) .. letter end
  local digits = 0
  while digits < 6 and abs(step * 10 ^ digits - floor(step * 10 ^ digits + 0.5)) > 1e-6 do digits = digits + 1 end
  return grouped(("%." .. digits .. "f"):format(v)) .. letter
end

--- A scale of numbers: from, to, ticks as { at =, text = }.
local function scale_of(low, high, n, exact)
  if low > high then low, high = 0, 1 end
  if low == high then
    local by = low == 0 and 1 or abs(low) * 0.1
    if low > 0 and low - by < 0 then low = 0 else low = low - by end
    high = high + by
  end
  local from, to, step = nice(low, high, n)
  local ticks = {}
  for i = 0, floor((to - from) / step + 0.5) do
    local at = from + i * step
    if not exact or (at >= low - step * 1e-6 and at <= high + step * 1e-6) then
      ticks[#ticks + 1] = { at = at, text = label_of(at, step, max(abs(from), abs(to))) }
    end
  end
  if exact then from, to = low, high end
  return { low = from, high = to, ticks = ticks }
end

local time_steps = { { 1, "second" }, { 5, "second" }, { 15, "second" }, { 30, "second" }, { 1, "minute" }, { 5, "minute" }, { 15, "minute" },
  { 30, "minute" }, { 1, "hour" }, { 3, "hour" }, { 6, "hour" }, { 12, "hour" }, { 1, "day" }, { 2, "day" }, { 1, "week" }, { 2, "week" },
  { 1, "month" }, { 3, "month" }, { 6, "month" }, { 1, "year" }, { 2, "year" }, { 5, "year" }, { 10, "year" }, { 20, "year" }, { 50, "year" },
  { 100, "year" }, { 500, "year" }, { 1000, "year" } }
local unit_seconds = { second = 1, minute = 60, hour = 3600, day = 86400, week = 604800, month = 2629746, year = 31556952 }
local unit_format = { second = "%T", minute = "%H:%M", hour = "%H:%M", day = "%e %b", week = "%e %b", month = "%b %Y", year = "%Y" }

local function time_scale(low, high, n)
  if low == high then low, high = low - 43200, high + 43200 end
  local count, unit = 1000, "year"
  for _, s in ipairs(time_steps) do
    if (high - low) / (s[1] * unit_seconds[s[2]]) <= n then
      count, unit = s[1], s[2]
      break
    end
  end
  local ticks, at = {}, time.floor(low, unit == "week" and "week" or unit)
  if count > 1 and (unit == "month" or unit == "year") then
    local p = time.parts(at)
    at = time.add(at, unit == "month" and -((p.month - 1) % count) or -(p.year % count), unit)
  elseif count > 1 and unit ~= "week" and unit ~= "day" then
    at = floor(low / (count * unit_seconds[unit])) * count * unit_seconds[unit]
  end
  while at <= high and #ticks < 100 do
    if at >= low then
      local text = time.format(at, unit_format[unit])
      if (unit == "hour" or unit == "minute") and at % 86400 == 0 then text = time.format(at, "%e %b") end
      ticks[#ticks + 1] = { at = at, text = text }
    end
    at = time.add(at, count, unit)
  end
  return { low = low, high = high, ticks = ticks }
end

-- Data.

local function reader(what, data)
  if core.kind(data) == "moon table" then
    local names, n = {}, data:count()
    for _, name in ipairs(data.names) do names[name] = true end
    return function(option, column)
      if type(column) ~= "string" or not names[column] then
        core.raise("argument", what .. ": " .. option .. ": expected the name of a column (" .. table.concat(data.names, ", ") .. "), got " .. core.show(column))
      end
      return data.columns[column]
    end, n
  end
  if type(data) ~= "table" or getmetatable(data) ~= nil or (data[1] == nil and next(data) ~= nil) then
    core.raise("argument", what .. ": expected a table or a list of rows, got " .. core.show(data))
  end
  return function(option, column)
    local list, seen = {}, #data == 0
    if type(column) ~= "string" then core.raise("argument", what .. ": " .. option .. ": expected the name of a column, got " .. core.show(column)) end
    for i, row in ipairs(data) do
      if type(row) ~= "table" then core.raise("argument", what .. ": row " .. i .. ": expected a table, got " .. core.show(row)) end
      list[i] = row[column]
      seen = seen or list[i] ~= nil
    end
    if not seen then core.raise("argument", what .. ": " .. option .. ": no row has a value for " .. core.show(column)) end
    return list
  end, #data
end

local function number(what, column, v)
  if v == nil or v == moon.null then return nil end
  if type(v) ~= "number" then core.raise("argument", what .. ": column " .. column .. ": expected numbers, got " .. core.show(v)) end
  if v ~= v or v == huge or v == -huge then return nil end
  return v
end

--- The kind of an x column ("number", "time" or "category"), and its values so.
local function positions(values, n)
  local numbers, times, out = true, true, {}
  for i = 1, n do
    local v = values[i]
    if v ~= nil and v ~= moon.null then
      numbers = numbers and type(v) == "number"
      times = times and type(v) == "string" and v:find("^%-?%d%d%d%d%-%d%d") ~= nil
    end
  end
  if numbers then
    for i = 1, n do
      local v = values[i]
      if type(v) == "number" and v == v and abs(v) ~= huge then out[i] = v end
    end
    return "number", out
  end
  if times then
    for i = 1, n do
      if values[i] ~= nil and values[i] ~= moon.null then
        local ok, t = pcall(time.parse, values[i])
        if not ok then
          times = false
          break
        end
        out[i] = t
      end
    end
    if times then return "time", out end
  end
  return "category", values
end

--- Series { name =, points = { { x =, y =, label = } } } of the options x, y, by.
local function series_of(what, data, o)
  local column, n = reader(what, data)
  local xs = column("x", o.x)
  local names = type(o.y) == "table" and o.y or { o.y }
  if #names == 0 or (o.by ~= nil and #names > 1) then
    core.raise("argument", what .. ": y: expected the name of a column" .. (o.by and "; with `by` one alone" or ", or a list of names"))
  end
  local kind, at = positions(xs, n)
  local list, known = {}, {}
  local function series(name)
    if not known[name] then
      if #list == #light then core.raise("argument", what .. ": more than " .. #light .. " series") end
      list[#list + 1] = { name = name, points = {} }
      known[name] = list[#list]
    end
    return known[name]
  end
  local groups = o.by ~= nil and column("by", o.by)
  for _, name in ipairs(names) do
    local ys = column("y", name)
    if not groups then series(name) end
    for i = 1, n do
      local target = series(groups and (groups[i] == nil and "–" or clean(groups[i])) or name)
      if at[i] ~= nil and at[i] ~= moon.null then
        target.points[#target.points + 1] = { x = at[i], y = number(what, name, ys[i]), label = xs[i] }
      end
    end
  end
  return list, kind
end

-- Drawing.

local Frame = {}
Frame.__index = Frame

function Frame:put(text, ...)
  self.out[#self.out + 1] = select("#", ...) > 0 and text:format(...) or text
end

--- The title, the legend and the room for both axes; x_labels are the texts that may stand below.
local function open_frame(o, list, y, x_texts, slot)
  local f = setmetatable({ out = {}, w = o.width or 720, h = o.height or 400, y = y }, Frame)
  local widest = 0
  for _, tick in ipairs(y.ticks) do widest = max(widest, width_of(tick.text)) end
  f.left = floor(widest + 18 + (o.y_label and 18 or 0))
  f.right = f.w - 16
  f.top = 14
  if o.title then
    f:put('<text class="title" x="%s" y="24">%s</text>', n2(f.left), html.escape(shorten(clean(o.title), f.right - f.left, 15)))
    f.top = 38
  end
  if #list > 1 then
    local at, row = f.left, f.top + 8
    for i, s in ipairs(list) do
      local name = shorten(clean(s.name), 180)
      local w = width_of(name) + 32
      if at + w > f.right and at > f.left then at, row = f.left, row + 18 end
      f:put('<rect class="c%d" x="%s" y="%s" width="11" height="11" rx="2"/><text x="%s" y="%s">%s</text>', i, n2(at), n2(row - 9), n2(at + 16), n2(row),
        html.escape(name))
      at = at + w
    end
    f.top = row + 14
  end
  -- Labels below: level where they fit, else slanted, and then perhaps only some of them.
  local longest = 0
  for _, text in ipairs(x_texts) do longest = max(longest, width_of(text)) end
  f.slanted = slot ~= nil and longest + 8 > slot(f)
  local below = f.slanted and min(longest, 130) * 0.71 + 20 or 24
  f.bottom = floor(f.h - below - (o.x_label and 20 or 0) - 4)
  if f.bottom - f.top < 40 then
    core.raise("argument", "chart: a height of " .. f.h .. " leaves no room for the chart; choose a larger one")
  end
  if o.x_label then
    f:put('<text class="name" x="%s" y="%s" text-anchor="middle">%s</text>', n2((f.left + f.right) / 2), n2(f.h - 8), html.escape(clean(o.x_label)))
  end
  if o.y_label then
    f:put('<text class="name" transform="translate(14 %s) rotate(-90)" text-anchor="middle">%s</text>', n2((f.top + f.bottom) / 2), html.escape(clean(o.y_label)))
  end
  return f
end

function Frame:py(v) return self.bottom - (v - self.y.low) / (self.y.high - self.y.low) * (self.bottom - self.top) end
function Frame:px(v) return self.left + (v - self.x.low) / (self.x.high - self.x.low) * (self.right - self.left) end

function Frame:axes()
  for _, tick in ipairs(self.y.ticks) do
    local y = n2(floor(self:py(tick.at)) + 0.5)
    self:put('<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/><text x="%s" y="%s" text-anchor="end" dy=".32em">%s</text>',
      tick.at == 0 and "base" or "grid", n2(self.left), y, n2(self.right), y, n2(self.left - 8), y, html.escape(tick.text))
  end
  if self.y.low ~= 0 then
    self:put('<line class="base" x1="%s" y1="%s" x2="%s" y2="%s"/>', n2(self.left), self.bottom + 0.5, n2(self.right), self.bottom + 0.5)
  end
end

-- A label below at x; slanted when the frame says so.
function Frame:below(x, text)
  if self.slanted then
    self:put('<text transform="translate(%s %s) rotate(-45)" text-anchor="end">%s</text>', n2(x + 4), n2(self.bottom + 14), html.escape(shorten(text, 130)))
  else
    self:put('<text x="%s" y="%s" text-anchor="middle">%s</text>', n2(x), n2(self.bottom + 18), html.escape(text))
  end
end

function Frame:x_ticks()
  local last
  for _, tick in ipairs(self.x.ticks) do
    local x, half = self:px(tick.at), width_of(tick.text) / 2
    self:put('<line class="base" x1="%s" y1="%s" x2="%s" y2="%s"/>', n2(x), self.bottom + 0.5, n2(x), self.bottom + 5)
    if not last or x - half > last + 6 then
      local at = max(min(x, self.w - half - 2), half + 2)
      self:below(at, tick.text)
      last = x + half
    end
  end
end

function Frame:finish(o)
  local label = html.escape(clean(o.title or "chart"))
  return html.markup(('<svg xmlns="http://www.w3.org/2000/svg" class="mg-chart" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">%s%s</svg>')
    :format(self.w, self.h, self.w, self.h, label, style_of(o.colours or {}), table.concat(self.out)), "image/svg+xml; charset=utf-8")
end

local function nothing(o)
  local f = setmetatable({ out = {}, w = o.width or 720, h = o.height or 400 }, Frame)
  if o.title then f:put('<text class="title" x="16" y="24">%s</text>', html.escape(shorten(clean(o.title), f.w - 32, 15))) end
  f:put('<text class="name" x="%s" y="%s" text-anchor="middle">no data</text>', n2(f.w / 2), n2(f.h / 2))
  return f:finish(o)
end

local function extent(list, field, low, high)
  for _, s in ipairs(list) do
    for _, p in ipairs(s.points) do
      local v = p[field]
      if v then low, high = min(low, v), max(high, v) end
    end
  end
  return low, high
end

local function said_at(kind, v)
  if kind == "time" then return (time.format(v):gsub("T00:00:00Z$", "")) end
  return type(v) == "number" and said(v) or clean(v)
end

--- A path that is rounded only where the bar ends.
local function bar_path(x, w, y0, y1)
  local r = min(3, w / 2, abs(y1 - y0))
  local s = y1 < y0 and 1 or -1
  return ("M%s %sV%sQ%s %s %s %sH%sQ%s %s %s %sV%sZ"):format(n2(x), n2(y0), n2(y1 + s * r), n2(x), n2(y1), n2(x + r), n2(y1), n2(x + w - r), n2(x + w), n2(y1),
    n2(x + w), n2(y1 + s * r), n2(y0))
end

local kinds = {}

function kinds.bar(data, o)
  local list = series_of("chart", data, o)
  -- Categories in the order of the rows; what has one category in a series is added up when `by` made the series.
  local names, index, cells = {}, {}, {}
  for s, series in ipairs(list) do
    for i, p in ipairs(series.points) do
      local key = (o.by or #list > 1) and tostring(p.label) or s .. "\0" .. i
      if not index[key] then
        names[#names + 1] = said_at("category", p.label)
        index[key] = #names
      end
      local at = index[key]
      cells[at] = cells[at] or {}
      if p.y then cells[at][s] = (cells[at][s] or 0) + p.y end
    end
  end
  if #names == 0 then return nothing(o) end
  if #names * #list > 2000 then core.raise("argument", "chart: " .. #names .. " bars; at most 2000 are drawn (t:head(n) takes the first)") end
  local low, high = 0, 0
  for _, cell in ipairs(cells) do
    local up, down = 0, 0
    for s = 1, #list do
      local v = cell[s]
      if v and o.stack then
        if v > 0 then up = up + v else down = down + v end
      elseif v then
        up, down = max(up, v), min(down, v)
      end
    end
    low, high = min(low, down), max(high, up)
  end
  local f = open_frame(o, list, scale_of(low, high, ((o.height or 400) - 90) / 48), names, function(f) return (f.right - f.left) / #names end)
  local slot = (f.right - f.left) / #names
  local gap = min(slot * 0.3, 24)
  local each = o.stack and slot - gap or (slot - gap) / #list
  f:axes()
  for i, cell in ipairs(cells) do
    local x, up, down = f.left + (i - 1) * slot + gap / 2, 0, 0
    for s = 1, #list do
      local v = cell[s]
      if v and v ~= 0 then
        local from = 0
        if o.stack and v > 0 then from, up = up, up + v elseif o.stack then from, down = down, down + v end
        local tip = names[i] .. (#list > 1 and ", " .. clean(list[s].name) or "") .. ": " .. said(v)
        f:put('<path class="bar c%d" d="%s"><title>%s</title></path>', s, bar_path(o.stack and x or x + (s - 1) * each, each * (#list > 1 and not o.stack and 0.94 or 1),
          f:py(from), f:py(from + v)), html.escape(tip))
      end
    end
  end
  local every = math.ceil(14 / slot)
  for i, name in ipairs(names) do
    if (i - 1) % every == 0 then f:below(f.left + (i - 0.5) * slot, name) end
  end
  return f:finish(o)
end

--- At most four points for each column of pixels: first, lowest, highest, last. The line looks the same.
local function thin(points, columns, low, high)
  if #points <= columns * 4 then return points end
  local out, i = {}, 1
  while i <= #points do
    local column, first, least, most, last = floor((points[i].x - low) / (high - low) * columns), i, i, i, i
    while last < #points and floor((points[last + 1].x - low) / (high - low) * columns) == column do
      last = last + 1
      if points[last].y < points[least].y then least = last end
      if points[last].y > points[most].y then most = last end
    end
    local a, b = min(least, most), max(least, most)
    out[#out + 1] = points[first]
    if a ~= first then out[#out + 1] = points[a] end
    if b ~= a and b ~= first then out[#out + 1] = points[b] end
    if last ~= b and last ~= a and last ~= first then out[#out + 1] = points[last] end
    i = last + 1
  end
  return out
end

local function xy(data, o, what)
  local list, kind = series_of("chart", data, o)
  if kind == "category" then
    local index, names = {}, {}
    for _, s in ipairs(list) do
      for _, p in ipairs(s.points) do
        local name = clean(p.label)
        if not index[name] then
          names[#names + 1] = name
          index[name] = #names
        end
        p.x = index[name]
      end
    end
    list.names = names
  end
  local low, high = extent(list, "x", huge, -huge)
  local bottom, top = extent(list, "y", huge, -huge)
  if low > high or bottom > top then return nil end
  if o.zero == true or (o.zero == nil and what == "line" and bottom > 0 and bottom < 0.5 * top) then bottom = min(bottom, 0) top = max(top, 0) end
  local y, texts, x = scale_of(bottom, top, ((o.height or 400) - 90) / 48), {}, nil
  local n = ((o.width or 720) - 80) / 90
  if list.names then
    x = { low = 0.5, high = #list.names + 0.5, ticks = {} }
    for i, name in ipairs(list.names) do x.ticks[i] = { at = i, text = name } end
    texts = list.names
  elseif kind == "time" then
    x = time_scale(low, high, n)
  else
    x = scale_of(low, high, n, what == "line")
  end
  local f = open_frame(o, list, y, texts, list.names and function(f) return (f.right - f.left) / #list.names end)
  f.x = x
  f:axes()
  if list.names then
    local every = math.ceil(14 / ((f.right - f.left) / #list.names))
    for i, name in ipairs(list.names) do
      if (i - 1) % every == 0 then f:below(f:px(i), name) end
    end
  else
    f:x_ticks()
  end
  return f, list, kind
end

function kinds.line(data, o)
  local f, list, kind = xy(data, o, "line")
  if not f then return nothing(o) end
  for s, series in ipairs(list) do
    local points = series.points
    for i, p in ipairs(points) do p.i = i end
    table.sort(points, function(a, b)
      if a.x == b.x then return a.i < b.i end
      return a.x < b.x
    end)
    -- A missing value is a gap.
    local runs, run = {}, {}
    for _, p in ipairs(points) do
      if p.y then
        run[#run + 1] = p
      elseif #run > 0 then
        runs[#runs + 1], run = run, {}
      end
    end
    if #run > 0 then runs[#runs + 1] = run end
    local dots = #points <= 80
    for _, part in ipairs(runs) do
      local d = {}
      for i, p in ipairs(thin(part, f.right - f.left, f.x.low, f.x.high)) do d[i] = (i == 1 and "M" or "L") .. n2(f:px(p.x)) .. " " .. n2(f:py(p.y)) end
      if #part > 1 then f:put('<path class="line l%d" d="%s"/>', s, table.concat(d)) end
      if dots or #part == 1 then
        for _, p in ipairs(part) do
          f:put('<circle class="dot c%d" cx="%s" cy="%s" r="3.5"><title>%s</title></circle>', s, n2(f:px(p.x)), n2(f:py(p.y)),
            html.escape((#list > 1 and clean(series.name) .. ", " or "") .. said_at(list.names and "category" or kind, list.names and p.label or p.x) .. ": " .. said(p.y)))
        end
      end
    end
  end
  return f:finish(o)
end

function kinds.scatter(data, o)
  local f, list, kind = xy(data, o, "scatter")
  if not f then return nothing(o) end
  local total = 0
  for _, series in ipairs(list) do total = total + #series.points end
  if total > 50000 then core.raise("argument", "chart: " .. total .. " points; at most 50000 are drawn (t:head(n) takes the first)") end
  local r, opacity = total > 2000 and 2 or total > 300 and 3 or 4.5, total > 2000 and 0.4 or 0.75
  for s, series in ipairs(list) do
    for _, p in ipairs(series.points) do
      if p.y then
        local tip = total <= 2000 and "<title>" .. html.escape((#list > 1 and clean(series.name) .. ": " or "")
          .. said_at(list.names and "category" or kind, list.names and p.label or p.x) .. ", " .. said(p.y)) .. "</title>" or ""
        f:put('<circle class="%s c%d" cx="%s" cy="%s" r="%s" fill-opacity="%s">%s</circle>', total > 2000 and "" or "dot", s, n2(f:px(p.x)), n2(f:py(p.y)), r, opacity, tip)
      end
    end
  end
  return f:finish(o)
end

function kinds.histogram(data, o)
  local column, n = reader("chart", data)
  local values, list, low, high = column("x", o.x), {}, huge, -huge
  for i = 1, n do
    local v = number("chart", o.x, values[i])
    if v then
      list[#list + 1] = v
      low, high = min(low, v), max(high, v)
    end
  end
  if #list == 0 then return nothing(o) end
  if low == high then low, high = low - 0.5, high + 0.5 end
  local bins = o.bins
  if bins == nil then -- Freedman and Diaconis
    table.sort(list)
    local iqr = list[math.ceil(#list * 0.75)] - list[math.ceil(#list * 0.25)]
    bins = iqr > 0 and min(60, max(5, math.ceil((high - low) / (2 * iqr / (#list) ^ (1 / 3))))) or 20
  end
  local from, to, step = nice(low, high, bins)
  local counts, most = {}, 0
  local parts = max(1, floor((to - from) / step + 0.5))
  for i = 1, parts do counts[i] = 0 end
  for _, v in ipairs(list) do
    local i = min(parts, floor((v - from) / step + 1e-9) + 1)
    counts[i] = counts[i] + 1
    most = max(most, counts[i])
  end
  o.x_label, o.y_label = o.x_label or o.x, o.y_label or "rows"
  local f = open_frame(o, {}, scale_of(0, most, ((o.height or 400) - 90) / 48), {}, nil)
  f.x = scale_of(from, to, (f.right - f.left) / 80, true)
  f:axes()
  for i, count in ipairs(counts) do
    if count > 0 then
      local x0, x1 = f:px(from + (i - 1) * step), f:px(from + i * step)
      f:put('<path class="bar c1" d="%s"><title>%s</title></path>', bar_path(x0 + 0.5, max(0.5, x1 - x0 - 1), f:py(0), f:py(count)),
        html.escape(said(from + (i - 1) * step) .. " to " .. said(from + i * step) .. ": " .. said(count)))
    end
  end
  f:x_ticks()
  return f:finish(o)
end

local function check_options(o)
  core.options("chart", o, "x", "y", "by", "title", "x_label", "y_label", "width", "height", "stack", "bins", "zero", "colours")
  for _, name in ipairs { "title", "x_label", "y_label" } do
    if o[name] ~= nil and type(o[name]) ~= "string" then core.raise("argument", "chart: " .. name .. ": expected text, got " .. core.show(o[name])) end
  end
  for name, range in pairs { width = { 160, 4096 }, height = { 120, 4096 }, bins = { 1, 500 } } do
    local v = o[name]
    if v ~= nil and (type(v) ~= "number" or v % 1 ~= 0 or v < range[1] or v > range[2]) then
      core.raise("argument", "chart: " .. name .. ": expected a whole number from " .. range[1] .. " to " .. range[2] .. ", got " .. core.show(v))
    end
  end
  if o.colours ~= nil and type(o.colours) ~= "table" then core.raise("argument", "chart: colours: expected a list, got " .. core.show(o.colours)) end
  for _, colour in ipairs(o.colours or {}) do
    if type(colour) ~= "string" or not colour:find("^#%x%x%x%x%x%x$") then
      core.raise("argument", 'chart: colours: expected colours such as "#2f6db5", got ' .. core.show(colour))
    end
  end
end

--- A chart of a table, or of a list of rows: "bar", "line", "scatter" or "histogram".
---
--- `x` and `y` are columns; a list of columns in `y`, or the column `by`, make several series (bars beside each
--- other, or on each other with `stack`). On the x axis of lines and scatters numbers are numbers, texts such as
--- "2024-02-29" times, other texts names. A histogram needs `x` alone, and takes `bins`. Rows without a value leave a
--- gap.
---
--- ```lua
--- local rows = moon.range(24, function(i) return { time = moon.time.format(i * 3600), warm = 15 + i % 5, cold = i % 7 } end)
--- local line = moon.chart(rows, "line", { x = "time", y = { "warm", "cold" }, title = "One day" })
--- local bars = moon.chart(moon.table(rows), "bar", { x = "time", y = { "warm", "cold" }, stack = true, y_label = "degrees" })
--- local spread = moon.chart(rows, "histogram", { x = "warm", bins = 5 })
--- local points = moon.chart(rows, "scatter", { x = "warm", y = "cold", width = 400, height = 300, colours = { "#aa0000" } })
--- assert(tostring(line):find("One day", 1, true))
--- ```
---
--- What is wrong with an option, a column that is not there, or a value that is no number is the error `argument`.
---
--- ```lua
--- local chart, err = moon.try(moon.chart, { { a = 1 } }, "pie", { x = "a" })
--- assert(not chart and err.message:find("histogram", 1, true))
--- ```
---@param data moon.Table|table[]
---@param kind "bar"|"line"|"scatter"|"histogram"
---@param options { x: string, y?: string|string[], by?: string, title?: string, x_label?: string, y_label?: string, width?: integer, height?: integer, stack?: boolean, bins?: integer, zero?: boolean, colours?: string[] }
---@return moon.Html svg
function moon.chart(data, kind, options)
  if not kinds[kind] then core.raise("argument", 'chart: expected "bar", "line", "scatter" or "histogram", got ' .. core.show(kind)) end
  check_options(options or {})
  local o = {}
  for name, value in pairs(options or {}) do o[name] = value end
  return kinds[kind](data, o)
end
