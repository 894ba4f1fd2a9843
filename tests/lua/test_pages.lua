local moon = require "moon"
local check = require "check"

local tests = {}
local function html(template, values) return tostring(moon.html(template, values)) end

tests["text is escaped for where it stands"] = function()
  check.equal(html("<p>{{a}}</p>", { a = "<script>&\"'" }), "<p>&lt;script&gt;&amp;&quot;&#39;</p>")
  check.equal(html('<p title="{{a}}">', { a = '" onload="x' }), '<p title="&quot; onload=&quot;x">')
  check.equal(html("<p title='{{a}}'>", { a = "' onload='x" }), "<p title='&#39; onload=&#39;x'>")
  check.equal(html("<script>const a = {{a}};</script>", { a = { x = "</script>\226\128\168" } }),
    "<script>const a = {\"x\":\"\\u003c/script>\\u2028\"};</script>")
  check.equal(html("<!-- note --><b>{{a.b.1}}</b>", { a = { b = { 7 } } }), "<!-- note --><b>7</b>")
  check.equal(html("{{a}}{{b}}{{c}}", { a = moon.null, b = true, c = { "x", 1, moon.html.raw("<br>") } }), "truex1<br>")
  check.equal(html('<input value="{{a}}" checked><i>{{a}}</i>', { a = "<" }), '<input value="&lt;" checked><i>&lt;</i>')
end

tests["addresses bring no script"] = function()
  local bad = { "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "\1javascript:x", "vbscript:x",
    "data:text/html,<script>", "data:image/svg+xml,<svg onload=x>", "file:///etc/passwd" }
  for _, url in ipairs(bad) do check.equal(html('<a href="{{u}}">', { u = url }), '<a href="#">', url) end
  local good = { "https://example.org/?a=1", "/path", "../x", "?q=a:b", "#top", "mailto:a@example.org", "page:1/../x" }
  for i = 1, 6 do check.equal(html('<a href="{{u}}">', { u = good[i] }), '<a href="' .. moon.html.escape(good[i]) .. '">', good[i]) end
  check.equal(html('<a href="/p/{{u}}">', { u = "javascript:x" }), '<a href="/p/javascript:x">', "behind a path it is no scheme")
end

tests["where nothing can be made safe the template is refused"] = function()
  local refused = { { "<p onclick=\"{{x}}\">", "onclick" }, { "<p style='{{x}}'>", "style" }, { "<p title={{x}}>", "without quotes" },
    { "<{{x}}>", "name of a tag" }, { "</{{x}}>", "name of a tag" }, { "<p {{x}}>", "stands in a tag" }, { "<style>{{x}}</style>", "stands in a style" },
    { "<!-- {{x}} -->", "stands in a comment" }, { "<a href='{{x}}{{x}}'>", "another value" }, { "{{x", "expected {{name}}" }, { "{{}}", "no name" },
    { "a\n\n{{y}}", "line 3" }, { "{{x.y}}", "no `y`" }, { "<iframe srcdoc='{{x}}'>", "srcdoc" } }
  for _, row in ipairs(refused) do check.fails(row[2], moon.html.each, { 1 }, function() return moon.html(row[1], { x = "a" }) end) end
  check.fails("expected a template", moon.html.each, { 1 }, function() return moon.html(7) end)
  check.fails("expected text", moon.html.raw, nil)
  check.fails("a function", function() return moon.html("{{x}}", { x = print }) end)
end

tests["a list by a template and by a function"] = function()
  local rows = { { name = "<a>" }, { name = "b" } }
  check.equal(tostring(moon.html.each(rows, "<li>{{index}}{{name}}")), "<li>1&lt;a&gt;<li>2b")
  check.equal(tostring(moon.html.each(rows, function(r, i) return r.name .. i end)), "&lt;a&gt;1b2")
  check.equal(tostring(moon.html.each({}, "x")), "")
end

tests["a page of every kind of item"] = function()
  local t = moon.table { { name = "<td>", n = 1, geometry = moon.point(1, 2) } }
  local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", nil, { size = 16 })
  local page = moon.page { title = "a < b", lang = "pt", "one\n\n# two\n\n<three>", 4, false, t, dem, moon.point(1, 2):buffer(10), { b = 1, a = t }, { "x", "y" },
    moon.frames { dem:hillshade(), dem:hillshade() }, moon.html.raw("<hr>"), moon.chart({ { x = "k", y = 1 } }, "bar", { x = "x", y = "y" }) }
  for _, part in ipairs { "<html lang=\"pt\">", "<h1>a &lt; b</h1>", "<p>one</p>", "<h2>two</h2>", "<p>&lt;three&gt;</p>", "<p>4</p>", "<p>false</p>", "&lt;td&gt;",
    "data:image/png;base64,iVBORw0KGgo", "data:image/gif;base64,R0lGOD", "<dt>a</dt>", "<p>y</p>", "<hr>", "mg-chart", "<script>" } do
    if not page:find(part, 1, true) then error("the page lacks " .. part) end
  end
  check.equal(page:find("<td>n", 1, true), nil)
  check.equal(moon.page { "only text" }:find("<script>", 1, true), nil, "no script without a table")
  check.fails("no option titel", moon.page, { titel = "x" })
  check.fails("title: expected a string", moon.page, { title = 1 })
  check.fails("style", moon.page, { style = "</style><script>" })
  check.fails("page: expected a table", moon.page, "x")
