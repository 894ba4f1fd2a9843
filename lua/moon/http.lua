--- Requests to other servers, made by the fetcher: http and https to public addresses (the operator opens others with
--- `--allow-egress` and closes some with `--deny-egress`), at most 5 redirects, each checked again.
---
--- A result that was made of answers counts as current for `max_age` (30 seconds unless said otherwise): a page asked for often
--- makes a request at most that often. Failures raise errors that `moon.try` hands back: `fetch` (no answer), `fetch_timeout`,
--- `egress` (the address may not be reached), `too_large`. A status of 400 and more is an answer like any other (`ok` is
--- false), but `:json()` and `:text()` of it raise `fetch`.
---@type moon, table
local moon, inner = ...
local c, send = inner.core, inner.open("http").send
local floor = math.floor

---@class moon.HttpAnswer
---@field status integer
---@field ok boolean the status is 200 to 299
---@field url string of the last redirect
---@field headers table<string, string> by lower-case name
---@field body string
---@field error? table of a request that failed, with `partial`: { name, message }
local Response = {}
Response.__index = Response
Response.__name = "HTTP answer"

--- The body as text; raises for a status of 300 and more.
---@return string
function Response:text()
  if self.error then c.raise(self.error.name, self.error.message) end
  if not self.ok then
    local start = self.body:sub(1, 200):gsub("%s+", " ")
    c.raise("fetch", "http: " .. self.url .. " answered with status " .. self.status .. (start ~= "" and ": " .. start or ""))
  end
  return self.body
end

--- The body as JSON; raises for a status of 300 and more, and where it is none.
---@return any
function Response:json()
  local value, err = moon.try(moon.json.decode, self:text())
  if err then c.raise("fetch", "http: " .. self.url .. ": the answer is no JSON: " .. tostring(err.message)) end
  return value
end

---@class moon.HttpOptions
---@field headers? table<string, string>
---@field query? table<string, any> put behind the URL; a list gives its name several times
---@field json? any the body, as JSON
---@field form? table<string, any> the body, as a form
---@field body? string
---@field timeout? number|string seconds or "5s", of all tries together; 10 s, at most 300 s
---@field retry? integer further tries after a failure of the network and after 408, 429, 500, 502, 503, 504: 2 of GET and HEAD, else 0; at most 5
---@field max_bytes? integer of the body: 32 MB, at most 128 MB
---@field max_age? number|string how long a result made of the answer is current: "30s"
---@field follow? boolean redirects (of GET, HEAD and POST): true

local option_names = { "headers", "query", "json", "form", "body", "timeout", "retry", "max_bytes", "max_age", "follow" }
local units = { s = 1, m = 60, h = 3600, d = 86400, w = 604800 }

local function seconds(what, name, value, default, most)
  if value == nil then return default end
  local n = value
  if type(value) == "string" then
    local digits, unit = value:match("^(%d+%.?%d*)([smhdw]?)$")
    n = digits and tonumber(digits) * units[unit == "" and "s" or unit]
  end
  if type(n) ~= "number" or not (n >= 0 and n <= most) then
    c.raise("argument", what .. ": " .. name .. ": expected seconds, or a text such as \"30s\" (at most " .. most .. " s), got " .. c.show(value))
  end
  return n
end

local function whole(what, name, value, default, least, most)
  if value == nil then return default end
  if type(value) ~= "number" or value % 1 ~= 0 or value < least or value > most then
    c.raise("argument", what .. ": " .. name .. ": expected a whole number from " .. least .. " to " .. most .. ", got " .. c.show(value))
  end
  return value
end

local function escape(value)
  return (tostring(value):gsub("[^A-Za-z0-9._~-]", function(ch) return ("%%%02X"):format(ch:byte()) end))
end

