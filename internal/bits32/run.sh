#!/usr/bin/env bash
# Tests the packages of its arguments with 32-bit integers: as linux/386, which most kernels of amd64 run, and where this one
# does not, as linux/arm in qemu. Where qemu is missing it is installed, if apt-get can do it; otherwise the tests are left out,
# but not with CI=true.
set -euo pipefail
cd "$(dirname "$0")/../.."
go=${GO:-go}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

GOOS=linux GOARCH=386 "$go" test -c -o "$folder/program" ./internal/codes
if "$folder/program" -test.run '^$' >/dev/null 2>&1; then
	GOOS=linux GOARCH=386 "$go" test "$@"
	exit
fi

qemu() { command -v qemu-arm-static || command -v qemu-arm; }
if ! qemu >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	apt-get update && apt-get install -y --no-install-recommends qemu-user-static
fi
if ! qemu >/dev/null; then
	echo "this system runs no programs of linux/386, and qemu-arm is missing, so the tests with 32-bit integers are left out: install it (apt-get install qemu-user-static)" >&2
	[ "${CI:-}" != true ]
	exit
fi
GOOS=linux GOARCH=arm "$go" test -short -exec "$(qemu)" "$@" # qemu takes ten times as long
