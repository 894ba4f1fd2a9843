--- A page of headings, text, charts, tables and pictures: `moon.page`.
---@type moon, table
local moon, inner = ...
local core = inner.core
local _ = moon.html
local html = inner.html
local type, ipairs, pairs, tostring, table = type, ipairs, pairs, tostring, table

-- Tables look as the html codec's do.
local style = [[
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;margin:0;color:#1d2530;background:#fff}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 1rem}h2{font-size:1.2rem;margin:2rem 0 .5rem}
p{margin:.6rem 0}img,svg{max-width:100%;height:auto}a{color:#1f5fae}
.item{margin:1rem 0}
.table{overflow-x:auto;font-size:14px;line-height:1.4}
.table p{color:#5b6775;margin:.2rem 0}
table{border-collapse:collapse}
th,td{padding:.25rem .6rem;border-bottom:1px solid #d8dee6;text-align:left;vertical-align:top}
th{position:sticky;top:0;background:#f2f5f8}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid #2962ff}
th[aria-sort=ascending] button::after{content:" \25B2"}th[aria-sort=descending] button::after{content:" \25BC"}
td.n{text-align:right;font-variant-numeric:tabular-nums}td.g{font-family:monospace;color:#5b6775}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:.6rem 0}dt{color:#5b6775}dd{margin:0;font-variant-numeric:tabular-nums}
@media(prefers-color-scheme:dark){body{color:#dde4ec;background:#14181d}th{background:#1f262e}th,td{border-color:#36404b}
a{color:#7db4f5}.table p,dt,td.g{color:#97a4b2}}
]]

local script = [[
<script>
for(const table of document.querySelectorAll(".table table"))[...table.tHead.rows[0].cells].forEach((th,i)=>th.firstChild.addEventListener("click",()=>{
const up=th.getAttribute("aria-sort")!=="ascending",body=table.tBodies[0],key=r=>r.cells[i].textContent;
for(const o of table.tHead.rows[0].cells)o.removeAttribute("aria-sort");
th.setAttribute("aria-sort",up?"ascending":"descending");
body.append(...[...body.rows].sort((a,b)=>{const x=key(a),y=key(b);if(x===""||y==="")return(x==="")-(y==="");
const d=x-y;return(isNaN(d)?x.localeCompare(y):d)*(up?1:-1)}))}));
</script>
]]

local function plain_table(value)
  return type(value) == "table" and core.kind(value) == "table" and not html.is_markup(value) and getmetatable(value) == nil
end

--- A table by name is a list of terms; texts are paragraphs.
local function item_of(item, options, out)
  if type(item) == "string" then
    for part in (item .. "\n\n"):gmatch("(.-)\n%s*\n") do
      local heading = part:match("^# (.+)$")
      if heading then
        out[#out + 1] = "<h2>" .. html.escape(heading) .. "</h2>"
      elseif part:find("%S") then
        out[#out + 1] = "<p>" .. html.escape(part) .. "</p>"
      end
    end
  elseif plain_table(item) and item[1] == nil and next(item) ~= nil then
    local names = {}
    for name in pairs(item) do names[#names + 1] = tostring(name) end
    table.sort(names)
    out[#out + 1] = "<dl>"
    for _, name in ipairs(names) do
      out[#out + 1] = "<dt>" .. html.escape(name) .. "</dt><dd>" .. html.put(item[name], options) .. "</dd>"
    end
    out[#out + 1] = "</dl>"
  elseif plain_table(item) then
    for _, each in ipairs(item) do item_of(each, options, out) end
  elseif type(item) == "number" or type(item) == "boolean" then
    out[#out + 1] = "<p>" .. tostring(item) .. "</p>"
  else
    out[#out + 1] = '<div class="item">' .. html.put(item, options) .. "</div>"
  end
end

--- A whole page of the items of the list: text is a paragraph (a line that starts with "# " a heading), a chart a
--- picture, a table a table that a click sorts (the first `rows`, 1,000), a raster or animation a picture, a geometry
--- a drawing, a plain table by name a list of terms, `moon.html` is put in as it is. All text is escaped.
---
--- ```lua
--- local t = moon.table { { admin1 = "Pernambuco", places = 12 }, { admin1 = "Paraíba", places = 9 } }
--- local page = moon.page { title = "Places by region: <BR>", "# Most first", t:chart("bar", { x = "admin1", y = "places" }), t,
---   { Total = 21 }, moon.html("<p>See <a href='{{url}}'>more</a>.</p>", { url = "https://example.org" }) }
--- assert(page:find("<title>Places by region: &lt;BR&gt;</title>", 1, true))
--- ```
---
--- `lang` is the language of the page (en), `description` what search engines read, `style` CSS that is added, which
--- must not end its element.
---@param options { title?: string, lang?: string, description?: string, rows?: integer, style?: string, [integer]: any }
---@return string html
function moon.page(options)
  if type(options) ~= "table" or getmetatable(options) ~= nil or core.kind(options) ~= "table" then
    core.raise("argument", "page: expected a table { title = …, item, item }, got " .. core.show(options))
  end
  local known = { title = "string", lang = "string", description = "string", rows = "number", style = "string" }
  local count = 0
  for name, value in pairs(options) do
    if type(name) == "number" and name % 1 == 0 and name >= 1 then
      count = name > count and name or count
    elseif not known[name] then
      core.raise("argument", "page: no option " .. tostring(name) .. " (there are title, lang, description, rows, style)")
    elseif type(value) ~= known[name] then
      core.raise("argument", "page: " .. name .. ": expected a " .. known[name] .. ", got " .. core.show(value))
    end
  end
  if options.style and options.style:find("</", 1, true) then core.raise("argument", "page: style: it must not hold </") end
  local title = options.title and html.escape(options.title)
  local out = { '<!doctype html>\n<html lang="' .. html.escape(options.lang or "en") .. '"><head><meta charset="utf-8">'
    .. '<meta name="viewport" content="width=device-width,initial-scale=1">'
    .. (options.description and '<meta name="description" content="' .. html.escape(options.description) .. '">' or "")
    .. "<title>" .. (title or "Page") .. "</title>\n<style>" .. style .. (options.style or "") .. "</style></head><body><main>\n" }
  if title then out[#out + 1] = "<h1>" .. title .. "</h1>" end
  for i = 1, count do
    if options[i] ~= nil then item_of(options[i], options, out) end
  end
  out[#out + 1] = "</main>"
  local body = table.concat(out, "\n")
  return body .. (body:find('<div class="table">', 1, true) and "\n" .. script or "\n") .. "</body></html>\n"
end
