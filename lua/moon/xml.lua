--- XML: `moon.xml`. Documents are read strictly (by Expat), and never fetch or expand anything from outside.
---
--- ```lua
--- local doc = moon.xml.parse('<kml><Placemark id="1"><name>Olinda</name></Placemark><Placemark id="2"/></kml>')
--- assert(doc.name == "kml" and doc:all("Placemark")[2].attributes.id == "2")
--- assert(doc:find("Placemark/name").text == "Olinda")
--- ```
---@class moon.XmlElement
---@field name string with its prefix, as it is written: `gml:pos`
---@field attributes table<string, string>
---@field text string character data directly inside of it, without blanks at its ends
---@field [integer] moon.XmlElement the elements inside of it, in their order
---@type moon, table
local moon, inner = ...
local c, core, html = inner.open "xml", inner.core, inner.open "html"
local Element = { __name = "xml element" }
local methods = {}
Element.__index = methods

local function fits(element, step)
  return step == "*" or element.name == step or element.name:match(":(.+)$") == step
end

local function walk(element, steps, at, found, first)
  for _, child in ipairs(element) do
    if steps[at] == "**" then
      walk(child, steps, at, found, first)
      if first and found[1] then return end
      if fits(child, steps[at + 1] or "*") then
        if at + 1 >= #steps then found[#found + 1] = child else walk(child, steps, at + 2, found, first) end
      end
    elseif fits(child, steps[at]) then
      if at == #steps then found[#found + 1] = child else walk(child, steps, at + 1, found, first) end
    end
    if first and found[1] then return end
  end
end

local function search(what, element, path, first)
  if type(path) ~= "string" or path == "" then core.raise("argument", "xml: " .. what .. ": expected a path such as \"Placemark/name\", got " .. core.show(path)) end
  local steps, found = {}, {}
  for step in path:gmatch("[^/]+") do steps[#steps + 1] = step end
  walk(element, steps, 1, found, first)
  return found
end

--- The elements at a path of names: `*` is any name, `**` any number of elements between. A name without a prefix
--- fits with any.
---
--- ```lua
--- local doc = moon.xml.parse("<a><b><c>1</c></b><c>2</c></a>")
--- assert(#doc:all("**/c") == 2 and #doc:all("c") == 1 and #doc:all("*/c") == 1)
--- ```
---@param path string
---@return moon.XmlElement[]
function methods.all(element, path) return search("all", element, path, false) end

--- The first element at a path, or nil.
---
--- ```lua
--- assert(moon.xml.parse("<a><b/></a>"):find("c") == nil)
--- ```
---@param path string
---@return moon.XmlElement?
function methods.find(element, path) return search("find", element, path, true)[1] end

---@class moon.xml
local M = {}

--- The root element of a document. What is not well-formed is the error `argument`, with line and column.
---
--- ```lua
--- local doc, err = moon.try(moon.xml.parse, "<a>\n<b></a>")
--- assert(not doc and err.message:find("line 2", 1, true))
--- ```
---@param text string
---@return moon.XmlElement
function M.parse(text) return c.parse(text, Element) end

--- Text for XML: & < > " ' as entities.
---
--- ```lua
--- assert(moon.xml.escape("a < b") == "a &lt; b")
--- ```
---@param text string|number
---@return string
function M.escape(text)
  if type(text) ~= "string" and type(text) ~= "number" then core.raise("argument", "xml.escape: expected text, got " .. core.show(text)) end
  return html.escape(tostring(text))
end

moon.xml = M
