#!/bin/sh
# The clients in other languages: each one's own tests, and then the suite over the testees of all. A language whose tools are missing, and cannot be
# installed, is left out, which fails where CI=true. Last, the code of the README in each language.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$(mktemp -d) || exit 1
trap 'rm -rf "$build"' EXIT
failed=
left_out=
languages=
"${GO:-go}" build -o "$build/" ./clients/conformance ./clients/conformance/gotestee ./clients/snippets || exit 1
set -- -testee "go='$build/gotestee'"
for makefile in clients/*/Makefile; do
	folder=${makefile%/Makefile}
	language=${folder#clients/}
	if ! why=$("${MAKE:-make}" -s -C "$folder" tools 2>&1); then
		left_out="$left_out $language"
		echo "clients: $language is left out, because its tools are missing: $(echo "$why" | grep -v '^make' | tail -n 1)" >&2
		continue
	fi
	languages="$languages $language"
	"${MAKE:-make}" -C "$folder" test || failed="$failed $language"
	for testee in "$folder"/testee*; do
		[ -f "$testee" ] && [ -x "$testee" ] || continue
		case $testee in
		*-browser)
			if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
				left_out="$left_out $language-browser"
				continue
			fi
			;;
		esac
		set -- "$@" -testee "$language${testee#"$folder"/testee}='$PWD/$testee'"
	done
done
"$build/conformance" "$@" || failed="$failed conformance"
[ -z "$languages" ] || "$build/snippets" $languages || failed="$failed README.md"
[ -z "$left_out" ] || echo "clients: left out:$left_out" >&2
[ -z "$failed" ] || { echo "clients: failed:$failed" >&2; exit 1; }
[ -z "$left_out" ] || [ "${CI:-}" != true ]
