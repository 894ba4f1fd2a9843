--- What the JIT could not compile, told to the author in words: loaded when there is something to tell, and by `moon.map`.
local moon, inner = ...
local jit = inner.jit

--- The author's line of a function that the JIT speaks of.
local function line_of(util, func, pc)
  local info = func and util.funcinfo(func, pc)
  if info and info.source and info.source:sub(1, 1) == "@" then
    return info.source:sub(2) .. ":" .. (pc and info.currentline or info.linedefined)
  end
end

-- Why a trace ends, by the numbers of LuaJIT's lj_traceerr.h, with its own words behind (a test compares them with the installed
-- jit/vmdef.lua). What is no fault of the code, such as a second try, is left out.
local reasons = {
  [0] = "an error is raised in it", -- error thrown or hook called during recording
  [2] = "the loop's body is too long", -- trace too long
  [3] = "calls lie too deep in it", -- trace too deep
  [4] = "the loop's body has too many branches", -- too many snapshots
  [7] = "it makes a closure, or uses `...` or pairs", -- NYI: bytecode %d
  [10] = "a loop inside of it runs only a few times", -- loop unroll limit reached
  [11] = "a function gets an argument of a kind that it does not take", -- bad argument type
  [13] = "a function calls itself too often", -- call unroll limit reached
  [15] = "a library function is called in a way that cannot be compiled", -- NYI: unsupported variant of FastFunc %s
  [17] = "a table is written with a key of nil or NaN", -- store with nil or NaN key
  [18] = "an operator is used on values that have none for it", -- missing metamethod
  [20] = "a table is used both as a list and by name", -- NYI: mixed sparse/dense table
  [25] = "too many variables live across the loop", -- too many PHIs
  [26] = "a variable holds now one type, now another", -- persistent type instability
  [28] = "the compiled loop is too long", -- machine code too long
  [30] = "too many values are in use at once", -- too many spill slots
}

--- Watches the JIT while `loop(fn, …)` runs: what cannot be compiled is some 50 times slower, and the author is told. A call that
--- is not compiled ends a trace, which is then stitched to the next.
function inner.watched(loop, fn, ...)
  local compiled, refused, stitched, where, util, code = 0, 0, 0, nil, nil, nil
  local function watch(what, trace, func, pc, why)
    if what ~= "stop" and what ~= "abort" then return end
    util = util or inner.jit_util()
    if what == "abort" then
      refused = refused + 1
      local line = line_of(util, func, pc)
      if line or not where then where, code = line or where, why end
    elseif util.traceinfo(trace).linktype == "stitch" then
      stitched = stitched + 1
      where = line_of(util, func) or where or line_of(util, fn)
    else
      compiled = compiled + 1
    end
  end
  jit.attach(watch, "trace")
  loop(fn, ...)
  jit.attach(inner.on_trace, "trace")
  if stitched > 0 or (refused > 0 and compiled == 0) or refused > 8 then
    local reason = stitched > 0 and refused == 0 and "a function is called that is not compiled" or code and reasons[code]
    moon.log("map: " .. (where or "the function") .. " could not be compiled and ran interpreted, which is some 50 times slower"
      .. (reason and ": " .. reason or "") .. "; keep to arithmetic, math.* and local variables in it (no tables, pairs, strings or closures made for each pixel)")
  end
end

--- A loop outside of `moon.map` that stays interpreted; false when the reason is no fault of the code.
function inner.tell_abort(func, pc, code)
  local where = reasons[code] and line_of(inner.jit_util(), func, pc)
  if where then
    moon.log(where .. ": a hot loop could not be compiled and runs interpreted, which may be some 50 times slower: " .. reasons[code])
  end
  return where ~= nil
end
