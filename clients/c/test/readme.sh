#!/bin/sh
# Compiles the example of the README as it stands there, and runs it against a server that sends back what it gets. Arguments: the C compiler, the
# library, the server, and a folder for the results. CFLAGS are the compiler's.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
out=$4
mkdir -p "$out"
rm -f "$out/port"
awk '/^```c$/ {on = 1; next} /^```$/ {on = 0} on' "$here/README.md" >"$out/example.c"
# shellcheck disable=SC2086
"$1" ${CFLAGS:-} -std=c99 -pedantic -Wall -Wextra -Werror -I"$here" "$out/example.c" "$2" -o "$out/example"
"$3" >"$out/port" &
peer=$!
trap 'kill $peer' EXIT
while [ ! -s "$out/port" ] && kill -0 $peer; do sleep 0.1; done
"$out/example" 127.0.0.1 "$(cat "$out/port")" >"$out/output"
printf 'the answer: hello\nclosed: 1000\n' | diff - "$out/output"
