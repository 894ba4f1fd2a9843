--- Geometries: `moon.point`, `moon.geometry`, and their methods. Distances and areas are metres.
---
--- ```lua
--- local circle = moon.point(-34.9, -8.0):buffer(500)
--- assert(circle.type == "Polygon")
--- assert(math.abs(circle:area() / (math.pi * 500 ^ 2) - 1) < 0.01)
--- assert(circle:intersects(moon.point(-34.9, -8.0)))
--- ```
---@class moon.Geometry
---@field type string "Point", "LineString", "Polygon", "MultiPoint" …
---@field crs string "EPSG:4326" unless said otherwise
---@field x number of a point
---@field y number of a point
---@field buffer fun(self, metres: number, quad_segments?: integer): moon.Geometry through the local UTM zone
---@field bounds fun(self): moon.Bounds
---@field area fun(self): number square metres
---@field length fun(self): number metres
---@field centroid fun(self): moon.Geometry
---@field envelope fun(self): moon.Geometry
---@field hull fun(self): moon.Geometry
---@field boundary fun(self): moon.Geometry
---@field valid fun(self): moon.Geometry repaired where it was not valid
---@field surface_point fun(self): moon.Geometry
---@field intersection fun(self, other: moon.Geometry|moon.Bounds): moon.Geometry
---@field union fun(self, other: moon.Geometry|moon.Bounds): moon.Geometry
---@field difference fun(self, other: moon.Geometry|moon.Bounds): moon.Geometry
---@field intersects fun(self, other: moon.Geometry|moon.Bounds): boolean
---@field contains fun(self, other: moon.Geometry|moon.Bounds): boolean
---@field within fun(self, other: moon.Geometry|moon.Bounds): boolean
---@field equals fun(self, other: moon.Geometry|moon.Bounds): boolean
---@field simplify fun(self, tolerance: number, keep_topology?: boolean): moon.Geometry in units of the coordinates
---@field reproject fun(self, crs: string): moon.Geometry
---@field wkt fun(self): string
---@field geojson fun(self): string
---@type moon, table
local moon, inner = ...
local c = inner.open "geometry"

--- A point of longitude and latitude, degrees.
---@type fun(lng: number, lat: number): moon.Geometry
moon.point = c.point
--- A geometry from WKT, GeoJSON (text or table), or bounds.
---@type fun(from: string|table, crs?: string): moon.Geometry
moon.geometry = c.geometry
