#!/bin/sh
# Compiles the whole library for microcontrollers, and fails if it is larger than 6 KiB on a Cortex-M4. Its argument is a folder for the results.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
out=$1
mkdir -p "$out"
"$here/single.sh" "$out/rollcall.c"
cp "$here/rollcall.h" "$out"
cat >"$out/state.c" <<'STATE'
#include "rollcall.h"
rc_client state;
rc_request_slot request;
rc_push_slot push;
STATE
for cpu in cortex-m4 cortex-m0plus; do
    for name in rollcall state; do
        arm-none-eabi-gcc -std=c99 -pedantic -Wall -Wextra -Werror -Os -mcpu=$cpu -mthumb -c "$out/$name.c" -o "$out/$name-$cpu.o"
    done
    text=$(arm-none-eabi-size "$out/rollcall-$cpu.o" | awk 'NR == 2 {print $1}')
    echo "$cpu: $text bytes of code and constants, $(arm-none-eabi-size "$out/rollcall-$cpu.o" | awk 'NR == 2 {print $2 + $3}') of static memory"
    case $cpu in
    cortex-m4) m4=$text ;;
    esac
done
arm-none-eabi-nm -S "$out/state-cortex-m4.o" | while read -r _ size _ name; do
    echo "memory of a $name: $(printf %d "0x$size") bytes"
done
[ "$m4" -le 6144 ] || { echo "6,144 bytes are the most" >&2; exit 1; }
