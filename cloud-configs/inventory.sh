#!/bin/sh
# Tells the server what this machine is, waits until an operator has put it into the inventory, and restarts.
# Run by setup.service of a live image; works in memory, no disk is written.
# The server sends this text behind lines that set FL_URL, FL_TOKEN and FL_MAC.
# Tests set FL_SYS (for /sys), FL_DEV (for /dev), FL_PROC (for /proc), FL_RUN, FL_ONCE=1 (print the report, end).
set -u
export LC_ALL=C
umask 077
: "${FL_SYS:=/sys}" "${FL_DEV:=/dev}" "${FL_PROC:=/proc}" "${FL_RUN:=/run/firstlight}" "${FL_ONCE:=}"

main() {
    mkdir -p "$FL_RUN"
    if [ -n "$FL_ONCE" ]; then report_json && return; fi
    say "looking at this machine; no disk is written"
    cards_up
    hear_switch &
    report_json >"$FL_RUN/report"
    tell
    heard=no
    while :; do
        call GET
        case $STATUS in
            200)
                read -r word name <"$FL_RUN/answer"
                if [ "$word" = go ]; then go_on "$name"; fi
                ;;
            # The server forgot this machine, or never had its report.
            404) tell ;;
        esac
        if [ $heard = no ] && [ -s "$FL_RUN/lldp" ]; then
            heard=yes
            report_json >"$FL_RUN/report"
            tell
        fi
        sleep 5
    done
}

say() { printf 'inventory: %s\n' "$*"; }

go_on() {
    say "this is $1 now; restarting to go on"
    sleep 1
    reboot -f
    sleep 60
}

# ---- speaking to the server -------------------------------------------------------------------------

# call GET|POST: POST sends the report. Sets STATUS; 000 is no answer.
call() {
    : >"$FL_RUN/answer"
    : >"$FL_RUN/wget.log"
    url=$FL_URL/api/v1/discovery
    if command -v curl >/dev/null 2>&1; then
        {
            printf '%s\n' "url = \"$url\"" "request = \"$1\"" "header = \"Authorization: Bearer $FL_TOKEN\"" \
                "output = \"$FL_RUN/answer\"" 'noproxy = "*"' silent "max-time = 30" 'write-out = "HTTP/1 %{http_code}"'
            if [ "$1" = POST ]; then printf '%s\n' 'header = "Content-Type: application/json"' "data-binary = \"@$FL_RUN/report\""; fi
        } | curl -q -K - >"$FL_RUN/wget.log" 2>/dev/null
    else
        # wget's own -T ends in a segmentation fault in Debian's busybox 1.35.
        set -- "$1" -q -S -O "$FL_RUN/answer" --header "Authorization: Bearer $FL_TOKEN"
        method=$1
        shift
        if [ "$method" = POST ]; then set -- "$@" --header 'Content-Type: application/json' --post-file "$FL_RUN/report"; fi
        timeout 30 wget "$@" "$url" 2>"$FL_RUN/wget.log"
    fi
    STATUS=$(sed -n 's/.*HTTP[^ ]* \([0-9][0-9][0-9]\).*/\1/p' "$FL_RUN/wget.log" | tail -n 1)
    STATUS=${STATUS:-000}
}

# Sends the report until the server has it.
tell() {
    pause=1
    while :; do
        call POST
        case $STATUS in
            200) break ;;
            400 | 413 | 422) say "the server refuses the report ($STATUS)" && break ;;
        esac
        # 429: it had one a moment ago.
        if [ "$STATUS" != 429 ]; then say "no answer from $FL_URL ($STATUS); again in ${pause}s"; fi
        sleep "$pause"
        pause=$((pause < 15 ? pause * 2 : 15))
    done
    say "reported; waiting for an operator. On the server: firstlight rack $FL_MAC --slot RACK/CHASSIS/SLOT"
}

# ---- the machine ------------------------------------------------------------------------------------

