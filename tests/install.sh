#!/bin/sh
# install.sh ROOT BUILD: installs into a DESTDIR, moves the prefix elsewhere, and runs a UDF from there.
set -eu
root=$1 build=$2
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
DESTDIR=$stage cmake --install "$build" --prefix /opt/moongate >"$stage/log" 2>&1 || { cat "$stage/log"; exit 1; }
mv "$stage/opt/moongate" "$stage/moved"
for file in bin/moongate share/moongate/lua/moon share/moongate/udfs/Hello/Hello.lua share/moongate/web/map.html \
    share/moongate/web/maplibre-gl.mjs share/moongate/data/L7_ETMs.tif share/moongate/lib/libduckdb.so; do
    [ -e "$stage/moved/$file" ] || { echo "not installed: $file"; exit 1; }
    [ ! -L "$stage/moved/$file" ] || { echo "a link into the build: $file"; exit 1; }
done
answer=$(HOME=$stage "$stage/moved/bin/moongate" run Hello name=Prefix --data "$stage/data")
[ "$answer" = "Hello from Prefix!" ] || { echo "the installed program answered: $answer"; exit 1; }
HOME=$stage "$stage/moved/bin/moongate" run Landsat_NDVI --tile 12/1651/2139 --data "$stage/data" -o "$stage/tile.png"
[ "$(head -c 8 "$stage/tile.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || { echo "no PNG"; exit 1; }
echo "install: 1 passed, 0 failed"
