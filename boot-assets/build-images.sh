#!/bin/sh
# Builds what a blade boots and what it installs, from Debian packages:
#   vmlinuz, initrd.img   the live image that runs the installer
#   disk.img.zst          the installable disk: Debian with cloud-init, sshd and etcd
#   arm64/...             the same three for arm64, where --arch names it
#   bundle.toml           the list of the above, for `firstlight image import`
# Usage: boot-assets/build-images.sh [--force] [--arch amd64,arm64] [OUTDIR]
#   (default: amd64, build/images/debian-12)
# Another architecture than the host's takes qemu-user-static and root, because its packages' scripts run
# emulated.
# Needs root, or unprivileged user namespaces, for mmdebstrap alone. Packages come from this machine's
# own apt sources; two builds from the same package versions give the same bytes.
set -eu
export LC_ALL=C TZ=UTC
HERE=$(cd "$(dirname "$0")" && pwd)
export HERE
TOP=$(dirname "$HERE")
OUT=$TOP/build/images/debian-12
FORCE=no
SUITE=bookworm
ARCHS=amd64
# Fixed, so that builds are equal; the installer gives each blade's disk its own.
DISK_ID=F1257116-87D1-4B1A-9E0C-000000000000
ROOT_PART_ID=F1257116-87D1-4B1A-9E0C-000000000003
ROOT_FS_ID=f1257116-87d1-4b1a-9e0c-0000000000f5
ESP_MIB=16
# Bios boot partition and file systems start at whole MiB.
ROOT_START_MIB=$((2 + ESP_MIB))

# shellcheck source=boot-assets/private-apt.sh
. "$HERE/private-apt.sh"

say() { printf '[images %3ds] %s\n' "$(($(date +%s) - STARTED))" "$*"; }
die() { echo "build-images: $*" >&2; exit 1; }

main() {
    STARTED=$(date +%s)
    while [ $# -gt 0 ]; do
        case $1 in
            --force) FORCE=yes ;;
            --arch) ARCHS=$(echo "${2-}" | tr , ' ') && shift ;;
            -*) die "unknown option $1 (known: --force, --arch)" ;;
            *) mkdir -p "$1" && OUT=$(cd "$1" && pwd) ;;
        esac
        shift
    done
    inputs=$(inputs_hash)
    check_tools
    for ARCH in $ARCHS; do
        export ARCH
        case $ARCH in amd64) SUB='' ;; arm64) SUB=arm64/ ;; *) die "no image is known for $ARCH" ;; esac
        if [ "$FORCE" = no ] && [ "$(cat "$OUT/$SUB.stamp" 2>/dev/null)" = "$inputs" ]; then
            say "up to date: $OUT/$SUB (--force builds again)"
        else
            build
        fi
    done
}

build() {
    registered=
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/firstlight-images.XXXXXX")
    trap tidy EXIT
    trap 'exit 130' INT TERM
    : "${SOURCE_DATE_EPOCH:=1735689600}"
    export SOURCE_DATE_EPOCH
    APT=$WORK/apt
    foreign_programs
    mkdir -p "$OUT/$SUB" && rm -f "$OUT/$SUB.stamp"
    say "kernel and programs of the live image"
    sh "$HERE/live/parts.sh" "$SUITE" "$ARCH" "$WORK/live-parts" || die "the packages cannot be had (above)"
    bootstrap
    # fakeroot keeps owners and modes for whoever is not root.
    if [ "$(id -u)" = 0 ]; then build_parts; else fakeroot sh "$0" --parts "$WORK"; fi
    assemble_disk
    publish
    echo "$inputs" >"$OUT/$SUB.stamp"
    tidy
    say "done: $OUT/$SUB"
}

tidy() {
    rm -rf "$WORK"
    [ -z "$registered" ] || echo -1 >"$registered"
    registered=
}

