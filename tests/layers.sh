#!/bin/sh
# layers.sh ROOT: the house rules that a compiler does not see. Prints each breach; the count at the end.
#   - the top level holds what the design names and nothing else;
#   - a module includes only itself and what lies below it, through include/moongate/ or its own folder;
#   - a foreign library is included in its one place;
#   - functions that the house does not use are not used.
set -eu
cd "$1"
results=$(mktemp)
trap 'rm -f "$results"' EXIT

check() { # check NAME, with the breaches on standard input; runs in a pipe, so that results go through a file
    breaches=$(cat)
    if [ -n "$breaches" ]; then
        printf 'not ok: %s\n%s\n' "$1" "$breaches" | sed '2,$s/^/    /'
        echo failed >>"$results"
    else
        printf 'ok: %s\n' "$1"
        echo passed >>"$results"
    fi
}

files() { git ls-files "$@" 2>/dev/null | grep . || find "$@" -type f; }

files . | sed 's|^\./||' | cut -d/ -f1 | sort -u | grep -vE '^(build.*|\..*)$' |
    grep -vxE 'gateway|lua|udfs|include|tests|bench|CMakeLists\.txt|README\.md|CHANGELOG\.md|LICENSE|moongate' |
    check 'the top level is what the design names' || :

# The home of each public header, by module; a header's rank is its module's.
home_of() {
    case $1 in
    err | buf | pack | log | crypto | json | metrics | config | nearest) echo base ;;
    msg | memfd | sandbox | master | run_wire) echo proc ;;
    tile | gdal | raster | raster_ops | raster_read | raster_analysis | pmtiles | files | table | table_plain | geometry | vector_read | vector_ops | sql) echo geo ;;
    codec | formats | unarchive) echo codec ;;
    state | saved | cache) echo store ;;
    fetch | client) echo fetch ;;
    catalog | sig | package | reference) echo catalog ;;
    worker) echo worker ;;
    answer | broker | engine | front | http | tile_layers) echo serve ;;
    *) echo "" ;;
    esac
}
# Each module and what it may include.
allowed() {
    case $1 in
    base) echo base ;;
    proc) echo base proc ;;
    geo) echo base proc geo ;;
    codec) echo base proc geo codec ;;
    store) echo base proc geo store ;;
    fetch) echo base proc geo fetch ;;
    catalog) echo base proc geo codec store fetch catalog ;;
    worker) echo base proc geo codec store fetch worker ;;
    serve) echo base proc geo codec store fetch catalog worker serve ;;
    cli) echo base proc geo codec store fetch catalog worker serve cli ;;
    esac
}

for header in include/moongate/*.h; do
    [ -n "$(home_of "$(basename "$header" .h)")" ] || echo "$header belongs to no module (tests/layers.sh names them)"
done | check 'every public header has a home'

for module in base proc geo codec store fetch catalog worker serve cli; do
    may=" $(allowed $module) "
    grep -noE '#include "moongate/[a-z_0-9]+\.h"' gateway/$module/*.[ch] 2>/dev/null |
        sed 's|:#include "moongate/|:|; s|\.h"$||' | while IFS=: read -r file line header; do
        home=$(home_of "$header")
        case $may in *" $home "*) ;; *) echo "$file:$line includes moongate/$header.h of $home" ;; esac
    done | check "$module includes only what lies below it"
    grep -nE '#include "(\.\./|(base|proc|geo|codec|store|fetch|catalog|worker|serve|cli)/)' gateway/$module/*.[ch] 2>/dev/null |
        grep -vE "#include \"$module/" | check "$module reaches into no other folder"
done

# One place for each foreign library: PATTERN | the folders (or files) that may.
only() {
    grep -rnE "#include [<\"]$1" gateway include | grep -vE "^($2)" | check "$1 only in $2"
}
only 'h2o' 'gateway/serve/'
only '(lua|lauxlib|lualib|luajit)\.h' 'gateway/worker/'
only 'lmdb\.h' 'gateway/store/'
only '(curl/|libpq)' 'gateway/fetch/'
only 'png\.h' 'gateway/codec/png'
only 'gif_lib\.h' 'gateway/codec/gif'
only 'webp/' 'gateway/codec/webp'
only 'jpeglib\.h' 'gateway/codec/jpg'
only '(gdal|ogr_|cpl_)' 'gateway/geo/|gateway/codec/(tif|ipc_schema|ogr)|include/moongate/gdal'
only '(lz4frame|zstd)\.h' 'gateway/codec/ipc_body'
only 'geos_c' 'gateway/geo/'
only 'geodesic' 'gateway/geo/vector_ground'
only 'duck(_geo)?\.h' 'gateway/geo/(duck|sql)'
only 'openssl/' 'gateway/base/crypto|gateway/serve/tls|gateway/serve/http_internal'
only 'archive' 'gateway/catalog/package_zip|gateway/codec/unarchive'
only 'expat' 'gateway/worker/bind_xml'
only 'sqlite3' 'gateway/geo/mbtiles'
only 'jansson' 'include/moongate/json\.h'

grep -nE '\b(sprintf|strcpy|strcat|strtok|atoi|gets) ?\(' gateway/*/*.[ch] gateway/*.c | check 'no function that the house does not use'
wc -l gateway/*/*.[ch] gateway/*.c lua/moon/*.lua | awk '$2 != "total" && $1 > 800 {print $1 " lines: " $2}' |
    check 'no file over 800 lines'
wc -l include/moongate/*.h | awk '$2 != "total" && $1 > 120 {print $1 " lines: " $2}' | check 'no public header over 120 lines'

passed=$(grep -c passed "$results" || :) failed=$(grep -c failed "$results" || :)
echo "layers: $passed passed, $failed failed"
[ "$failed" = 0 ]
