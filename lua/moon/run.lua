--- Other UDFs: `moon.run`, `moon.load`. A run takes place in another worker, with its own cache entry; what it read
--- counts as read by this run too.
---@type moon, table
local moon, inner = ...
local c, run = inner.core, inner.open("run")
local call = run.call
local error, ipairs, pcall, select, setmetatable, type = error, ipairs, pcall, select, setmetatable, type

--- Runs a UDF by name and gives its value: a raster, table, geometry, string, number, plain table …
--- `z, x, y` among the arguments make it a tile call. Errors of the other UDF are raised here, with its name.
---
--- ```lua
--- local text = moon.run("Hello", { name = "you" })
--- ```
---@param name string
---@param arguments? table<string, any>
---@return any
function moon.run(name, arguments)
  return call(name, arguments)
end

---@class moon.UDF
---@field name string
---@field utils any its module utils.lua; its other modules by their names
---@field run fun(self, arguments?: table): any
local UDF = { __name = "UDF handle" }
UDF.__call = function(self, arguments) return call(self.name, arguments) end

local globals, require, rawset = _G, require, rawset
local sources = {}

--- A loader of the modules of another UDF. They have an environment of their own; `require` there finds their neighbours.
local function modules_of(name)
  if sources[name] then return sources[name] end
  local udf, bundle = run.code(name)
  local env, loaded = {}, {}
  local function find(module)
    if loaded[module] ~= nil then return loaded[module] end
    local chunk = run.chunk(bundle, udf, module, env)
    if not chunk then return nil end
    local value = chunk(module)
    if value == nil then value = true end
    loaded[module] = value
    return value
  end
  env._G = env
  env.require = function(module)
    if type(module) ~= "string" then return require(module) end
    if module == "moon" or module:sub(1, 5) == "moon." then return require(module) end
    local value = find(module)
    if value == nil then c.raise("argument", "require: the UDF " .. udf .. " has no module " .. module) end
    return value
  end
  setmetatable(env, { __index = globals, __metatable = false, __moon_modules = true })
  sources[name] = find
  return find
end

UDF.__index = function(self, key)
  if key == "run" then return function(me, arguments) return call(me.name, arguments) end end
  local value = type(key) == "string" and key:match("^[%w_%-]+$") and modules_of(self.name)(key) or nil
  if value == nil then
    c.raise("argument", "load: the UDF " .. self.name .. " has no module `" .. tostring(key) .. "` (a handle has name and run, can"
      .. " be called, and has the modules of the UDF's folder)")
  end
  return value
end

--- A handle of another UDF: it can be called with a table of arguments, and has the modules of its folder, such as
--- `utils`. The UDF is named as in `moon.run`: `Name`, `owner@host/Name`, or by its folder from this one, `../Name`.
---
--- ```lua
--- local hello = moon.load("Hello")
--- assert(hello { name = "you" } == "Hello from you!" and hello:run { name = "you" } == "Hello from you!")
--- ```
---@param name string
---@return moon.UDF
function moon.load(name)
  if type(name) ~= "string" then
    c.raise("argument", "load: expected a UDF's name, got " .. c.show(name))
  end
  if name:match("^https?://") then
    c.raise("argument", "load: " .. c.show(name) .. ": this server does not read repositories; copy the folder to where its UDFs lie")
  end
  local last = name:match("([^/]+)/?$")
  if not (last and last:match("^[A-Za-z][A-Za-z0-9_]*$") and (last == name or name:match("^%.%.?/") or name:match("^[%w_.@+-]+/[%w_]+$"))) then
    c.raise("argument", "load: " .. c.show(name) .. ": expected a UDF's name, owner@host/Name, or a folder such as ../Name")
  end
  return setmetatable({ name = name }, UDF)
end

-- Runs that were started. The front keeps results until they are taken, and takes so many at a time; what is beyond
-- waits here, in the queue of its pool.
local MAX_RUNNING = 48
local running, by_tag, names = 0, {}, {}
local queues = {}

