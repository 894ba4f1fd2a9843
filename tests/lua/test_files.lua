local moon = require "moon"
local check = require "check"

local tests = {}

tests["what is written is read, listed, looked at and deleted, in both folders"] = function()
  for _, root in ipairs { "fd://", "/mnt/cache/" } do
    local text = ("x\0y\255"):rep(1000)
    moon.files.write(root .. "a/b/c.bin", text)
    moon.files.write(root .. "a/empty", "")
    check.equal(moon.files.read(root .. "a/b/c.bin"), text, root)
    check.equal(moon.files.read(root .. "a/empty"), "")
    moon.files.write(root .. "a/b/c.bin", "shorter")
    check.equal(moon.files.read(root .. "a/b/c.bin"), "shorter", "replaced as a whole")
    local list = moon.files.list(root .. "a")
    check.equal(#list, 2)
    check.equal(list[1].name .. " " .. list[2].name, "b empty")
    check.equal(list[1].is_folder, true)
    check.equal(list[2].path, root .. "a/empty")
    list = moon.files.list(root .. "a/", { recursive = true })
    check.equal(#list, 3)
    check.equal(list[2].name, "b/c.bin")
    check.equal(list[2].path, root .. "a/b/c.bin")
    check.equal(list[2].size, 7)
    local st = moon.files.stat(root .. "a/b/c.bin")
    check.equal(st.name, "c.bin")
    check.equal(st.size, 7)
    check.near(st.mtime, os.time(), 60)
    check.equal(moon.files.stat(root .. "a/b").is_folder, true)
    check.equal(moon.files.stat(root .. "a/none"), nil)
    check.equal(moon.files.stat(root .. "a/none/deeper"), nil)
    check.fails("not empty", moon.files.delete, root .. "a")
    check.equal(moon.files.delete(root .. "a/b/c.bin"), true)
    check.equal(moon.files.delete(root .. "a/b/c.bin"), false)
    check.equal(moon.files.delete(root .. "a/b"), true, "an empty folder")
    check.equal(moon.files.delete(root .. "a", { recursive = true }), true)
    check.equal(moon.files.delete(root .. "a", { recursive = true }), false)
  end
end

tests["example data lies beneath: listed and read, never changed, covered by an own file"] = function()
  local function find(name)
    local n, found = 0, nil
    for _, f in ipairs(moon.files.list()) do
      if f.name == name then n, found = n + 1, f end
    end
    return n, found
  end
  local n, scene = find("L7_ETMs.tif")
  check.equal(n, 1)
  assert(scene.size > 100000)
  check.equal(moon.files.read("fd://L7_ETMs.tif"):sub(1, 2), "II")
  check.equal(moon.files.delete("fd://L7_ETMs.tif"), false, "it is not there in the own folder")
  moon.files.write("fd://L7_ETMs.tif", "mine")
  check.equal(moon.files.read("fd://L7_ETMs.tif"), "mine")
  n, scene = find("L7_ETMs.tif")
  check.equal(n, 1)
  check.equal(scene.size, 4)
  moon.files.delete("fd://L7_ETMs.tif")
  check.equal(moon.files.read("fd://L7_ETMs.tif"):sub(1, 2), "II")
end

tests["names that are none, and names that lead out"] = function()
  for _, call in ipairs { moon.files.read, moon.files.stat, moon.files.delete, moon.files.list,
      function(name) moon.files.write(name, "x") end } do
    check.fails("expected a name such as", call, 5)
    check.fails("zero byte", call, "fd://a\0b")
    check.fails("fd://NAME", call, "a.txt")
    check.fails("fd://NAME", call, "/etc/passwd")
    check.fails("is remote", call, "https://example.org/x")
    check.fails("longer than", call, "fd://" .. ("a"):rep(2000))
  end
  for _, name in ipairs { "fd://../x", "/mnt/cache/../../x", "fd://../../x", "fd:///etc/passwd" } do
    check.fails("leads out of its folder", moon.files.read, name)
    check.fails("leads out of its folder", moon.files.write, name, "x")
    check.fails("leads out of its folder", moon.files.delete, name)
  end
  check.fails("is a folder", moon.files.write, "fd://", "x")
  check.fails("is a folder", moon.files.write, "fd://x/", "x")
  check.fails("the folder itself stays", moon.files.delete, "/mnt/cache")
  check.fails("the folder itself stays", moon.files.delete, "fd://", { recursive = true })
  check.fails("the server's own", moon.files.write, "fd://.moongate-part-1", "x")
  check.fails("expected a string", moon.files.write, "fd://x", { 1 })
  check.fails("no option deep", moon.files.list, "fd://", { deep = true })
  check.fails("true or false", moon.files.delete, "fd://x", { recursive = 1 })
  check.fails("no folder /mnt/cache/none", moon.files.list, "/mnt/cache/none")
  moon.files.write("fd://plain", "x")
  check.fails("is a file, not a folder", moon.files.list, "fd://plain")
  check.fails("a part of the name is a file", moon.files.write, "fd://plain/x", "x")
  moon.files.delete("fd://plain")
  local deep = "fd://" .. ("d/"):rep(60) .. "x"
  check.fails("", moon.files.write, deep, "x")
  local _, err = moon.try(moon.files.read, "fd://none")
  check.equal(err.name, "no_file")
  _, err = moon.try(moon.files.read, "fd://../x")
  check.equal(err.name, "forbidden")
end

tests[".env"] = function()
  moon.files.write("/mnt/cache/.env", table.concat({
    "# comment", "", "A=1", "  export B = two words  # comment", "C='as $it # is'", 'D="line\\nnext \\"q\\""', "E=", "F=a#b",
    "G=https://h/p?x=1&y=2\r" }, "\n"))
  check.equal(moon.env.A, "1")
  check.equal(moon.env.B, "two words")
  check.equal(moon.env.C, "as $it # is")
  check.equal(moon.env.D, 'line\nnext "q"')
  check.equal(moon.env.E, "")
  check.equal(moon.env.F, "a#b")
  check.equal(moon.env.G, "https://h/p?x=1&y=2")
  check.equal(moon.env.PATH, nil, "never the server's environment")
  check.fails("read-only", function() moon.env.A = 2 end)
  moon.files.write("/mnt/cache/bad.env", "A=1\nnonsense\n")
  check.fails("bad.env:2: expected NAME=value", moon.load_dotenv, "/mnt/cache/bad.env")
  moon.files.write("/mnt/cache/bad.env", "A='no end\n")
  check.fails("the quote has no end", moon.load_dotenv, "/mnt/cache/bad.env")
  moon.files.delete("/mnt/cache/.env")
end

return check.udf(tests)
