--- Animations: `moon.frames`. A UDF that returns one answers APNG, or GIF or WebP where that is asked for
--- (`?format=gif`, `….webp`).
---@class moon.Frames
---@field count integer
---@field width integer
---@field height integer
---@field delays integer[] milliseconds
---@field [integer] moon.Raster
---@type moon, table
local moon, inner = ...
local frames = inner.open("frames").frames

--- An animation of rasters of one size, repeated for ever. `delay_ms` is how long a frame is shown (default 80), or a
--- list, one for each frame. Frames follow the rules of single pictures: a coloured band keeps its palette, no data is
--- transparent, floats are 0 to 1 (or `gif.min` to `gif.max`).
---
--- ```lua
--- local dem = moon.read_raster("fd://olinda_dem_utm25s.tif", nil, { size = 64 })
--- local list = {}
--- for i = 1, 4 do list[i] = dem:hillshade { azimuth = 90 * i } end
--- local film = moon.frames(list, { delay_ms = 200 })
--- assert(film.count == 4 and film.width == dem.width and film.delays[4] == 200)
--- assert(moon.encode(film, "gif"):sub(1, 6) == "GIF89a")
--- ```
---@param list moon.Raster[]
---@param options? { delay_ms?: number|number[] }
---@return moon.Frames
function moon.frames(list, options)
  return frames(list, options)
end