local function name_of(udf, what)
  if type(udf) == "table" and getmetatable(udf) == UDF then return udf.name end
  if type(udf) ~= "string" then
    c.raise("argument", what .. ": the first argument: expected a UDF's name or what moon.load gives, got " .. c.show(udf))
  end
  return udf
end

local function error_of(name, message)
  return select(2, pcall(c.raise, name, message))
end

local function begin(handle)
  local ok, tag = pcall(run.start, handle.name, handle.arguments)
  if not ok then
    handle.state, handle.err = "failed", c.error_object(tag)
    return
  end
  handle.state, handle.tag, handle.attempts = "running", tag, handle.attempts + 1
  by_tag[tag], names[tag], running = handle, handle.name, running + 1
  handle.queue.running = handle.queue.running + 1
end

--- Starts what may be started.
local function pump()
  for _, queue in ipairs(queues) do
    while running < MAX_RUNNING and queue.running < queue.limit and queue.first <= queue.last do
      local handle = queue[queue.first]
      queue[queue.first], queue.first = nil, queue.first + 1
      if handle.state == "waiting" then begin(handle) end
    end
  end
end

local function enqueue(handle)
  local queue = handle.queue
  handle.state, handle.err = "waiting", nil
  queue.last = queue.last + 1
  queue[queue.last] = handle
end

