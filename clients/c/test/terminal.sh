#!/bin/sh
# Runs the terminal against a server that sends back what it gets. Arguments: the terminal, the server, and a folder for the results.
set -eu
out=$3
mkdir -p "$out"
rm -f "$out/port"
: >"$out/output"
"$2" >"$out/port" &
peer=$!
trap 'kill $peer' EXIT
while [ ! -s "$out/port" ] && kill -0 $peer; do sleep 0.1; done
# Waits until the terminal has shown a line.
shown() {
    i=0
    until grep -q "$1" "$out/output"; do
        i=$((i + 1))
        [ $i -lt 300 ] || { echo "it has not shown $1" >&2; exit 1; }
        sleep 0.1
    done
}
{
    shown 'online'
    echo 'bob hello'
    shown '<> hello'
} | "$1" 127.0.0.1 "$(cat "$out/port")" alice >"$out/output"
printf '* online\n<> hello\n* closed: 1000 \n' | diff - "$out/output"