# The kernel hands programs of the other architecture to an emulator (Documentation/admin-guide/binfmt-misc.rst).
# F: opened now, so that it is found inside the new system's directory as well.
foreign_programs() {
    [ "$ARCH" != "$(dpkg --print-architecture)" ] || return 0
    [ "$(id -u)" = 0 ] || die "$ARCH on this machine takes root, to have its programs emulated"
    command -v arch-test >/dev/null || die "tools are missing; as root: apt-get install arch-test qemu-user-static"
    arch-test "$ARCH" >/dev/null 2>&1 && return 0
    case $ARCH in arm64) cpu=aarch64 ;; amd64) cpu=x86_64 ;; esac
    misc=/proc/sys/fs/binfmt_misc
    rule=/usr/lib/binfmt.d/qemu-$cpu.conf
    [ -e "$rule" ] || die "tools are missing; as root: apt-get install qemu-user-static"
    [ -e "$misc/register" ] || mount -t binfmt_misc none "$misc" || die "no binfmt_misc here; build $ARCH on another machine"
    sed "s|:[^:]*:[^:]*\$|:/usr/bin/qemu-$cpu-static:F|" "$rule" >"$misc/register"
    registered=$misc/qemu-$cpu
    arch-test "$ARCH" >/dev/null 2>&1 || die "programs of $ARCH do not run here, though $misc/qemu-$cpu is registered"
}

inputs_hash() {
    find "$HERE" -type f | sort | xargs sha256sum | sed "s|$HERE/||" | sha256sum | cut -d' ' -f1
}

check_tools() {
    missing=
    while read -r tool package; do
        command -v "$tool" >/dev/null 2>&1 || [ -x "/usr/sbin/$tool" ] || [ -x "/sbin/$tool" ] || missing="$missing $package"
    done <<'EOF'
mmdebstrap mmdebstrap
fakeroot fakeroot
sfdisk fdisk
mke2fs e2fsprogs
debugfs e2fsprogs
mkfs.vfat dosfstools
mcopy mtools
cpio cpio
zstd zstd
EOF
    [ -z "$missing" ] || die "tools are missing; as root: apt-get install$(echo "$missing" | tr ' ' '\n' | sort -u | tr '\n' ' ')"
    PATH=$PATH:/usr/sbin:/sbin
}

# This machine's apt sources of the suite and nothing else (a developer's machine has others too).
debian_sources() {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [ -f "$file" ]; then grep -E "^deb .* $SUITE(-updates|-security)? " "$file" || true; fi
    done >"$WORK/apt.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v RS= -v suite="(^|\n)Suites:[^\n]* ?$SUITE" '$0 ~ suite {print $0 "\n"}' "$file"
    done >"$WORK/apt.sources"
    found=
    for file in "$WORK/apt.list" "$WORK/apt.sources"; do [ -s "$file" ] && found="$found $file"; done
    [ -n "$found" ] || die "no apt source of Debian $SUITE in /etc/apt/sources.list or sources.list.d"
    echo "$found"
}

bootstrap() {
    say "Debian $SUITE from packages (cached in build/cache)"
    cache=$TOP/build/cache/debs
    mkdir -p "$cache"
    packages=$(cat "$HERE/disk/packages.txt" "$HERE/disk/build-only.txt" | sh "$HERE/disk/of-arch.sh" | paste -sd,)
    sources=$(debian_sources)
    excludes=$(grep -v '^#' "$HERE/disk/exclude.txt" | sed 's/.*/--dpkgopt=path-exclude=&/')
    set -f # the patterns are for dpkg
    # INITRD: the kernel's package makes none (/etc/kernel/postinst.d/initramfs-tools); customize.sh makes the one
    # that is kept.
    # shellcheck disable=SC2016,SC2086
    { INITRD=No mmdebstrap --quiet --arch="$ARCH" --variant=minbase --include="$packages" \
        --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "5"' \
        $excludes --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --skip=download/empty --skip=essential/unlink --dpkgopt=force-confold \
        --setup-hook='mkdir -p "$1"/etc/initramfs-tools && echo update_initramfs=no >"$1"/etc/initramfs-tools/update-initramfs.conf' \
        --setup-hook='mkdir -p "$1"/var/cache/apt/archives/' \
        --setup-hook="sync-in '$cache' /var/cache/apt/archives/" \
        --customize-hook="sync-out /var/cache/apt/archives '$cache'" \
        --customize-hook="HERE='$HERE' ARCH='$ARCH' sh '$HERE/disk/customize.sh' \"\$1\"" \
        "$SUITE" "$WORK/root.tar" $sources && : >"$WORK/bootstrapped"
    } 2>&1 | tee "$WORK/bootstrap.log" | grep --line-buffered -E '^  image:|^[EW]:' || true
    set +f
    [ -e "$WORK/bootstrapped" ] || { tail -n 30 "$WORK/bootstrap.log" && die "mmdebstrap failed (above)"; }
}

