#!/bin/sh
# Fetches the programs that firmware loads, as boot-assets/loaders.toml lists them, from Debian's packages
# and makes a bundle of them for `firstlight image import`: the files and a loaders.toml that lists them.
# Usage: boot-assets/build-loaders.sh [--force] [OUTDIR]     (default build/loaders)
set -eu
export LC_ALL=C
HERE=$(cd "$(dirname "$0")" && pwd)
TOP=$(dirname "$HERE")
OUT=$TOP/build/loaders
FORCE=no
# shellcheck source=boot-assets/private-apt.sh
. "$HERE/private-apt.sh"

say() { echo "[loaders] $*"; }
die() { echo "build-loaders: $*" >&2; exit 1; }

main() {
    for arg in "$@"; do
        case $arg in
            --force) FORCE=yes ;;
            -*) die "unknown option $arg (known: --force)" ;;
            *) mkdir -p "$arg" && OUT=$(cd "$arg" && pwd) ;;
        esac
    done
    inputs=$(cat "$0" "$HERE/loaders.toml" "$HERE/private-apt.sh" | sha256sum | cut -d' ' -f1)
    if [ "$FORCE" = no ] && [ "$(cat "$OUT/.stamp" 2>/dev/null)" = "$inputs" ]; then
        say "up to date: $OUT (--force fetches again)"
        return
    fi
    for tool in apt-get dpkg-deb; do command -v "$tool" >/dev/null || die "this takes $tool: run it on Debian"; done
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/firstlight-loaders.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    trap 'exit 130' INT TERM
    APT=$WORK/apt
    mkdir -p "$APT" "$OUT" && rm -f "$OUT/.stamp"
    rows >"$WORK/rows"
    fetch
    take
    for file in "$WORK/out/"*; do mv "$file" "$OUT/${file##*/}"; done
    echo "$inputs" >"$OUT/.stamp"
    say "done: $OUT"
}

# The manifest as lines of name, package, version, suite, arch, file, sha256.
rows() {
    awk -F'"' '
        function row() { if (v["name"] != "") print v["name"], v["package"], v["version"] == "" ? "-" : v["version"], v["suite"], v["arch"], v["file"], v["sha256"] == "" ? "-" : v["sha256"] }
        /^\[\[loader\]\]/ { row(); delete v }
        /^[a-z0-9]+ = "/ { key = $1; sub(/ .*/, "", key); v[key] = $2 }
        END { row() }' "$HERE/loaders.toml"
}

# Each suite and architecture once, each package unpacked in a directory of its own.
fetch() {
    cut -d' ' -f4,5 "$WORK/rows" | sort -u >"$WORK/places"
    while read -r suite arch; do
        packages=$(awk -v s="$suite" -v a="$arch" '$4 == s && $5 == a {print $2}' "$WORK/rows" | sort -u)
        say "Debian $suite, $arch: $(echo "$packages" | paste -sd' ')"
        debs=$WORK/debs/$suite-$arch
        mkdir -p "$debs"
        # shellcheck disable=SC2086 # package names
        (cd "$debs" && private_apt "$suite" "$arch" download $packages) || die "Debian $suite ($arch) cannot be fetched (above)"
        for deb in "$debs"/*.deb; do
            package=$(dpkg-deb -f "$deb" Package)
            dpkg-deb -f "$deb" Version >"$debs/$package.version"
            dpkg-deb -x "$deb" "$debs/$package"
        done
    done <"$WORK/places"
}

take() {
    mkdir "$WORK/out"
    {
        echo '# Made by boot-assets/build-loaders.sh'
        while read -r name package version suite arch file sha256; do
            root=$WORK/debs/$suite-$arch/$package
            # Some are links to others of the same package.
            path=$(readlink -f "$root$file" || true)
            [ -f "$path" ] || die "$name: $package of $suite has no $file"
            case $path in "$root"/*) ;; *) die "$name: $file leads out of $package" ;; esac
            cp "$path" "$WORK/out/$name"
            found=$(sha256sum <"$path" | cut -d' ' -f1)
            there=$(cat "$root.version")
            check
            printf '\n[[loader]]\nname = "%s"\npackage = "%s"\nversion = "%s"\narch = "%s"\nsize = %s\nsha256 = "%s"\n' \
                "$name" "$package" "$there" "$arch" "$(stat -c %s "$path")" "$found"
        done <"$WORK/rows"
    } >"$WORK/loaders.new"
    mv "$WORK/loaders.new" "$WORK/out/loaders.toml"
}

check() {
    [ "$found" != "$sha256" ] || return 0
    [ "$there" != "$version" ] || die "$name: $package $version has other bytes ($found) than boot-assets/loaders.toml says ($sha256); somebody has changed the package or the list"
    say "$name: $package is $there now, loaders.toml knows $version; its lines would be: version = \"$there\" sha256 = \"$found\"" >&2
}

main "$@"
