#!/bin/sh
# Installs the library in a folder, moves that, and builds and runs the terminal with what is there: once by pkg-config and once by CMake's
# find_package. Arguments: cmake, the C compiler, the folder of the build, the server, and a folder for the results. CFLAGS are the compiler's.
set -eu
cmake=$1 cc=$2 build=$3 peer=$4 out=$5
here=$(cd "$(dirname "$0")/.." && pwd)
rm -rf "$out"
mkdir -p "$out/program"
"$cmake" --install "$build" --prefix "$out/staged" >"$out/install.log"
mv "$out/staged" "$out/installed"
for header in rollcall rollcall_posix rollcall_openssl; do
    printf '#include <%s.h>\nint main(void) { return 0; }\n' $header >"$out/$header.c"
done
cp "$here/examples/terminal.c" "$out/program"

PKG_CONFIG_PATH=$(dirname "$(find "$out/installed" -name rollcall.pc)")
export PKG_CONFIG_PATH
for name in rollcall rollcall_posix rollcall_openssl; do
    package=rollcall
    [ $name != rollcall_openssl ] || package=$name
    # shellcheck disable=SC2046,SC2086
    "$cc" ${CFLAGS:-} "$out/$name.c" $(pkg-config --cflags --libs $package) -o "$out/$name"
    "$out/$name"
done
# shellcheck disable=SC2046,SC2086
"$cc" ${CFLAGS:-} -std=c99 "$out/program/terminal.c" $(pkg-config --cflags --libs rollcall_openssl) -o "$out/by-pkg-config"
"$here/test/terminal.sh" "$out/by-pkg-config" "$peer" "$out/by-pkg-config.out"

cat >"$out/program/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.13)
project(program LANGUAGES C)
find_package(rollcall 0.1 REQUIRED)
add_executable(terminal terminal.c)
target_link_libraries(terminal PRIVATE rollcall::rollcall_openssl)
CMAKE
"$cmake" -S "$out/program" -B "$out/by-cmake" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$out/installed" >"$out/cmake.log"
"$cmake" --build "$out/by-cmake" >>"$out/cmake.log"
"$here/test/terminal.sh" "$out/by-cmake/terminal" "$peer" "$out/by-cmake.out"
