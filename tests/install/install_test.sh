#!/bin/bash
# Installs the build tree into a temporary directory; compiles and runs, against what was installed and
# through pkg-config, the smallest consumer and the documented examples: in C and in C++, with the shared
# library and with the static one. Arguments: source root, build root.
set -eu

source=$1
build=$2
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

meson install -C "$build" --no-rebuild --destdir "$stage" --quiet
pc=$(find "$stage" -name trireme.pc)
[ -n "$pc" ] || { echo "no trireme.pc was installed"; exit 1; }
export PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$stage
libdir=$(pkg-config --variable=libdir trireme)
libdir=$stage${libdir#"$stage"}

fail() {
    echo "FAILED: $*"
    exit 1
}

# What must be there.
for file in libtrireme.a libtrireme.so libtrireme.so.0; do
    [ -e "$libdir/$file" ] || fail "$file was not installed"
done
for header in "$source"/include/trireme/*.h; do
    [ -f "$stage$(pkg-config --variable=prefix trireme | sed "s|^$stage||")/include/trireme/${header##*/}" ] ||
        fail "${header##*/} was not installed"
done
for page in trireme trireme-kv trireme-stat trireme-perf; do
    [ -n "$(find "$stage" -path "*/man1/$page.1" -size +0)" ] || fail "no manual page $page(1)"
done
objdump -p "$libdir/libtrireme.so" | grep -q 'SONAME *libtrireme.so.0$' || fail "wrong soname"

# What must be exported: each function of a public header, and nothing else.
nm -D --defined-only "$libdir/libtrireme.so" | awk '$2 ~ /[TWVBDR]/ { sub(/@.*/, "", $3); print $3 }' |
    sort -u >"$stage/exported"
cat "$source"/include/trireme/*.h | cc -fpreprocessed -dD -E -P -x c - 2>/dev/null | tr '\n' ' ' |
    grep -oE '\btr_[a-z0-9_]+ ?\([^()]*(\([^()]*\)[^()]*)*\) ?;' | grep -oE '^tr_[a-z0-9_]+' | sort -u |
    grep -v '_fn$' >"$stage/declared"
comm -13 "$stage/declared" "$stage/exported" >"$stage/extra"
comm -23 "$stage/declared" "$stage/exported" >"$stage/missing"
[ ! -s "$stage/extra" ] || fail "exported, but in no public header:" $(cat "$stage/extra")
[ ! -s "$stage/missing" ] || fail "declared in a public header, but not exported:" $(cat "$stage/missing")

# compile NAME SOURCE LANGUAGE-STANDARD PKG-CONFIG-ARGUMENT: builds a program and runs it.
try() {
    local name=$1 file=$2 standard=$3 how=$4 compiler=cc link
    case $standard in c++*) compiler=c++ ;; esac
    link=$(pkg-config $how --libs trireme)
    [ "$how" = --static ] && link=$(echo "$link" | sed 's/-ltrireme/-l:libtrireme.a/')
    case $standard in c++*) set -- -x c++ ;; *) set -- -x c ;; esac
    "$compiler" "$@" -std="$standard" -O2 -Wall -Wextra -Wpedantic -Werror $(pkg-config --cflags trireme) \
        -o "$stage/program" "$file" -x none $link || fail "$name does not compile as $standard $how"
    LD_LIBRARY_PATH=$libdir timeout 60 "$stage/program" >"$stage/output" 2>&1 ||
        { cat "$stage/output"; fail "$name as $standard $how ended with $?"; }
    echo "ok $name as $standard $how"
}

for how in --shared --static; do
    try consumer "$source/tests/install/consumer.c" c99 "$how"
    try consumer "$source/tests/install/consumer.c" c11 "$how"
    try consumer "$source/tests/install/consumer.c" c++17 "$how"
    for example in "$source"/examples/*.c; do
        [ ! -f "$example" ] || try "${example##*/}" "$example" gnu11 "$how"
    done
    for example in "$source"/examples/*.cc "$source"/examples/*.cpp; do
        [ ! -f "$example" ] || try "${example##*/}" "$example" c++17 "$how"
    done
done