# Text on stdin as the inside of a JSON string. The server takes UTF-8 alone, and firmware says anything.
json_text() { tr '\000-\037\177-\377' '?' | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g'; }
json() { printf '"%s"' "$(printf '%s' "$1" | json_text)"; }
first_line() { if [ -r "$1" ]; then tr -d '\000' <"$1" 2>/dev/null | sed -e 's/^ *//' -e 's/ *$//' -e q; fi; }
dmi() { json "$(first_line "$FL_SYS/class/dmi/id/$1")"; }
cpu_field() { sed -n "s/^$1[[:space:]]*: *//p" "$FL_PROC/cpuinfo" | sed q; }

report_json() {
    case $(uname -m) in
        x86_64) arch='"amd64"' ;;
        aarch64) arch='"arm64"' ;;
        *) arch=null ;;
    esac
    memory=$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' "$FL_PROC/meminfo")
    printf '{"arch":%s,"firmware":"%s","secure_boot":%s,"manufacturer":%s,"model":%s,"serial":%s,"uuid":%s' \
        "$arch" "$(if [ -d "$FL_SYS/firmware/efi" ]; then echo uefi; else echo bios; fi)" "$(secure_boot)" \
        "$(dmi sys_vendor)" "$(dmi product_name)" "$(dmi product_serial)" "$(dmi product_uuid)"
    printf ',"cpu":%s,"cpus":%s,"ram_mb":%s,"bmc":"%s","bmc_ip":%s' "$(json "$(cpu_field 'model name')")" \
        "$(grep -c ^processor "$FL_PROC/cpuinfo")" "$((${memory:-0} / 1024))" "$(bmc)" "$(json "$(bmc_ip)")"
    printf ',"nics":[%s],"disks":[%s]' "$(cards)" "$(disks)"
    if [ -s "$FL_RUN/lldp" ]; then printf ',"lldp_frame":"%s"' "$(hexdump -v -e '1/1 "%02x"' "$FL_RUN/lldp")"; fi
    echo "}"
}

# UEFI 2.10 section 3.3: one octet, behind the four of its attributes.
secure_boot() {
    file=$FL_SYS/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
    case $(od -An -tu1 -j4 -N1 "$file" 2>/dev/null | tr -d ' ') in
        1) echo true ;;
        0) echo false ;;
        *) echo null ;;
    esac
}

# What the BMC says of its own address, on the first channel that has one: Get LAN Configuration Parameters, IP
# Address (IPMI 2.0 sections 23.2 and 23.3), a revision and four octets. Where the live image has no driver, nothing.
bmc_ip() {
    [ -c "$FL_DEV/ipmi0" ] || return 0
    for channel in 1 2 8; do
        # shellcheck disable=SC2046 # words
        set -- $(timeout 20 ipmitool raw 0x0c 0x02 "$channel" 3 0 0 2>/dev/null </dev/null)
        case $* in
            [0-9a-f][0-9a-f]" 00 00 00 00") ;;
            [0-9a-f][0-9a-f]" "??" "??" "??" "??) printf '%d.%d.%d.%d' "0x$2" "0x$3" "0x$4" "0x$5" && return ;;
        esac
    done
}

# SMBIOS type 38 (DMTF DSP0134 section 7.39) says that there is a BMC, not its address in the network.
# A structure is its type, its length, so many octets, then strings up to two zeros.
bmc() {
    table=$FL_SYS/firmware/dmi/tables/DMI
    if [ ! -r "$table" ]; then echo unknown && return; fi
    found=$(hexdump -v -e '1/1 "%u\n"' "$table" | awk '
        state == 0 { if ($1 == 38) { print "present"; exit } at = 0; state = 1; next }
        state == 1 { len = $1; at = 2; zeros = 0; state = 2; next }
        state == 2 && at < len { at++; next }
        { zeros = $1 == 0 ? zeros + 1 : 0; if (zeros == 2) state = 0 }')
    echo "${found:-none}"
}

# Only a card that is up knows whether its cable leads anywhere.
cards_up() {
    for dir in "$FL_SYS"/class/net/*; do
        if [ -e "$dir/device" ]; then ip link set "${dir##*/}" up 2>/dev/null; fi
    done
    sleep 2
}

cards() {
    many=
    for dir in "$FL_SYS"/class/net/*; do
        mac=$(first_line "$dir/address")
        # Others than Ethernet have longer addresses.
        if [ ! -e "$dir/device" ] || [ ${#mac} != 17 ]; then continue; fi
        driver=$(readlink "$dir/device/driver")
        case $(cat "$dir/carrier" 2>/dev/null) in 1) link=true ;; 0) link=false ;; *) link=null ;; esac
        speed=$(cat "$dir/speed" 2>/dev/null)
        case $speed in '' | *[!0-9]*) speed=null ;; esac
        printf '%s{"name":%s,"mac":"%s","driver":%s,"link":%s,"speed":%s}' "$many" "$(json "${dir##*/}")" "$mac" \
            "$(json "${driver##*/}")" "$link" "$speed"
        many=,
    done
}

yes_if() { if [ "$1" = 1 ]; then echo true; else echo false; fi; }