build_parts() {
    say "unpacking"
    mkdir "$WORK/root"
    tar -C "$WORK/root" --numeric-owner -xf "$WORK/root.tar"
    rm "$WORK/root.tar"
    mv "$WORK/root/firstlight-parts" "$WORK/parts"
    rm -rf "$WORK/root/dev" "$WORK/root/var/cache/apt/archives"
    mkdir -p "$WORK/root/dev" "$WORK/root/var/cache/apt/archives/partial"
    build_initrd
    build_root_fs
}

build_initrd() {
    say "live initrd"
    live=$WORK/live
    mkdir -p "$live/bin" "$live/dev" "$live/etc" "$live/proc" "$live/run" "$live/sys" "$live/tmp" "$live/mnt"
    cp -a "$WORK/live-parts/tools/." "$live/"
    mv "$live/busybox" "$live/bin/busybox"
    install -m 755 "$HERE/live/init" "$live/init"
    install -m 755 "$HERE/live/udhcpc.script" "$live/etc/udhcpc.script"
    install -m 755 "$HERE/live/cloud-config" "$live/bin/cloud-config"
    mknod "$live/dev/console" c 5 1
    find "$live" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$live" && find . | sort | cpio --quiet --reproducible -o -H newc -R 0:0) | zstd -q -15 -T1 >"$WORK/initrd.img"
}

build_root_fs() {
    say "root file system"
    find "$WORK/root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    used_kib=$(du -sk --apparent-size "$WORK/root" | cut -f1)
    files=$(find "$WORK/root" | wc -l)
    # Room for a file's last block and inode each, the journal, and first-boot work before it has grown.
    size_mib=$(((used_kib + files * 3) / 1024 + 96))
    size_mib=$(((size_mib + 31) / 32 * 32))
    rm -f "$WORK/root.img"
    truncate -s "${size_mib}M" "$WORK/root.img"
    # For mke2fs and debugfs: what time it is, where no command sets it (backup superblocks).
    export E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH"
    # GRUB 2.06 does not read the two newest ext4 features.
    mke2fs -q -t ext4 -b 4096 -i 16384 -J size=8 -m 1 -L root -U "$ROOT_FS_ID" -O '^metadata_csum_seed,^orphan_file' \
        -E "hash_seed=$ROOT_FS_ID,lazy_itable_init=0,lazy_journal_init=0,nodiscard" -d "$WORK/root" "$WORK/root.img"
    even_times
}

# mke2fs copies the times of this build into inodes and superblock, which would make every build another image.
even_times() {
    inodes=$(dumpe2fs -h "$WORK/root.img" 2>/dev/null | sed -n 's/^Inode count: *//p')
    free=$(dumpe2fs -h "$WORK/root.img" 2>/dev/null | sed -n 's/^Free inodes: *//p')
    {
        for field in mtime wtime lastcheck mkfs_time; do echo "set_super_value $field @$SOURCE_DATE_EPOCH"; done
        echo "set_super_value kbytes_written 0"
        # Inodes are handed out from 1 up; the few holes do not matter, an unused inode keeps no times.
        awk -v n="$((inodes - free + 16))" -v t="@$SOURCE_DATE_EPOCH" 'BEGIN {
            for (i = 1; i <= n; i++) { if (i != 9) for (f = 1; f <= 4; f++)
                print "set_inode_field <" i "> " (f == 1 ? "atime" : f == 2 ? "ctime" : f == 3 ? "mtime" : "crtime") " " t } }'
    } >"$WORK/times"
    debugfs -w -f "$WORK/times" "$WORK/root.img" >/dev/null 2>"$WORK/times.log" || die "debugfs: $(tail -3 "$WORK/times.log")"
}

