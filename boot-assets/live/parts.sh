#!/bin/sh
# Takes the live image's kernel, modules and programs out of Debian packages of any architecture, without
# running one of its programs. The kernel is Debian's for real machines: the one for clouds knows no BMC and few
# disk controllers.
# Usage: live/parts.sh SUITE ARCH PARTS     (a new directory)
set -eu
export LC_ALL=C
HERE=$(cd "$(dirname "$0")/.." && pwd)
suite=$1 arch=$2 parts=$3
case $arch in amd64) triplet=x86_64-linux-gnu ;; arm64) triplet=aarch64-linux-gnu ;; *) echo "parts.sh: $arch is not known" >&2 && exit 1 ;; esac
WORK=$(mktemp -d "${TMPDIR:-/tmp}/firstlight-live.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM
APT=$WORK/apt root=$WORK/root
mkdir -p "$APT" "$root" "$parts/tools"
# shellcheck source=boot-assets/private-apt.sh
. "$HERE/private-apt.sh"

# Into an empty system, so the packages come with all they depend on.
packages="linux-image-$arch busybox-static fdisk e2fsprogs jq zstd gzip ipmitool"
# shellcheck disable=SC2086 # package names
private_apt "$suite" "$arch" install --download-only --no-install-recommends -y $packages >/dev/null
# Those that only scripts of packages need stay packed.
for deb in "$APT/$suite-$arch/archives"/*.deb; do
    package=$(dpkg-deb -f "$deb" Package)
    dpkg-deb -f "$deb" Package Version Architecture | sed 's/^[^ ]* //' | paste -sd' ' >>"$parts/packages.list"
    case $package in perl* | python* | dpkg | debconf | initramfs-tools* | udev | systemd* | dbus*) continue ;; esac
    dpkg-deb -x "$deb" "$root"
done

# needs FILE...: the libraries they name, and those that these name.
needs() {
    for file; do
        readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
        readelf -l "$file" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p'
    done | sort -u | while read -r name; do
        for dir in "/lib/$triplet" "/usr/lib/$triplet" ''; do
            [ -e "$root$dir/${name#/}" ] || continue
            [ -e "$parts/tools$dir/${name#/}" ] || {
                install -D "$(readlink -f "$root$dir/${name#/}")" "$parts/tools$dir/${name#/}"
                needs "$parts/tools$dir/${name#/}"
            }
            break
        done
    done
}

grep -v '^#' "$HERE/live/tools.txt" | while read -r tool; do
    # Until /usr is one with / in every package, a program may be packed in either.
    from=$root$tool
    [ -e "$from" ] || from=$root${tool#/usr}
    install -D "$from" "$parts/tools$tool"
    needs "$parts/tools$tool"
done
cp "$root/bin/busybox" "$parts/tools/busybox"

version=$(basename "$root"/boot/vmlinuz-*)
version=${version#vmlinuz-}
cp "$root/boot/vmlinuz-$version" "$parts/vmlinuz"
PATH=$PATH:/usr/sbin:/sbin
depmod -b "$root" "$version"
# Found by what the hardware calls itself (modules.alias), so a list of the drivers is all there is to say.
modules=lib/modules/$version
mkdir -p "$parts/tools/$modules"
sed 's/#.*//' "$HERE/live/modules.txt" | while read -r name; do
    [ -z "$name" ] || modprobe -d "$root" -S "$version" --show-depends --ignore-install "$name" 2>/dev/null |
        sed -n 's/^insmod \([^ ]*\).*/\1/p' || true
done | sort -u | while read -r path; do install -D -m 644 "$path" "$parts/tools/${path#"$root/"}"; done
cp "$root/$modules"/modules.builtin* "$root/$modules/modules.order" "$parts/tools/$modules/"
depmod -b "$parts/tools" "$version"
# busybox reads the lists in words.
(cd "$parts/tools/$modules" && find . -maxdepth 1 -type f ! -name modules.dep ! -name modules.alias ! -name modules.builtin -delete)
