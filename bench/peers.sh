#!/bin/sh
# peers.sh DIR: unpacks into DIR the peers that cannot be installed as packages.
#   nginx-lua   nginx's Lua module: installing it would take away the LuaJIT that we are built with
#   titiler     a virtual environment of Python
#   pyarrow     another
set -eu
mkdir -p "$1"
dir=$(CDPATH='' cd -- "$1" && pwd)

if [ ! -d "$dir/nginx-lua" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && apt-get download -q libnginx-mod-http-lua libnginx-mod-http-ndk libluajit2-5.1-2 lua-resty-core \
        lua-resty-lrucache libpcre3)
    mkdir "$dir/nginx-lua.new"
    for package in "$work"/*.deb; do
        dpkg -x "$package" "$dir/nginx-lua.new"
    done
    mv "$dir/nginx-lua.new" "$dir/nginx-lua"
fi
if [ ! -d "$dir/titiler" ]; then
    rm -rf "$dir/titiler.new"
    python3 -m venv "$dir/titiler.new"
    "$dir/titiler.new/bin/pip" install -q 'titiler.application[server]'
    mv "$dir/titiler.new" "$dir/titiler"
fi
if [ ! -d "$dir/pyarrow" ]; then
    rm -rf "$dir/pyarrow.new"
    python3 -m venv "$dir/pyarrow.new"
    "$dir/pyarrow.new/bin/pip" install -q pyarrow
    mv "$dir/pyarrow.new" "$dir/pyarrow"
fi