end

tests["charts: values at the edge"] = function()
  local function svg(rows, kind, o) return tostring(moon.chart(rows, kind, o)) end
  local inf, nan = 1 / 0, 0 / 0
  for _, kind in ipairs { "bar", "line", "scatter" } do
    local o = { x = "x", y = "y" }
    for _, rows in ipairs { { { x = 1, y = 0 } }, { { x = 1, y = 5 }, { x = 2, y = 5 } }, { { x = -1e300, y = 1e300 }, { x = 1e300, y = -1e300 } },
      { { x = 1, y = nan }, { x = 2, y = inf }, { x = 3, y = 4 } }, { { x = "a", y = 1e-12 }, { x = "b", y = 2e-12 } }, { { x = 1, y = -3 }, { x = 2, y = -7 } },
      { { x = "2024-01-01", y = 1 }, { x = "2024-01-01", y = 2 } }, { { x = "\255\0<", y = 1 } } } do
      local text = svg(rows, kind, o)
      for _, bad in ipairs { "nan", "inf", "NaN" } do
        if text:gsub("<style>.-</style>", ""):find("[\" ,]-?" .. bad) then error(kind .. ": " .. bad .. " in " .. text:sub(-400)) end
      end
    end
    check.equal(svg({}, kind, o):find("no data", 1, true) ~= nil, true, kind .. " of nothing")
  end
  check.equal(svg({ { v = 3 } }, "histogram", { x = "v" }):find("<path", 1, true) ~= nil, true)
  check.equal(svg(moon.table { { v = 3 }, { v = nil }, { v = 4 } }, "histogram", { x = "v" }):find("<path", 1, true) ~= nil, true)
end

tests["charts: each value has its mark, and labels are escaped"] = function()
  local rows = { { k = "<b>", v = 1 }, { k = "c&d", v = 2 }, { k = "e", v = moon.null } }
  local bar = tostring(moon.chart(rows, "bar", { x = "k", y = "v", title = "<i>" }))
  check.equal(select(2, bar:gsub('<path class="bar', "")), 2)
  check.equal(bar:find("<b>", 1, true), nil)
  check.equal(bar:find("<i>", 1, true), nil)
  check.equal(bar:find("<title>&lt;b&gt;: 1</title>", 1, true) ~= nil, true)
  local by = moon.range(6, function(i) return { k = i % 3, v = i, g = i > 3 and "late" or "early" } end)
  check.equal(select(2, tostring(moon.chart(by, "bar", { x = "k", y = "v", by = "g" })):gsub('<path class="bar', "")), 6)
  check.equal(select(2, tostring(moon.chart(by, "scatter", { x = "k", y = "v", by = "g" })):gsub("<circle", "")), 6)
  local gap = moon.range(5, function(i) return { x = i, y = i ~= 3 and i or nil } end)
  check.equal(select(2, tostring(moon.chart(gap, "line", { x = "x", y = "y" })):gsub('<path class="line', "")), 2, "a missing value is a gap")
  local many = moon.range(20000, function(i) return { x = i, y = i % 100 } end)
  check.equal(#tostring(moon.chart(many, "line", { x = "x", y = "y" })) < 60000, true, "a long line is thinned")
  local counts = 0
  for n in tostring(moon.chart(moon.range(100, function(i) return { v = i } end), "histogram", { x = "v", bins = 10 })):gmatch("<title>[^<]*: (%d+)</title>") do counts = counts + n end
  check.equal(counts, 100, "a histogram counts every row")
end

tests["charts: what is wrong is named"] = function()
  local rows = { { a = 1, b = "x" } }
  check.fails('expected "bar"', moon.chart, rows, "pie", {})
  check.fails("x: no row has a value", moon.chart, rows, "bar", { x = "z", y = "a" })
  check.fails("the name of a column (a, b)", moon.chart, moon.table(rows), "bar", { x = "z", y = "a" })
  check.fails("column b: expected numbers", moon.chart, rows, "bar", { x = "a", y = "b" })
  check.fails("no option colour", moon.chart, rows, "bar", { x = "a", y = "a", colour = "red" })
  check.fails("colours: expected colours such as", moon.chart, rows, "bar", { x = "a", y = "a", colours = { "red}" } })
  check.fails("width: expected a whole number", moon.chart, rows, "bar", { x = "a", y = "a", width = 10 })
  check.fails("no room", moon.chart, rows, "bar", { x = "b", y = { "a", "a" }, height = 120, title = "t", x_label = "x" })
  check.fails("at most 2000", moon.chart, moon.range(2001, function(i) return { a = i } end), "bar", { x = "a", y = "a" })
  check.fails("expected a table or a list of rows", moon.chart, 7, "bar", { x = "a", y = "a" })
end

return check.udf(tests)
