--- Dates and times: `moon.time`. A time is a number, seconds since 1970 in UTC (days have 86,400, as in Unix), so
--- that it can be compared, subtracted and be a parameter; functions that take a time take ISO 8601 text as well.
---
--- ```lua
--- local t = moon.time.parse("2024-02-29T12:00:00+02:00")
--- assert(moon.time.format(t) == "2024-02-29T10:00:00Z")
--- assert(moon.time.format(moon.time.add("2024-01-31", 1, "month")) == "2024-02-29T00:00:00Z")
--- ```
---@type moon, table
local moon, inner = ...
local core = inner.core
local floor, type, tonumber, tostring, math, string, os = math.floor, type, tonumber, tostring, math, string, os

---@class moon.time
local M = {}

-- Days from the civil calendar and back: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"; years -9999 to 9999.
local function days_of(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = floor(year / 400)
  local yoe = year - era * 400
  local doy = floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  return era * 146097 + yoe * 365 + floor(yoe / 4) - floor(yoe / 100) + doy - 719468
end

local function civil_of(days)
  days = days + 719468
  local era = floor(days / 146097)
  local doe = days - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return yoe + era * 400 + (month <= 2 and 1 or 0), month, doy - floor((153 * mp + 2) / 5) + 1
end

local function days_in(year, month)
  if month == 2 then return (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28 end
  return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
end

--- Seconds of ISO 8601 text, or nil.
local function read(text)
  local year, month, day, rest = text:match("^(%-?%d%d%d%d)%-?(%d%d)%-?(%d%d)(.*)$")
  if not year then
    year, month = text:match("^(%-?%d%d%d%d)%-(%d%d)$")
    day, rest = "01", ""
  end
  if not year then
    year = text:match("^(%d%d%d%d)$")
    month, rest = "01", ""
  end
  if not year then return nil end
  year, month, day = tonumber(year), tonumber(month), tonumber(day or "01")
  if month < 1 or month > 12 or day < 1 or day > days_in(year, month) then return nil end
  local seconds = days_of(year, month, day) * 86400
  if rest == "" then return seconds end
  local hour, minute, tail = rest:match("^[T ](%d%d):?(%d%d)(.*)$")
  if not hour then return nil end
  hour, minute = tonumber(hour), tonumber(minute)
  local second, zone = tail:match("^:?(%d%d%.?%d*)(.*)$")
  if not second then second, zone = "0", tail end
  second = tonumber(second)
  if hour > 24 or minute > 59 or not second or second > 60 or (hour == 24 and (minute > 0 or second > 0)) then return nil end
  seconds = seconds + hour * 3600 + minute * 60 + second
  if zone == "" or zone == "Z" or zone == "z" then return seconds end
  local sign, zh, zm = zone:match("^([+-])(%d%d):?(%d?%d?)$")
  if not sign or tonumber(zh) > 23 then return nil end
  local shift = tonumber(zh) * 3600 + (tonumber(zm) or 0) * 60
  return sign == "+" and seconds - shift or seconds + shift
end

local function seconds_of(what, t)
  if type(t) == "number" then
    if t ~= t or t < -377705116800 or t > 253402300799.999 then
      core.raise("argument", what .. ": expected seconds within the years -9999 to 9999, got " .. core.show(t))
    end
    return t
  end
  local seconds = type(t) == "string" and read(t)
  if not seconds then
    core.raise("argument", what .. ': expected a time such as "2024-02-29T12:00:00Z" or seconds, got ' .. core.show(t))
  end
  return seconds
end

--- Seconds since 1970 of ISO 8601 text: a year, month, day, or a time with or without a zone (UTC where there is
--- none).
---
--- ```lua
--- assert(moon.time.parse("1970-01-02") == 86400)
--- local t, err = moon.try(moon.time.parse, "2023-02-29")
--- assert(not t and err.name == "argument")
--- ```
---@param text string|number
---@return number seconds
function M.parse(text) return seconds_of("time.parse", text) end

--- The parts of a time in UTC. `weekday` is 1 (Monday) to 7, `yearday` 1 to 366.
---
--- ```lua
--- local p = moon.time.parts("2024-12-31T23:59:58Z")
--- assert(p.year == 2024 and p.yearday == 366 and p.weekday == 2 and p.second == 58)
--- ```
---@param t number|string
---@return { year: integer, month: integer, day: integer, hour: integer, minute: integer, second: number, weekday: integer, yearday: integer }
function M.parts(t)
  t = seconds_of("time.parts", t)
  local days = floor(t / 86400)
  local rest = t - days * 86400
  local year, month, day = civil_of(days)
  return { year = year, month = month, day = day, hour = floor(rest / 3600), minute = floor(rest / 60) % 60, second = rest % 60,
    weekday = (days + 3) % 7 + 1, yearday = days - days_of(year, 1, 1) + 1 }
end

local months = { "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December" }
local weekdays = { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" }
local codes = {
  Y = function(p) return p.year < 0 and string.format("-%04d", -p.year) or string.format("%04d", p.year) end,
  y = function(p) return string.format("%02d", p.year % 100) end,
  m = function(p) return string.format("%02d", p.month) end,
  d = function(p) return string.format("%02d", p.day) end,
  e = function(p) return tostring(p.day) end,
  H = function(p) return string.format("%02d", p.hour) end,
  M = function(p) return string.format("%02d", p.minute) end,
  S = function(p) return string.format("%02d", floor(p.second)) end,
  f = function(p) return string.format("%03d", floor(p.second % 1 * 1000 + 1e-6)) end,
  j = function(p) return string.format("%03d", p.yearday) end,
  u = function(p) return tostring(p.weekday) end,
  B = function(p) return months[p.month] end,
  b = function(p) return months[p.month]:sub(1, 3) end,
  A = function(p) return weekdays[p.weekday] end,
  a = function(p) return weekdays[p.weekday]:sub(1, 3) end,
  F = function(p, all) return all.Y(p) .. "-" .. all.m(p) .. "-" .. all.d(p) end,
  T = function(p, all) return all.H(p) .. ":" .. all.M(p) .. ":" .. all.S(p) end,
  ["%"] = function() return "%" end,
}

--- A time as text, UTC: ISO 8601 (with milliseconds where there are some), or by a pattern of %Y %y %m %d %e %H %M %S
--- %f (milliseconds) %j %u %B %b %A %a %F (%Y-%m-%d) %T (%H:%M:%S) %%.
---
--- ```lua
--- assert(moon.time.format(0) == "1970-01-01T00:00:00Z" and moon.time.format(0.25) == "1970-01-01T00:00:00.250Z")
--- assert(moon.time.format("2024-03-01", "%A, %e %B %Y") == "Friday, 1 March 2024")
--- ```
---@param t number|string
---@param pattern? string
---@return string
function M.format(t, pattern)
  t = seconds_of("time.format", t)
  if pattern ~= nil and type(pattern) ~= "string" then core.raise("argument", "time.format: pattern: expected text, got " .. core.show(pattern)) end
  -- Milliseconds are all that text keeps.
  local p = M.parts(floor(t * 1000 + 0.5) / 1000)
  if not pattern then
    pattern = floor(t * 1000 + 0.5) % 1000 == 0 and "%FT%TZ" or "%FT%T.%fZ"
  end
  return (pattern:gsub("%%(.?)", function(code)
    local write = codes[code]
    if not write then core.raise("argument", "time.format: no %" .. code .. " (there are %Y %y %m %d %e %H %M %S %f %j %u %B %b %A %a %F %T %%)") end
    return write(p, codes)
  end))
end

local units = { second = 1, minute = 60, hour = 3600, day = 86400, week = 604800 }
local function unit_of(what, unit)
  local name = type(unit) == "string" and unit:gsub("s$", "")
  if not (name and (units[name] or name == "month" or name == "year")) then
    core.raise("argument", what .. ": expected second, minute, hour, day, week, month or year, got " .. core.show(unit))
  end
  return name
end

--- A time moved by `n` units: second (the default), minute, hour, day, week, month, year. A month or year ends on the
--- last day where the day is not there.
---
--- ```lua
--- assert(moon.time.add("2024-02-29", -1, "year") == moon.time.parse("2023-02-28"))
--- assert(moon.time.add(0, 1.5, "hours") == 5400)
--- ```
---@param t number|string
---@param n number
---@param unit? string
---@return number seconds
function M.add(t, n, unit)
  t = seconds_of("time.add", t)
  if type(n) ~= "number" or n ~= n then core.raise("argument", "time.add: expected a number, got " .. core.show(n)) end
  local name = unit_of("time.add: unit", unit or "second")
  if units[name] then return t + n * units[name] end
  if n % 1 ~= 0 then core.raise("argument", "time.add: expected a whole number of " .. name .. "s, got " .. n) end
  local p = M.parts(t)
  local month = p.year * 12 + p.month - 1 + n * (name == "year" and 12 or 1)
  local year = floor(month / 12)
  month = month % 12 + 1
  return days_of(year, month, math.min(p.day, days_in(year, month))) * 86400 + t % 86400
end

--- The start of the minute, hour, day, week (Monday), month or year that a time lies in.
---
--- ```lua
--- assert(moon.time.format(moon.time.floor("2024-02-29T12:30:00Z", "month")) == "2024-02-01T00:00:00Z")
--- ```
---@param t number|string
---@param unit string
---@return number seconds
function M.floor(t, unit)
  t = seconds_of("time.floor", t)
  local name = unit_of("time.floor: unit", unit)
  if name == "week" then return floor((t - 345600) / 604800) * 604800 + 345600 end
  if units[name] then return floor(t / units[name]) * units[name] end
  local p = M.parts(t)
  return days_of(p.year, name == "year" and 1 or p.month, 1) * 86400
end

--- The times from `from` to `to` (which counts where a step meets it), `step` units apart; at most 100,000.
---
--- ```lua
--- local months = moon.time.range("2024-01-31", "2024-04-30", 1, "month")
--- assert(#months == 4 and moon.time.format(months[2], "%F") == "2024-02-29")
--- ```
---@param from number|string
---@param to number|string
---@param step? number
---@param unit? string "day" unless given
---@return number[]
function M.range(from, to, step, unit)
  from, to = seconds_of("time.range: from", from), seconds_of("time.range: to", to)
  step, unit = step or 1, unit_of("time.range: unit", unit or "day")
  if type(step) ~= "number" or not (step > 0) then core.raise("argument", "time.range: step: expected a positive number, got " .. core.show(step)) end
  local list, t = {}, from
  while t <= to do
    if #list == 100000 then core.raise("argument", "time.range: more than 100000 times") end
    list[#list + 1] = t
    t = M.add(from, step * #list, unit)
  end
  return list
end

--- Now. A result that depends on it should have a `max_age`, or it is kept for days.
---
--- ```lua
--- assert(moon.time.now() > moon.time.parse("2024-01-01"))
--- ```
---@return number seconds
function M.now() return os.time() end

moon.time = M
