#!/bin/sh
# Writes the library as one source to the file that is named: for programs that would rather copy two files than build a library.
set -eu
cd "$(dirname "$0")"
{
    echo '/* librollcall in one file, made by single.sh. */'
    echo '#define RCI static'
    for f in rollcall_internal.h rollcall_codec.c rollcall_session.c rollcall_requests.c rollcall.c; do
        grep -v '^#include "rollcall_internal.h"' "$f"
    done
} >"$1"