assemble_disk() {
    say "disk image"
    size=$(stat -c %s "$WORK/root.img")
    disk=$WORK/disk.img
    # One MiB behind the last partition holds the backup table.
    truncate -s "$((size + (ROOT_START_MIB + 1) * 1048576))" "$disk"
    sfdisk -q "$disk" <<EOF
label: gpt
label-id: $DISK_ID
unit: sectors
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, uuid=F1257116-87D1-4B1A-9E0C-000000000001, name="bios"
start=4096, size=$((ESP_MIB * 2048)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=F1257116-87D1-4B1A-9E0C-000000000002, name="esp"
start=$((ROOT_START_MIB * 2048)), size=$((size / 512)), type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=$ROOT_PART_ID, name="root"
EOF
    [ "$ARCH" != amd64 ] || install_bios_loader
    install_efi_loader
    dd if="$WORK/root.img" of="$disk" bs=1M seek="$ROOT_START_MIB" conv=notrunc,sparse status=none
}

# What grub-bios-setup does, without a block device: boot.img in the MBR learns where core.img starts,
# core.img's first sector learns where its rest lies. Offsets: grub-core/boot/i386/pc/{boot,diskboot}.S.
install_bios_loader() {
    core=$WORK/parts/core.img
    sectors=$((($(stat -c %s "$core") + 511) / 512))
    [ "$sectors" -le 2048 ] || die "GRUB's core.img does not fit its partition"
    cp "$WORK/parts/boot.img" "$WORK/mbr" && cp "$core" "$WORK/core"
    poke "$WORK/mbr" 92 8 2048
    # 0x66: the check for floppy drives jumps away unless it is two NOPs.
    poke "$WORK/mbr" 102 2 $((0x9090))
    poke "$WORK/core" 500 8 2049
    poke "$WORK/core" 508 2 $((sectors - 1))
    poke "$WORK/core" 510 2 $((0x820))
    # The last 72 bytes of the sector hold the disk id and the protective partition entry.
    dd if="$WORK/mbr" of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$WORK/core" of="$disk" bs=1M seek=1 conv=notrunc status=none
}

# poke FILE OFFSET BYTES VALUE: little endian.
poke() {
    value=$4
    bytes=
    for _ in $(seq "$3"); do
        bytes="$bytes$(printf '\\%03o' $((value & 255)))"
        value=$((value >> 8))
    done
    # shellcheck disable=SC2059
    printf "$bytes" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Debian's shim and GRUB, signed, so that the disk boots with Secure Boot on and off alike. Only unpacked:
# installed, they would bring the whole of GRUB into the new system.
signed_loaders() {
    case $ARCH in amd64) efi=x64 platform=x86_64-efi ;; arm64) efi=aa64 platform=arm64-efi ;; esac
    esp=$WORK/parts/esp debs=$WORK/signed
    mkdir -p "$esp" "$debs/root" "$APT"
    (cd "$debs" && private_apt "$SUITE" "$ARCH" download shim-signed "grub-efi-$ARCH-signed") || die "no signed loaders (above)"
    for deb in "$debs"/*.deb; do
        dpkg-deb -x "$deb" "$debs/root"
        # shellcheck disable=SC2016 # dpkg-deb's variables
        dpkg-deb -W --showformat='${Package} ${Version} ${Architecture}\n' "$deb" >>"$WORK/parts/packages.list"
    done
    cp "$debs/root/usr/lib/shim/shim$efi.efi.signed" "$esp/boot$efi.efi"
    cp "$debs/root/usr/lib/grub/$platform-signed/grub$efi.efi.signed" "$esp/grub$efi.efi"
    cp "$HERE/disk/esp.cfg" "$esp/grub.cfg"
}

install_efi_loader() {
    signed_loaders
    truncate -s "${ESP_MIB}M" "$WORK/esp.img"
    mkfs.vfat --invariant -F 16 -n ESP -i F1257116 "$WORK/esp.img" >/dev/null
    # EFI/debian: where Debian's signed GRUB has its prefix. The name without a vendor is what firmware starts
    # on a disk that it has no boot entry for (UEFI 2.10 3.5.1.1).
    mmd -i "$WORK/esp.img" ::/EFI ::/EFI/BOOT ::/EFI/debian
    touch -d "@$SOURCE_DATE_EPOCH" "$WORK"/parts/esp/*
    mcopy -m -i "$WORK/esp.img" "$WORK"/parts/esp/*.efi ::/EFI/BOOT/
    mcopy -m -i "$WORK/esp.img" "$WORK/parts/esp/grub.cfg" ::/EFI/debian/grub.cfg
    dd if="$WORK/esp.img" of="$disk" bs=1M seek=2 conv=notrunc,sparse status=none
}

publish() {
    say "compressing $(($(stat -c %s "$disk") / 1048576)) MiB"
    # A blade unpacks zstd nine times as fast as gzip. The bytes do not depend on the number of threads.
    zstd -q -12 -T0 <"$disk" >"$WORK/disk.img.zst"
    cp "$WORK/live-parts/vmlinuz" "$WORK/vmlinuz"
    sort -u "$WORK/parts/packages.list" "$WORK/live-parts/packages.list" >"$WORK/packages.list"
    write_artifacts >"$WORK/artifacts.toml"
    publish_files vmlinuz initrd.img disk.img.zst packages.list artifacts.toml
    write_manifest >"$WORK/bundle.toml"
    replace bundle.toml <"$WORK/bundle.toml"
}

publish_files() {
    for file; do
        replace "$SUB$file" <"$WORK/$file"
        say "$(printf '%-18s %10d bytes' "$SUB$file" "$(stat -c %s "$OUT/$SUB$file")")"
    done
}

# replace FILE: with standard input, at once.
replace() { cat >"$OUT/$1.new" && mv "$OUT/$1.new" "$OUT/$1"; }

# One bundle of all architectures that were built.
write_manifest() {
    lists=$(find "$OUT" -name packages.list | sort)
    cat <<EOF
# Made by boot-assets/build-images.sh
[bundle]
name = "debian-12"
version = "$(sed -n 's/^VERSION_ID="\(.*\)"/\1/p' "$WORK/root/usr/lib/os-release").$(echo "$lists" | xargs cat | sha256sum | cut -c1-12)"
os = "debian"
os_version = "12"
created = "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
EOF
    for list in $lists; do cat "${list%packages.list}artifacts.toml"; done
}

write_artifacts() {
    artifact vmlinuz kernel
    artifact initrd.img initrd
    artifact disk.img.zst image
    cat <<EOF
compression = "zstd"
unpacked_size = $(stat -c %s "$disk")
unpacked_sha256 = "$(sha256sum <"$disk" | cut -d' ' -f1)"
root_partition = 3
min_ram_mb = 384
EOF
}

artifact() {
    cat <<EOF

[[artifact]]
path = "$SUB$1"
kind = "$2"
arch = "$ARCH"
size = $(stat -c %s "$WORK/$1")
sha256 = "$(sha256sum <"$WORK/$1" | cut -d' ' -f1)"
EOF
}

case ${1-} in
    --parts)
        WORK=$2
        STARTED=$(date +%s)
        PATH=$PATH:/usr/sbin:/sbin
        build_parts
        ;;
    *) main "$@" ;;
esac
