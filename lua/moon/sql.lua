--- SQL over tables, rasters and files: `moon.sql`, `moon.file`. It is DuckDB's SQL, with `ST_…` functions.
---@type moon, table
local moon, inner = ...
local c = inner.open "sql"

---@class moon.File
---@field name string

--- A file for `moon.sql`: `fd://…` or `/mnt/cache/…`. Its content counts as read by the run, so that a cached answer
--- holds until the file changes.
---
--- ```lua
--- local f = moon.file("fd://places.parquet")
--- assert(tostring(f) == "fd://places.parquet")
--- ```
---@type fun(path: string): moon.File
moon.file = c.file

--- Runs one statement that reads, and gives its rows as a table.
---
--- In `values` a table is a view by its name, and so is a raster (columns `x`, `y` and one for each band; no data is
--- null); anything else is the parameter `$name`: a number, text, boolean, geometry, `moon.null`, `moon.file`, or a list.
---
--- ```lua
--- local places = moon.table {
---   { name = "Olinda", n = 3, geometry = moon.point(-34.86, -8.01) },
---   { name = "Recife", n = 7, geometry = moon.point(-34.88, -8.05) },
--- }
--- local t = moon.sql("select upper(name) as name, geometry from places where n >= $least", { places = places, least = 5 })
--- assert(t:count() == 1 and t.columns.name[1] == "RECIFE" and t.crs == "EPSG:4326")
--- local pairs = moon.sql("select a.name as a, b.name as b from places a join places b on a.n < b.n", { places = places })
--- assert(pairs.columns.b[1] == "Recife")
--- assert(moon.sql("select list_sum($list) as s", { list = { 1, 2, 3 } }).columns.s[1] == 6)
--- ```
---
--- Geometry columns are GEOMETRY, in the CRS of their table; a geometry that is computed is in the CRS of the tables of
--- the statement. `ST_SetCRS(geometry, 'EPSG:…')` says which, where they differ or `ST_Transform` was used.
---
--- ```lua
--- local places = moon.table { { name = "Olinda", geometry = moon.point(-34.86, -8.01) } }
--- local t = moon.sql([[
---     select name, ST_SetCRS(ST_Buffer(ST_Transform(geometry, 'EPSG:31985'), 500), 'EPSG:31985') as geometry
---     from places]], { places = places })
--- assert(t.crs == "EPSG:31985")
--- local near = moon.sql("select name from places where ST_DWithin(geometry, $here, 1)", { places = places, here = moon.point(-34.9, -8) })
--- assert(near:count() == 1)
--- ```
---
--- The functions: constructors ST_Point, ST_MakeEnvelope, ST_GeomFromText, ST_GeomFromGeoJSON, ST_GeomFromWKB; predicates
--- ST_Intersects, ST_Disjoint, ST_Contains, ST_Within, ST_Covers, ST_CoveredBy, ST_Touches, ST_Crosses, ST_Overlaps,
--- ST_Equals, ST_DWithin, ST_IsEmpty, ST_IsValid; measures ST_Area, ST_Length, ST_Perimeter, ST_Distance, ST_X, ST_Y, ST_Z,
--- ST_XMin, ST_YMin, ST_XMax, ST_YMax, ST_NPoints, ST_NumGeometries, ST_Dimension; geometries ST_Centroid, ST_Envelope,
--- ST_ConvexHull, ST_Boundary, ST_MakeValid, ST_PointOnSurface, ST_LineMerge, ST_Reverse, ST_Buffer, ST_Simplify,
--- ST_SimplifyPreserveTopology, ST_Intersection, ST_Union, ST_Difference, ST_SymDifference, ST_GeometryN, ST_ExteriorRing,
--- ST_StartPoint, ST_EndPoint, ST_Transform; texts ST_AsText, ST_AsGeoJSON, ST_AsWKB, ST_GeometryType; aggregates
--- ST_Union_Agg, ST_Collect_Agg, ST_Extent_Agg. Measures are in units of the coordinates.
---
--- What is wrong with a statement is the error `sql`, with its line and column.
---
--- ```lua
--- local t, err = moon.try(moon.sql, "select\n  nope")
--- assert(not t and err.name == "sql" and err.message:find("line 2", 1, true))
--- ```
---@type fun(statement: string, values?: table<string, any>): moon.Table
moon.sql = c.sql