local function new_queue(limit)
  local queue = { limit = limit, running = 0, first = 1, last = 0 }
  queues[#queues + 1] = queue
  return queue
end

--- What a second try does not mend.
local final = { argument = true, parameter = true, not_found = true, depth = true, too_many = true, udf_broken = true,
  udf_type = true }

local function forget(handle)
  by_tag[handle.tag], names[handle.tag] = nil, nil
  running, handle.queue.running = running - 1, handle.queue.running - 1
  handle.tag = nil
end

--- Takes the result of the run with that tag, or (0) of the next that ends.
local function take(tag)
  local got, ok, value, message = run.await(tag, names)
  local handle = by_tag[got]
  forget(handle)
  if ok then
    handle.state, handle.value = "done", value
  else
    handle.state, handle.err = "failed", error_of(value, message)
    if handle.attempts <= handle.max_retry and not final[value] then enqueue(handle) end
  end
  pump()
end

local function settle(handle)
  while handle.state == "waiting" or handle.state == "running" do
    pump()
    if handle.state == "running" then take(handle.tag) elseif handle.state == "waiting" then take(0) end
  end
end

local function give_up(handle)
  if handle.state ~= "waiting" and handle.state ~= "running" then return end
  if handle.tag then
    run.cancel(handle.tag)
    forget(handle)
  end
  handle.state, handle.err = "cancelled", error_of("cancelled", "run: " .. handle.name .. ": the run was cancelled")
end

local function new_handle(queue, name, arguments, max_retry, class)
  local handle = setmetatable({ name = name, arguments = arguments, queue = queue, attempts = 0, max_retry = max_retry }, class)
  enqueue(handle)
  return handle
end

---@class moon.Run a run that was started
---@field name string
---@field state "waiting"|"running"|"done"|"failed"|"cancelled"
local Run = { __name = "run" }
Run.__index = Run

--- Its value, waited for; its error is raised here.
---@return any
function Run:wait()
  settle(self)
  if self.err then error(self.err, 0) end
  return self.value
end

--- Its value is not wanted any more. The run ends, unless somebody else waits for it.
function Run:cancel() give_up(self) pump() end

local singles

--- Starts a run of another UDF, in another worker, and goes on; `wait` gives its value.
---
--- ```lua
--- local moon = require "moon"
--- return moon.udf(function()
---   local a, b = moon.start("Hello", { name = "a" }), moon.start("Hello", { name = "b" })
---   return a:wait() .. b:wait()
--- end)
--- ```
---@param udf string|moon.UDF
---@param arguments? table<string, any>
---@return moon.Run
function moon.start(udf, arguments)
  local name = name_of(udf, "start")
  if arguments ~= nil and type(arguments) ~= "table" then
    c.raise("argument", "start: the second argument: expected a table of arguments by name, got " .. c.show(arguments))
  end
  singles = singles or new_queue(MAX_RUNNING)
  local handle = new_handle(singles, name, arguments, 0, Run)
  pump()
  if handle.state == "failed" then error(handle.err, 0) end
  return handle
end

---@class moon.Pool the runs of one UDF with each of a list of arguments
local Pool = { __name = "pool" }
Pool.__index = Pool

--- Waits until all have ended.
---@return moon.Pool self
function Pool:wait()
  for _, handle in ipairs(self.runs) do settle(handle) end
  return self
end

--- The values, in the order of the list, waited for. The first error is raised; see `errors`.
---@return any[]
function Pool:results()
  local list = {}
  for i, handle in ipairs(self.runs) do
    settle(handle)
    if handle.err then error(handle.err, 0) end
    list[i] = handle.value
  end
  return list
end

--- The errors, waited for: a list of `{ index = i, arguments = …, error = … }`.
---@return { index: integer, arguments: table, error: table }[]
function Pool:errors()
  local list = {}
  for i, handle in ipairs(self:wait().runs) do
    if handle.err then list[#list + 1] = { index = i, arguments = handle.arguments, error = handle.err } end
  end
  return list
end

--- Starts those again that failed or were cancelled.
---@return moon.Pool self
function Pool:retry()
  for _, handle in ipairs(self.runs) do
    if handle.state == "failed" or handle.state == "cancelled" then
      handle.attempts = 0
      enqueue(handle)
    end
  end
  pump()
  return self
end

--- Ends all that have not ended.
---@return moon.Pool self
function Pool:cancel()
  for _, handle in ipairs(self.runs) do give_up(handle) end
  pump()
  return self
end

--- How many there are of each state, as far as results have been taken; it waits for nothing.
---@return { total: integer, waiting: integer, running: integer, done: integer, failed: integer, cancelled: integer }
function Pool:progress()
  local count = { total = #self.runs, waiting = 0, running = 0, done = 0, failed = 0, cancelled = 0 }
  for _, handle in ipairs(self.runs) do count[handle.state] = count[handle.state] + 1 end
  return count
end

--- Runs a UDF with each item of a list of arguments, `max_workers` at a time (32), in other workers. A run that fails is
--- tried `max_retry` (0) times again, unless it was called wrongly. At most 1,000 runs are started by one.
---
--- ```lua
--- local moon = require "moon"
--- return moon.udf(function()
---   local pool = moon.submit("Hello", moon.range(3, function(i) return { name = tostring(i) } end), { max_workers = 2 })
---   return table.concat(pool:results(), " ")
--- end)
--- ```
---@param udf string|moon.UDF
---@param list table<string, any>[]
---@param options? { max_workers?: integer, max_retry?: integer }
---@return moon.Pool
function moon.submit(udf, list, options)
  local name = name_of(udf, "submit")
  if type(list) ~= "table" or getmetatable(list) ~= nil then
    c.raise("argument", "submit: the second argument: expected a list of tables of arguments, got " .. c.show(list))
  end
  for i = 1, #list do
    if type(list[i]) ~= "table" then
      c.raise("argument", "submit: item " .. i .. " of the list: expected a table of arguments by name, got " .. c.show(list[i]))
    end
  end
  c.options("submit", options, "max_workers", "max_retry")
  options = options or {}
  local limits = { max_workers = { 1, 1000 }, max_retry = { 0, 10 } }
  for key, range in pairs(limits) do
    local value = options[key]
    if value ~= nil and (type(value) ~= "number" or value < range[1] or value > range[2] or value % 1 ~= 0) then
      c.raise("argument", "submit: " .. key .. ": expected a whole number from " .. range[1] .. " to " .. range[2] .. ", got "
        .. c.show(value))
    end
  end
  local queue = new_queue(math.min(options.max_workers or 32, MAX_RUNNING))
  local pool = setmetatable({ name = name, runs = {} }, Pool)
  for i = 1, #list do pool.runs[i] = new_handle(queue, name, list[i], options.max_retry or 0, Run) end
  pump()
  return pool
end