disks() {
    many=
    for dir in "$FL_SYS"/block/*; do
        name=${dir##*/}
        case $name in '*' | loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd* | mtd* | drbd* | *boot[0-9] | *rpmb) continue ;; esac
        sectors=$(first_line "$dir/size")
        # Paths of an NVMe disk behind its head are hidden devices.
        if [ "$(first_line "$dir/hidden")" = 1 ] || [ "${sectors:-0}" = 0 ]; then continue; fi
        serial=$(first_line "$dir/serial")
        serial=${serial:-$(first_line "$dir/device/serial")}
        if [ -z "$serial" ] && [ -r "$dir/device/vpd_pg80" ]; then
            serial=$(tail -c +5 "$dir/device/vpd_pg80" | tr -cd '[:print:]' | sed 's/^ *//;s/ *$//')
        fi
        wwn=$(first_line "$dir/wwid")
        removable=$(yes_if "$(first_line "$dir/removable")")
        case $(readlink -f "$dir") in */usb[0-9]*) removable=true ;; esac
        printf '%s{"name":%s,"size":%s,"model":%s,"serial":%s,"wwn":%s,"rotational":%s,"removable":%s,"has_data":%s,"holds":%s}' \
            "$many" "$(json "$name")" "$((sectors * 512))" "$(json "$(first_line "$dir/device/model")")" "$(json "$serial")" \
            "$(json "${wwn:-$(first_line "$dir/device/wwid")}")" "$(yes_if "$(first_line "$dir/queue/rotational")")" \
            "$removable" "$(has_data "$FL_DEV/$name" "$sectors")" "$(json "$(holds "$name")")"
        many=,
    done
}

# has_data DEVICE SECTORS: true if its first or last MiB holds anything but zeros.
has_data() {
    if [ ! -r "$1" ]; then echo false && return; fi
    bytes=$({
        dd if="$1" bs=1048576 count=1 2>/dev/null
        dd if="$1" bs=1048576 skip="$(($2 / 2048 - 1))" 2>/dev/null
    } | tr -d '\000' | head -c 1 | wc -c)
    yes_if "$bytes"
}

octets() { dd if="$FL_DEV/$1" bs=1 skip="$2" count="$3" 2>/dev/null | hexdump -v -e '1/1 "%02x"'; }

# holds NAME: the partition table, and the file systems on the disk or its partitions.
holds() {
    table=
    # "EFI PART" at the second sector, of 512 or 4096 octets; 55aa at the end of the first.
    if [ "$(octets "$1" 512 8)" = 4546492050415254 ] || [ "$(octets "$1" 4096 8)" = 4546492050415254 ]; then
        table=gpt
    elif [ "$(octets "$1" 510 2)" = 55aa ]; then
        table=mbr
    fi
    systems=
    for part in "$FL_SYS/block/$1" "$FL_SYS/block/$1/$1"*; do
        if [ ! -d "$part" ]; then continue; fi
        system=$(blkid "$FL_DEV/${part##*/}" 2>/dev/null | sed -n 's/.* TYPE="\([^"]*\)".*/\1/p')
        if [ -n "$system" ]; then systems="$systems $system"; fi
    done
    echo "$table${systems:+:$systems}"
}

# ---- the switch -------------------------------------------------------------------------------------

# Waits for one LLDP frame on the card that this machine booted from, into FL_RUN/lldp. A macvtap is a file
# from which whole frames are read, one at a time, ten octets of virtio's header before each. Switches send
# one every 30 seconds; nobody waits for it.
hear_switch() {
    card=
    for dir in "$FL_SYS"/class/net/*; do
        if [ -e "$dir/device" ] && [ "$(first_line "$dir/address")" = "$FL_MAC" ]; then card=${dir##*/}; fi
    done
    if ! ip link add link "$card" name fl-lldp type macvtap 2>/dev/null; then
        say "no macvtap in this live image: the switch's LLDP is not heard"
        return
    fi
    ifconfig fl-lldp allmulti up
    file=/dev/tap$(cat "$FL_SYS/class/net/fl-lldp/ifindex")
    (
        frames=0
        exec 6<"$file"
        while [ $frames -lt 100000 ] && dd bs=4096 count=1 <&6 >"$FL_RUN/frame" 2>/dev/null && [ -s "$FL_RUN/frame" ]; do
            frames=$((frames + 1))
            if [ "$(dd if="$FL_RUN/frame" bs=1 skip=22 count=2 2>/dev/null | hexdump -v -e '1/1 "%02x"')" = 88cc ]; then
                tail -c +11 "$FL_RUN/frame" >"$FL_RUN/lldp.new"
                mv "$FL_RUN/lldp.new" "$FL_RUN/lldp"
                break
            fi
        done
    )
    ip link del fl-lldp
}

main
