#!/usr/bin/env bash
# Builds and runs programs outside the repository, in a temporary folder, each a module that has Rollcall's public modules
# by "replace" alone: what such a program needs and does not find in our go.mod files fails here, before a tag has it.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD go=${GO:-go} module=github.com/rollcall-go/rollcall
version=$(sed -n "s|^[[:space:]]*$module \(v[^ ]*\).*|\1|p" metrics/go.mod)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOWORK=off

# outside PROGRAM OUTPUT FOLDER...: builds testdata/PROGRAM with the modules in these folders, and wants it to print OUTPUT.
outside() {
  local program=$1 output=$2 printed
  shift 2
  mkdir "$folder/$program"
  cp "internal/outside/testdata/$program/main.go" "$folder/$program"
  {
    echo "module example.com/$program"
    sed -n '/^go /p' go.mod
    for path in "$@"; do
      name=$module${path#.}
      echo "require $name $version"
      echo "replace $name => $root${path#.}"
    done
  } >"$folder/$program/go.mod"
  for path in "$@"; do cat "$path/go.sum"; done | sort -u >"$folder/$program/go.sum"
  printed=$(cd "$folder/$program" && $go run -mod=mod .)
  if [ "$printed" != "$output" ]; then
    echo "outside the repository, $program printed \"$printed\", not \"$output\"" >&2
    exit 1
  fi
}

outside plain hello .
outside metered "users: 0" . ./metrics
outside clustered "ann is at a" . ./cluster/redisdir
outside stored "ann exists: true" . ./chat/sqlstore
echo "outside the repository, programs with $module $version build and run"