--- `a=1&b=x%20y` of a table, by name.
local function encode(what, name, values)
  if type(values) ~= "table" then c.raise("argument", what .. ": " .. name .. ": expected a table of values by name, got " .. c.show(values)) end
  local keys, parts = {}, {}
  for key in pairs(values) do
    if type(key) ~= "string" then c.raise("argument", what .. ": " .. name .. ": expected names as keys, got " .. c.show(key)) end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local value = values[key]
    for _, item in ipairs(type(value) == "table" and value or { value }) do
      local kind = type(item)
      if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
        c.raise("argument", what .. ": " .. name .. ": " .. key .. ": expected a string, number or boolean, got " .. c.show(item))
      end
      if kind == "number" and item % 1 == 0 and item > -2 ^ 53 and item < 2 ^ 53 then item = ("%d"):format(item) end
      parts[#parts + 1] = escape(key) .. "=" .. escape(item)
    end
  end
  return table.concat(parts, "&")
end

local function header_lines(what, headers, content_type)
  local lines, typed = {}, false
  if headers ~= nil and type(headers) ~= "table" then
    c.raise("argument", what .. ": headers: expected a table of texts by name, got " .. c.show(headers))
  end
  for name, value in pairs(headers or {}) do
    if type(name) ~= "string" or not name:match("^[!#$%%&'*+.^_`|~0-9A-Za-z-]+$") then
      c.raise("argument", what .. ": headers: " .. c.show(name) .. " is not a header's name")
    end
    if type(value) ~= "string" and type(value) ~= "number" then
      c.raise("argument", what .. ": headers: " .. name .. ": expected a string, got " .. c.show(value))
    end
    typed = typed or name:lower() == "content-type"
    lines[#lines + 1] = name .. ": " .. value
  end
  if content_type and not typed then lines[#lines + 1] = "Content-Type: " .. content_type end
  table.sort(lines)
  return lines
end

--- A request as bind_http.c takes it, of the author's.
local function prepare(what, method, url, o)
  if type(url) ~= "string" then c.raise("argument", what .. ": the URL: expected a string, got " .. c.show(url)) end
  local body, content_type, bodies = "", nil, 0
  if o.json ~= nil then body, content_type, bodies = moon.json.encode(o.json), "application/json", bodies + 1 end
  if o.form ~= nil then body, content_type, bodies = encode(what, "form", o.form), "application/x-www-form-urlencoded", bodies + 1 end
  if o.body ~= nil then
    if type(o.body) ~= "string" then c.raise("argument", what .. ": body: expected a string, got " .. c.show(o.body)) end
    body, bodies = o.body, bodies + 1
  end
  if bodies > 1 then c.raise("argument", what .. ": expected one of json, form and body") end
  if bodies > 0 and (method == "GET" or method == "HEAD") then
    c.raise("argument", what .. ": a " .. method .. " has no body: use query, or moon.http.post")
  end
  if o.query ~= nil then
    local query, fragment = encode(what, "query", o.query), url:match("#.*$")
    url = fragment and url:sub(1, -#fragment - 1) or url
    if query ~= "" then
      url = url .. (url:find("?", 1, true) and (url:match("[?&]$") and "" or "&") or "?") .. query
    end
  end
  if o.follow ~= nil and type(o.follow) ~= "boolean" then
    c.raise("argument", what .. ": follow: expected true or false, got " .. c.show(o.follow))
  end
  local safe = method == "GET" or method == "HEAD"
  return { method = method, url = url, lines = header_lines(what, o.headers, content_type), body = body,
    timeout_ms = floor(seconds(what, "timeout", o.timeout, 10, 300) * 1000),
    retries = whole(what, "retry", o.retry, safe and 2 or 0, 0, 5), follow = o.follow ~= false }
end

local MAX_BODY = 128 * 2 ^ 20

local function limits(what, o)
  return whole(what, "max_bytes", o.max_bytes, 32 * 2 ^ 20, 1, MAX_BODY), seconds(what, "max_age", o.max_age, 30, 366 * 86400)
end

local function finish(what, answer, partial)
  if answer.error then
    local message = what .. ": " .. answer.url .. ": " .. answer.message
    if not partial then c.raise(answer.error, message) end
    answer.error, answer.message = { name = answer.error, message = message }, nil
  end
  answer.ok = answer.status >= 200 and answer.status < 300 and not answer.error
  return setmetatable(answer, Response)
end

local function one(what, method, url, options)
  c.options(what, options, unpack(option_names))
  local o = options or {}
  local request = prepare(what, method, url, o)
  local max_bytes, max_age = limits(what, o)
  return finish(what, send(what, { request }, 1, max_bytes, max_age)[1])
end

---@class moon.http
moon.http = {}

--- Gets a URL.
---
--- ```lua
--- local answer, err = moon.try(moon.http.get, "http://127.0.0.1:1/", { query = { q = "a b", page = 2 }, retry = 0 })
--- assert(answer == nil and (err.name == "egress" or err.name == "unavailable"))
--- ```
---@param url string
---@param options? moon.HttpOptions
---@return moon.HttpAnswer
function moon.http.get(url, options) return one("http.get", "GET", url, options) end

--- Posts JSON, a form or any text.
---
--- ```lua
--- local _, err = moon.try(moon.http.post, "ftp://example.org/", { json = { contours = { { time = 10 } } } })
--- assert(err.name == "argument" or err.name == "unavailable") -- no http
--- ```
---@param url string
---@param options? moon.HttpOptions
---@return moon.HttpAnswer
function moon.http.post(url, options) return one("http.post", "POST", url, options) end

local request_names = { "method", "url", unpack(option_names) }

local function split(what, request)
  if type(request) == "string" then request = { url = request } end
  if type(request) ~= "table" then
    c.raise("argument", what .. ": expected a URL or a table with url, got " .. c.show(request))
  end
  c.options(what, request, unpack(request_names))
  local method = request.method
  if method == nil then
    method = (request.json ~= nil or request.form ~= nil or request.body ~= nil) and "POST" or "GET"
  elseif type(method) ~= "string" or not ({ GET = 1, HEAD = 1, POST = 1, PUT = 1, PATCH = 1, DELETE = 1 })[method:upper()] then
    c.raise("argument", what .. ": method: expected GET, HEAD, POST, PUT, PATCH or DELETE, got " .. c.show(method))
  end
  return prepare(what, method:upper(), request.url, request), request
end

--- Any request: the options of `get` and, in the same table, `url` and `method` (GET, or POST when there is a body).
---
--- ```lua
--- local _, err = moon.try(moon.http.request, { method = "BREW", url = "http://example.org/" })
--- assert(err.name == "argument")
--- ```
---@param request table
---@return moon.HttpAnswer
function moon.http.request(request)
  local prepared, o = split("http.request", request)
  local max_bytes, max_age = limits("http.request", o)
  return finish("http.request", send("http.request", { prepared }, 1, max_bytes, max_age)[1])
end

--- Several requests at once: `fn(item, index)` gives a URL or the table of `moon.http.request` for each item; without `fn` the
--- items are these. Gives the answers in the order of the list. The first failure raises, unless `partial` is set: then the
--- answer of a request that failed has `ok = false` and `error = { name, message }`.
---
--- ```lua
--- local answers = moon.try(moon.http.all, { 10, 20 }, function(minutes)
---   return { url = "ftp://example.org/", query = { minutes = minutes } }
--- end, { concurrency = 2, partial = true })
--- assert(not answers or answers[2].error.name == "argument")
--- ```
---@generic T
---@param list T[]
---@param fn? fun(item: T, index: integer): string|table
---@param options? { concurrency?: integer, partial?: boolean, max_bytes?: integer, max_age?: number|string }
---@return moon.HttpAnswer[]
function moon.http.all(list, fn, options)
  local what = "http.all"
  if type(list) ~= "table" then c.raise("argument", what .. ": the first argument: expected a list, got " .. c.show(list)) end
  if fn ~= nil and type(fn) ~= "function" then c.raise("argument", what .. ": the second argument: expected a function, got " .. c.show(fn)) end
  c.options(what, options, "concurrency", "partial", "max_bytes", "max_age")
  local o = options or {}
  if o.partial ~= nil and type(o.partial) ~= "boolean" then
    c.raise("argument", what .. ": partial: expected true or false, got " .. c.show(o.partial))
  end
  local concurrency = whole(what, "concurrency", o.concurrency, 4, 1, 16)
  local max_bytes, max_age = limits(what, o)
  local requests, asked_bytes, asked_age = {}, nil, nil
  for i, item in ipairs(list) do
    local request = item
    if fn then request = fn(item, i) end
    local own
    requests[i], own = split(what .. ": item " .. i, request)
    local bytes, age = limits(what .. ": item " .. i, own)
    if own.max_bytes then asked_bytes = math.max(asked_bytes or 0, bytes) end
    if own.max_age then asked_age = math.min(asked_age or age, age) end
  end
  if o.max_bytes == nil and asked_bytes then max_bytes = asked_bytes end
  if o.max_age == nil and asked_age then max_age = asked_age end
  local answers = send(what, requests, concurrency, max_bytes, max_age)
  for i, answer in ipairs(answers) do finish(what, answer, o.partial) end
  return answers
end
