--- A small runner: a file of tests is a UDF that gives { passed, failures = { "name: what" } } as JSON.
local moon = require "moon"
local M = {}

function M.equal(got, expected, what)
  if got ~= expected then
    error((what or "value") .. ": expected " .. tostring(expected) .. ", got " .. tostring(got), 2)
  end
end

function M.near(got, expected, tolerance, what)
  if type(got) ~= "number" or math.abs(got - expected) > tolerance then
    error((what or "value") .. ": expected about " .. tostring(expected) .. ", got " .. tostring(got), 2)
  end
end

--- `fn` must fail with a message that contains `part`.
function M.fails(part, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then error("expected a failure with: " .. part, 2) end
  if not tostring(err):find(part, 1, true) then
    error("expected a failure with: " .. part .. "\n  got: " .. tostring(err), 2)
  end
end

function M.udf(tests)
  return moon.udf(function()
    local names, passed, failures = {}, 0, {}
    for name in pairs(tests) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
      local ok, err = pcall(tests[name])
      if ok then
        passed = passed + 1
      else
        failures[#failures + 1] = name .. ": " .. tostring(err)
      end
    end
    return { passed = passed, failures = failures }
  end)
end

return M
