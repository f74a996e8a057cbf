#!/bin/sh
# Installs one blade: chooses the disk, writes the image, checks it, leaves the cloud-config on it, says
# so to the server and reboots. Runs in memory, under busybox ash, dash and bash alike.
# The server sends this text behind lines that set the FL_ variables (FL_URL, FL_ATTEMPT, FL_TOKEN, FL_MENU,
# FL_BLADE, FL_ARCH, FL_OS, FL_IMAGE_URL, FL_IMAGE_SIZE, FL_IMAGE_SHA256, FL_IMAGE_COMPRESSION,
# FL_IMAGE_UNPACKED_SIZE, FL_ROOT_PARTITION, FL_MIN_RAM_MB, FL_DISK, FL_WIPE, FL_TIME_URL; FL_SEQ: the last
# event number that the server has of this attempt, 0 if none).
# Ends with: 0 installed, 1 failed (and reported), 3 this attempt is over for the server.
# Tests set FL_TARGET (a file in place of a disk), FL_SYS (for /sys/block), FL_DEV (for /dev), FL_MOUNT (a
# directory in place of the mounted root), FL_WORK, FL_NO_REBOOT=1.
set -u
export LC_ALL=C
CHUNK=4194304
PATIENCE=600 # seconds without one byte or answer before giving up on a download

main() {
    begin
    phase live && report_hello
    phase clock && set_clock
    phase preflight && preflight
    phase partition && clear_disk
    phase write && write_image
    phase verify && verify_image
    phase configure && configure
    phase boot-order && set_boot_order
    finish
}

begin() {
    umask 077
    : "${FL_WORK:=$(mktemp -d /run/firstlight/install.XXXXXX 2>/dev/null || mktemp -d)}"
    : "${FL_SYS:=/sys/block}" "${FL_DEV:=/dev}" "${FL_TARGET:=}" "${FL_MOUNT:=}" "${FL_SEQ:=0}" "${FL_DISK:=}"
    LOG=$FL_WORK/log
    CR=$(printf '\r')
    EVENTS=$FL_URL/api/v1/attempts/$FL_ATTEMPT/events
    scratch main
    echo "$FL_SEQ" >"$FL_WORK/seq"
    : >>"$LOG"
    # What is not a letter or digit of the token becomes "any character", so that it needs no quoting.
    TOKEN_PATTERN=$(printf '%s' "$FL_TOKEN" | sed 's/[^A-Za-z0-9_-]/./g')
    CLIENT=nc
    if command -v curl >/dev/null 2>&1; then CLIENT=curl; fi
    say "installing $FL_OS on $FL_BLADE as $FL_MENU, attempt $FL_ATTEMPT, $CLIENT as HTTP client"
}

# ---- what is said: console, log, events -------------------------------------------------------------

redact() { sed "s/$TOKEN_PATTERN/[token]/g"; }

say() { printf 'firstlight: %s\n' "$*" | redact | tee -a "$LOG"; }

# run COMMAND…: its output belongs to the log.
run() { "$@" >>"$LOG" 2>&1; }

# Milliseconds since power-on: a clock that setting the clock does not move.
mono_ms() {
    read -r up _ </proc/uptime
    echo $((${up%.*} * 1000 + 1${up#*.}0 - 1000))
}

# Text on stdin as the inside of a JSON string. The server takes UTF-8 alone, and firmware says anything.
json_text() {
    tr '\000-\010\013-\037\177-\377' '?' |
        sed -e ':a' -e '$!{' -e 'N' -e 'ba' -e '}' -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' -e 's/\n/\\n/g'
}

json_string() { printf '"%s"' "$(printf '%s' "$1" | json_text)"; }

# make_event STATE MESSAGE [MORE]: the next event as JSON; MORE is `,"key":value…`.
make_event() {
    seq=$(($(cat "$FL_WORK/seq") + 1))
    echo "$seq" >"$FL_WORK/seq"
    printf '{"attempt":"%s","seq":%s,"phase":"%s","state":"%s","mono_ms":%s,"msg":%s%s}' "$FL_ATTEMPT" "$seq" \
        "$PHASE" "$1" "$(mono_ms)" "$(json_string "$(printf '%.512s' "$2" | redact)")" "${3-}"
}

# report STATE MESSAGE [MORE]: until the server has it, however long that takes.
report() {
    make_event "$@" >"$FL_WORK/event"
    if [ "$1" != start ]; then say "$PHASE: $1${2:+ ($2)}"; fi
    until_taken "$EVENTS" "$FL_WORK/event"
}

until_taken() {
    pause=1
    while :; do
        request POST "$1" "$2" "$SCRATCH/answer"
        case $STATUS in
            2??) return 0 ;;
            401 | 403 | 404 | 409 | 410) stop_as_stale ;;
            400 | 413 | 415 | 422) say "the server refuses a message ($STATUS): $(head -c 200 "$SCRATCH/answer")" && return 1 ;;
        esac
        say "no answer from $1 ($STATUS); again in ${pause}s"
        sleep "$pause"
        pause=$((pause < 5 ? pause + 1 : 5))
    done
}

# Another attempt has begun or this one was called off: the disk may be somebody else's by now.
stop_as_stale() {
    say "the server says that attempt $FL_ATTEMPT is over ($STATUS): nothing more is touched, waiting for power"
    : >"$FL_WORK/stale"
    exit 3
}

phase() {
    PHASE=$1
    say "== $PHASE"
    report start "" "${2-}"
}

# fail CODE MESSAGE: told to the server with the end of the log; the blade stays in memory, no reboot.
fail() {
    say "$PHASE: $1: $2"
    report fail "$2" ",\"code\":\"$1\",\"log_tail\":\"$(tail -c 12000 "$LOG" | redact | json_text)\""
    say "FAILED in $PHASE: $1: $2"
    say "the system stays in memory; nothing is rebooted"
    exit 1
}

# ---- HTTP -------------------------------------------------------------------------------------------

# Requests of two processes at once keep their files apart.
scratch() {
    SCRATCH=$FL_WORK/$1
    mkdir -p "$SCRATCH"
    rm -f "$SCRATCH/wire" && mkfifo "$SCRATCH/wire"
}

# request METHOD URL BODY_FILE ANSWER_FILE [FIRST-LAST]: sets STATUS; 000 is no (whole) answer. The token goes
# by file or pipe, never as an argument that `ps` shows.
request() {
    : >"$SCRATCH/headers"
    : >"$4"
    if [ "$CLIENT" = curl ]; then request_by_curl "$@"; else request_by_nc "$@"; fi
    STATUS=$(sed -n 's/^HTTP[^ ]* \([0-9][0-9][0-9]\).*/\1/p' "$SCRATCH/headers" | tail -n 1)
    STATUS=${STATUS:-000}
    length=$(header content-length)
    # A part of an image is good as far as it goes; half a document is none.
    if [ -z "${5-}" ] && [ -n "$length" ] && [ "$(size_of "$4")" != "$length" ]; then STATUS=000; fi
}

header() {
    tr -d '\r' <"$SCRATCH/headers" | sed -n 's/^\([A-Za-z-]*\): */\1 /p' |
        while read -r name value; do
            if [ "$(echo "$name" | tr '[:upper:]' '[:lower:]')" = "$1" ]; then echo "$value"; fi
        done | tail -n 1
}

size_of() { stat -c %s "$1"; }

request_by_curl() {
    {
        printf '%s\n' "url = \"$2\"" "request = \"$1\"" "output = \"$4\"" "dump-header = \"$SCRATCH/headers\"" \
            "header = \"Authorization: Bearer $FL_TOKEN\"" 'header = "Expect:"' 'noproxy = "*"' \
            "connect-timeout = 5" "max-time = ${TIMEOUT:-30}" "silent" "show-error"
        if [ -n "$3" ]; then printf '%s\n' 'header = "Content-Type: application/json"' "data-binary = \"@$3\""; fi
        if [ -n "${5-}" ]; then echo "range = \"$5\""; fi
    } | curl -q -K - 2>"$SCRATCH/client.log" || true
}

# busybox wget cannot go on in the middle of a file, so the little HTTP/1.0 needed is spoken by hand.
request_by_nc() {
    rest=${2#http://}
    host=${rest%%/*}
    port=80
    case $host in
        \[*\]) ;;
        *:*) port=${host##*:} ;;
    esac
    {
        printf '%s %s HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\n' "$1" "/${rest#*/}" "$host" "$FL_TOKEN"
        if [ -n "${5-}" ]; then printf 'Range: bytes=%s\r\n' "$5"; fi
        if [ -n "$3" ]; then printf 'Content-Type: application/json\r\nContent-Length: %s\r\n' "$(size_of "$3")"; fi
        printf '\r\n'
        if [ -n "$3" ]; then cat "$3"; fi
    } >"$SCRATCH/request"
    host=${host%:"$port"}
    host=${host#\[}
    # The pipe is open at both ends here: at an end of input nc would close its half of the connection,
    # and a server may take that for a client that has gone.
    (
        exec 7<>"$SCRATCH/wire"
        cat "$SCRATCH/request" >&7
        timeout "${TIMEOUT:-30}" nc -w 5 "${host%\]}" "$port" <&7 >"$SCRATCH/raw" 2>"$SCRATCH/client.log"
    ) || true
    skip=0
    # shellcheck disable=SC2094 # read twice, written never
    while IFS= read -r line; do
        skip=$((skip + ${#line} + 1))
        line=${line%"$CR"}
        if [ -z "$line" ]; then
            tail -c "+$((skip + 1))" "$SCRATCH/raw" >"$4"
            return
        fi
        printf '%s\n' "$line" >>"$SCRATCH/headers"
    done <"$SCRATCH/raw"
    : >"$SCRATCH/headers" # the answer ended inside its header
}

# fetch_document NAME FILE
fetch_document() {
    since=$(mono_ms)
    while :; do
        request GET "$FL_URL/config/$FL_MENU/$1" "" "$2"
        case $STATUS in
            200) return 0 ;;
            401 | 403 | 409 | 410) stop_as_stale ;;
            404) fail E_CONFIG "the server has no $1 for $FL_MENU" ;;
        esac
        if [ $(($(mono_ms) - since)) -gt $((PATIENCE * 1000)) ]; then fail E_CONFIG "no $1 from the server for $PATIENCE s (last answer $STATUS)"; fi
        sleep 2
    done
}

# ---- live: what this blade is -----------------------------------------------------------------------

first_line() { if [ -r "$1" ]; then tr -d '\000' <"$1" 2>/dev/null | sed -e 's/^ *//' -e 's/ *$//' -e q; fi; }

architecture() {
    case $(uname -m) in
        x86_64 | amd64) echo amd64 ;;
        aarch64 | arm64) echo arm64 ;;
        *) uname -m ;;
    esac
}

ram_mb() { echo $(($(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) / 1024)); }

firmware() { if [ -d /sys/firmware/efi ]; then echo uefi; else echo bios; fi; }

report_hello() {
    macs=
    for file in /sys/class/net/*/address; do
        mac=$(first_line "$file")
        case $mac in "" | 00:00:00:00:00:00) ;; *) macs="$macs,$(json_string "$mac")" ;; esac
    done
    disks=
    for name in $(disk_names); do
        disk_facts "$name"
        disks="$disks,{\"name\":$(json_string "$name"),\"size\":$D_SIZE,\"model\":$(json_string "$D_MODEL"),\"serial\":$(json_string "$D_SERIAL"),\"wwn\":$(json_string "$D_WWN"),\"rotational\":$D_ROTATIONAL,\"removable\":$D_REMOVABLE,\"has_data\":$(has_data "$D_PATH")}"
    done
    report ok "$(architecture), $(ram_mb) MB" ",\"hello\":{\"serial\":$(json_string "$(first_line /sys/class/dmi/id/product_serial)"),\"uuid\":$(json_string "$(first_line /sys/class/dmi/id/product_uuid)"),\"macs\":[${macs#,}],\"disks\":[${disks#,}],\"ram_mb\":$(ram_mb),\"arch\":\"$(architecture)\",\"firmware\":\"$(firmware)\",\"cpus\":$(grep -c ^processor /proc/cpuinfo || echo 1)}"
}

# A certificate or token is not valid yet on a blade that believes in 1970, so the time comes first.
set_clock() {
    since=$(mono_ms)
    while
        request GET "${FL_TIME_URL:-$FL_URL/}" "" "$SCRATCH/answer"
        # A server that is being restarted answers a moment later.
        [ "$STATUS" = 000 ] && [ "$(($(mono_ms) - since))" -lt 60000 ]
    do sleep 1; done
    # "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7)
    stamp=$(header date | sed -n 's/^[A-Z][a-z]*, \([0-9]*\) \([A-Z][a-z]*\) \([0-9]*\) \([0-9:]*\) GMT$/\3-\2-\1 \4/p' |
        sed 's/Jan/01/;s/Feb/02/;s/Mar/03/;s/Apr/04/;s/May/05/;s/Jun/06/;s/Jul/07/;s/Aug/08/;s/Sep/09/;s/Oct/10/;s/Nov/11/;s/Dec/12/')
    if [ -z "$stamp" ]; then report skip "the server's answer has no date"; return; fi
    offset=$(($(date -u -d "$stamp" +%s) - $(date -u +%s)))
    if [ "${offset#-}" -gt 2 ] && [ -z "$FL_TARGET" ]; then
        if ! run date -u -s "$stamp"; then report skip "clock is off by $offset s and cannot be set"; return; fi
        run hwclock -u -w || true
    fi
    report ok "clock was off by $offset s"
}

# ---- preflight: the right machine, the right disk ---------------------------------------------------

preflight() {
    if [ "$(architecture)" != "$FL_ARCH" ]; then fail E_ARCH "the image is for $FL_ARCH, this blade is $(architecture)"; fi
    if [ "$(ram_mb)" -lt "${FL_MIN_RAM_MB:-0}" ]; then fail E_RAM "$FL_MIN_RAM_MB MB of memory are needed, $(ram_mb) MB are there"; fi
    case $FL_IMAGE_COMPRESSION in
        none) ;;
        *) command -v "$FL_IMAGE_COMPRESSION" >/dev/null 2>&1 || fail E_UNPACK "this live image cannot unpack $FL_IMAGE_COMPRESSION" ;;
    esac
    choose_disk
    if [ "$D_SIZE" -lt "$FL_IMAGE_UNPACKED_SIZE" ]; then
        fail E_DISK_SMALL "$D_LABEL is smaller than the image ($FL_IMAGE_UNPACKED_SIZE bytes)"
    fi
    if [ "${FL_WIPE:-refuse}" != confirm ] && [ "$(has_data "$DISK")" = true ]; then
        fail E_DISK_DATA "$D_LABEL holds data and wiping is not confirmed"
    fi
    report ok "$D_LABEL"
}

# Everything with platters or chips of its own: no loop, memory or stacked devices, no CD, no boot areas of eMMC.
disk_names() {
    if [ -n "$FL_TARGET" ]; then echo "${FL_TARGET##*/}" && return; fi
    for dir in "$FL_SYS"/*; do
        case ${dir##*/} in
            '*' | loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd* | mtd* | drbd* | *boot[0-9] | *rpmb) continue ;;
        esac
        # Paths of an NVMe disk behind its head are hidden devices.
        if [ "$(first_line "$dir/hidden")" = 1 ] || [ "$(first_line "$dir/size")" = 0 ]; then continue; fi
        echo "${dir##*/}"
    done
}

# disk_facts NAME: sets the D_ variables.
disk_facts() {
    D_NAME=$1
    if [ -n "$FL_TARGET" ]; then
        D_PATH=$FL_TARGET D_SIZE=$(size_of "$FL_TARGET") D_MODEL=file D_SERIAL="" D_WWN="" D_ROTATIONAL=false D_REMOVABLE=false
    else
        dir=$FL_SYS/$1
        D_PATH=$FL_DEV/$1
        D_SIZE=$(($(first_line "$dir/size") * 512))
        D_MODEL=$(first_line "$dir/device/model")
        # virtio, NVMe, then SCSI's and ATA's page of vital data, whose first four bytes are its header.
        D_SERIAL=$(first_line "$dir/serial")
        D_SERIAL=${D_SERIAL:-$(first_line "$dir/device/serial")}
        if [ -z "$D_SERIAL" ] && [ -r "$dir/device/vpd_pg80" ]; then
            D_SERIAL=$(tail -c +5 "$dir/device/vpd_pg80" | tr -cd '[:print:]' | sed 's/^ *//;s/ *$//')
        fi
        D_WWN=$(first_line "$dir/wwid")
        D_WWN=${D_WWN:-$(first_line "$dir/device/wwid")}
        D_ROTATIONAL=false D_REMOVABLE=false
        if [ "$(first_line "$dir/queue/rotational")" = 1 ]; then D_ROTATIONAL=true; fi
        if [ "$(first_line "$dir/removable")" = 1 ]; then D_REMOVABLE=true; fi
        # USB: sticks, and the media that a BMC pretends are plugged in.
        case $(readlink -f "$dir") in */usb[0-9]*) D_REMOVABLE=true ;; esac
    fi
    D_LABEL="$D_NAME ($((D_SIZE / 1000000)) MB${D_MODEL:+, $D_MODEL}${D_SERIAL:+, serial $D_SERIAL})"
}

# has_data DEVICE: true if its first or last MiB holds anything but zeros.
has_data() {
    if [ ! -r "$1" ]; then echo false && return; fi
    bytes=$({
        dd if="$1" bs=1048576 count=1 2>/dev/null
        dd if="$1" bs=1048576 skip="$((D_SIZE / 1048576 - 1))" 2>/dev/null
    } | tr -d '\000' | head -c 1 | wc -c)
    if [ "$bytes" -gt 0 ]; then echo true; else echo false; fi
}

# The rule is `key=value` words; a word without a known key goes on with the value before it, as models do.
read_disk_rule() {
    RULES=$FL_WORK/rules
    : >"$RULES"
    rule=
    set -f
    for word in $FL_DISK; do
        case $word in
            smallest=* | largest=* | by_id=* | wwn=* | serial=* | model=* | min_size=* | max_size=* | rotational=* | path=*)
                if [ -n "$rule" ]; then echo "$rule" >>"$RULES"; fi
                rule=$word
                ;;
            *)
                if [ -z "$rule" ]; then fail E_DISK_RULE "unknown disk rule: $word"; fi
                rule="$rule $word"
                ;;
        esac
    done
    set +f
    if [ -n "$rule" ]; then echo "$rule" >>"$RULES"; fi
    if grep -qE '^(min|max)_size=(.*[^0-9].*)?$' "$RULES"; then fail E_DISK_RULE "a size is bytes in digits: $FL_DISK"; fi
}

# Whether the disk in the D_ variables fits every rule.
disk_fits() {
    if [ "$D_REMOVABLE" = true ] || [ "$(first_line "$FL_SYS/$D_NAME/ro")" = 1 ]; then return 1; fi
    while IFS='=' read -r key value <&8; do
        case $key in
            serial) [ "$D_SERIAL" = "$value" ] || return 1 ;;
            wwn) [ "${D_WWN#*.}" = "${value#*.}" ] || [ "0x${D_WWN#*.}" = "$value" ] || return 1 ;;
            model) case $D_MODEL in "$value" | "$value "*) ;; *) return 1 ;; esac ;;
            by_id) has_id "${value##*/}" || return 1 ;;
            path) [ "${value#/dev/}" = "$D_NAME" ] || return 1 ;;
            min_size) [ "$D_SIZE" -ge "$value" ] || return 1 ;;
            max_size) [ "$D_SIZE" -le "$value" ] || return 1 ;;
            rotational) case $value in 1 | true) [ $D_ROTATIONAL = true ] || return 1 ;; *) [ $D_ROTATIONAL = false ] || return 1 ;; esac ;;
        esac
    done 8<"$RULES"
}

# By udev's link where there is udev, else by the names that it would give.
has_id() {
    link=$FL_DEV/disk/by-id/$1
    if [ -e "$link" ]; then [ "$(basename "$(readlink -f "$link")")" = "$D_NAME" ] && return; fi
    model=$(echo "$D_MODEL" | tr ' ' '_')
    case $1 in
        "virtio-$D_SERIAL" | "nvme-${model}_$D_SERIAL" | "ata-${model}_$D_SERIAL" | "scsi-$D_SERIAL" | "wwn-0x${D_WWN#*.}" | "nvme-$D_WWN") return 0 ;;
    esac
    return 1
}

# Sets DISK and the D_ variables to the one disk that fits; none or several is an error that names them.
choose_disk() {
    read_disk_rule
    best=0 fitting="" seen="" labels=""
    for name in $(disk_names); do
        disk_facts "$name"
        seen="$seen; $D_LABEL"
        if [ $D_REMOVABLE = true ]; then seen="$seen removable"; fi
        disk_fits || continue
        if grep -q '^smallest=true' "$RULES"; then
            if [ -n "$fitting" ] && [ "$D_SIZE" -gt "$best" ]; then continue; fi
        elif grep -q '^largest=true' "$RULES"; then
            if [ "$D_SIZE" -lt "$best" ]; then continue; fi
        else
            best=$D_SIZE
        fi
        # A better one drives out those before; an equal one stays beside them, and that is an error below.
        if [ "$D_SIZE" -ne "$best" ]; then fitting="" labels=""; fi
        best=$D_SIZE fitting="$fitting $name" labels="$labels; $D_LABEL"
    done
    # shellcheck disable=SC2086
    set -- $fitting
    rule=$(echo "${FL_DISK:-the only fixed disk}" | tr '\n' ' ')
    if [ $# = 0 ]; then fail E_DISK_NONE "no disk fits the rule [$rule]; seen${seen:-: none}"; fi
    if [ $# != 1 ]; then fail E_DISK_MANY "$# disks fit the rule [$rule]$labels"; fi
    disk_facts "$1"
    DISK=$D_PATH
}

# ---- partition, write, verify -----------------------------------------------------------------------

clear_disk() {
    wipe_table || fail E_DISK_WRITE "cannot write to $D_LABEL"
    report ok "old partition tables of $D_LABEL wiped"
}

# First and last MiB, where the partition tables are.
wipe_table() {
    run dd if=/dev/zero of="$DISK" bs=1048576 count=1 conv=notrunc,fsync &&
        run dd if=/dev/zero of="$DISK" bs=1048576 count=1 seek="$((D_SIZE / 1048576 - 1))" conv=notrunc,fsync
}

bytes_of() { printf ',"bytes_done":%s,"bytes_total":%s' "$1" "$FL_IMAGE_SIZE"; }

# The first MiB, with the partition table and the loader, is kept back until all is verified: a disk
# that holds half an image must never boot, whatever happens in between.
write_image() {
    echo 0 >"$FL_WORK/consumed"
    mkfifo "$FL_WORK/hashed"
    sha256sum <"$FL_WORK/hashed" >"$FL_WORK/hash" &
    hasher=$!
    : >"$FL_WORK/writing"
    (scratch progress && TIMEOUT=4 && report_progress) &
    reporter=$!
    fetch_image | unpack | put_on_disk
    rm -f "$FL_WORK/writing"
    wait $hasher
    wait $reporter
    if [ -e "$FL_WORK/stale" ]; then STATUS=$(cat "$FL_WORK/stale") && stop_as_stale; fi
    if [ -s "$FL_WORK/no-image" ]; then fail E_DOWNLOAD "$(cat "$FL_WORK/no-image")"; fi
    if [ -e "$FL_WORK/no-write" ]; then fail E_DISK_WRITE "writing to $D_LABEL failed: $(tail -n 1 "$FL_WORK/dd.log")"; fi
    report ok "" "$(bytes_of "$(cat "$FL_WORK/consumed")")"
}

# Best effort: while the server is away the writing goes on.
report_progress() {
    while [ -e "$FL_WORK/writing" ] && [ ! -e "$FL_WORK/stale" ]; do
        make_event progress "" "$(bytes_of "$(cat "$FL_WORK/consumed")")" >"$SCRATCH/event"
        request POST "$EVENTS" "$SCRATCH/event" "$SCRATCH/answer"
        case $STATUS in 401 | 403 | 404 | 409 | 410) echo "$STATUS" >"$FL_WORK/stale" ;; esac
        sleep 1
    done
}

# The image on stdout, piece by piece, each asked for until it is there: a server that is restarted in
# between costs the time it was away and not one byte. (Twice `cat`, because busybox tee is the slower way.)
fetch_image() {
    exec 8>"$FL_WORK/hashed"
    scratch image
    done_bytes=0
    since=$(mono_ms)
    pause=1
    while [ "$done_bytes" -lt "$FL_IMAGE_SIZE" ] && [ ! -e "$FL_WORK/stale" ]; do
        last=$((done_bytes + CHUNK < FL_IMAGE_SIZE ? done_bytes + CHUNK - 1 : FL_IMAGE_SIZE - 1))
        request GET "$FL_IMAGE_URL" "" "$SCRATCH/piece" "$done_bytes-$last"
        got=$(size_of "$SCRATCH/piece")
        case $STATUS in
            206) case $(header content-range) in "bytes $done_bytes-"*) ;; *) got=0 ;; esac ;;
            401 | 403 | 409 | 410) echo "$STATUS" >"$FL_WORK/stale" && return ;;
            200 | 404 | 416) echo "the server answers $STATUS for bytes $done_bytes-$last of $FL_IMAGE_URL" >"$FL_WORK/no-image" && return ;;
            *) got=0 ;;
        esac
        if [ "$got" -gt 0 ] && [ "$got" -le $((last - done_bytes + 1)) ]; then
            cat "$SCRATCH/piece" >&8
            cat "$SCRATCH/piece" || return
            done_bytes=$((done_bytes + got))
            echo "$done_bytes" >"$FL_WORK/consumed.new" && mv "$FL_WORK/consumed.new" "$FL_WORK/consumed"
            since=$(mono_ms) pause=1
            continue
        fi
        say "no image bytes from $done_bytes on (answer $STATUS); again in ${pause}s" >&2
        if [ $(($(mono_ms) - since)) -gt $((PATIENCE * 1000)) ]; then
            echo "no image bytes from $done_bytes on for $PATIENCE s (last answer $STATUS)" >"$FL_WORK/no-image"
            return
        fi
        sleep "$pause"
        pause=$((pause < 5 ? pause + 1 : 5))
    done
}

# Broken data still has to be read to its end, so that the checksum tells what is wrong.
unpack() {
    case $FL_IMAGE_COMPRESSION in
        gzip) gzip -dc 2>>"$LOG" ;;
        bzip2) bzip2 -dc 2>>"$LOG" ;;
        zstd) zstd -dc 2>>"$LOG" ;;
        *) cat ;;
    esac || {
        : >"$FL_WORK/no-unpack"
        cat >/dev/null
    }
}

put_on_disk() {
    if ! { dd bs=1048576 count=1 iflag=fullblock of="$FL_WORK/first-mib" 2>/dev/null &&
        dd bs=1048576 iflag=fullblock of="$DISK" seek=1 conv=notrunc,fsync 2>"$FL_WORK/dd.log"; }; then
        : >"$FL_WORK/no-write"
        cat >/dev/null
    fi
}

verify_image() {
    hash=$(cut -d ' ' -f 1 "$FL_WORK/hash")
    if [ "$hash" != "$FL_IMAGE_SHA256" ]; then
        wipe_table
        fail E_CHECKSUM "the image's SHA-256 is $hash, expected $FL_IMAGE_SHA256; the disk is left without a partition table"
    fi
    # busybox dd counts blocks alone: whole ones + a last short one.
    written=$(sed -n 's/^\([0-9+]*\) records out$/\1/p' "$FL_WORK/dd.log")
    rest=$((FL_IMAGE_UNPACKED_SIZE - $(size_of "$FL_WORK/first-mib")))
    if [ -e "$FL_WORK/no-unpack" ] || [ "$written" != "$((rest / 1048576))+$((rest % 1048576 > 0))" ]; then
        wipe_table
        fail E_UNPACK "unpacked 1+${written:-0} MiB, expected $FL_IMAGE_UNPACKED_SIZE bytes; the disk is left without a partition table"
    fi
    run dd if="$FL_WORK/first-mib" of="$DISK" conv=notrunc,fsync || fail E_DISK_WRITE "cannot write the partition table of $D_LABEL"
    rm -f "$FL_WORK/first-mib"
    report ok "SHA-256 $hash"
}

# ---- configure --------------------------------------------------------------------------------------

configure() {
    for name in config.yml meta-data network-config; do
        if [ "$FL_OS" = debian ] || [ "$name" = config.yml ]; then fetch_document "$name" "$FL_WORK/$name"; fi
    done
    # Flatcar grows its root and gives its disk a new identity by itself on first boot.
    grown=
    if [ "$FL_OS" = debian ]; then adapt_table; fi
    mount_root
    case $FL_OS in
        flatcar) put_document config.yml var/lib/flatcar-install user_data ;;
        *)
            put_document config.yml var/lib/cloud/seed/nocloud user-data
            put_document meta-data var/lib/cloud/seed/nocloud meta-data
            put_document network-config var/lib/cloud/seed/nocloud network-config
            ;;
    esac
    unmount_root
    report ok "configuration written$grown"
}

put_document() {
    dir=$FL_WORK/root/$2
    { (umask 022 && mkdir -p "$dir") && cp "$FL_WORK/$1" "$dir/$3" && chmod 600 "$dir/$3"; } 2>>"$LOG" ||
        fail E_CONFIG "cannot write $2/$3 on the new system"
}

# The backup table goes to the disk's end, the root partition up to it; both get identities of their own,
# because every blade's image is the same and two disks of one blade may hold it.
adapt_table() {
    uuid() { cat /proc/sys/kernel/random/uuid; }
    if ! { run sfdisk --relocate gpt-bak-std "$DISK" && run sfdisk --disk-id "$DISK" "$(uuid)" &&
        run sfdisk --part-uuid "$DISK" "$FL_ROOT_PARTITION" "$(uuid)" &&
        echo ', +' | run sfdisk -N "$FL_ROOT_PARTITION" "$DISK"; }; then
        fail E_PARTITION "cannot adapt the partition table of $D_LABEL: $(tail -n 1 "$LOG")"
    fi
}

# Sets PART; a file's partition is reached by a loop device.
find_root_partition() {
    if [ -z "$FL_TARGET" ]; then
        case $DISK in *[0-9]) PART=${DISK}p$FL_ROOT_PARTITION ;; *) PART=$DISK$FL_ROOT_PARTITION ;; esac
        for _ in 1 2 3 4 5; do
            run blockdev --rereadpt "$DISK"
            if [ -b "$PART" ]; then return; fi
            sleep 1
        done
        fail E_PARTITION "$PART does not appear"
    fi
    start=$(sfdisk -d "$FL_TARGET" | sed -n "s/^.*$FL_ROOT_PARTITION : start= *\([0-9]*\),.*/\1/p")
    # The loop device goes on behind the partition, to the end of the file.
    FS_SIZE=$(sfdisk -d "$FL_TARGET" | sed -n "s/^.*$FL_ROOT_PARTITION : start=.*size= *\([0-9]*\),.*/\1s/p")
    for _ in 1 2 3 4 5; do
        PART=$(losetup -f)
        # Somebody else may take the free device between the two commands.
        if run losetup -o "$((start * 512))" "$PART" "$FL_TARGET"; then return; fi
    done
    fail E_PARTITION "no loop device for $FL_TARGET"
}

mount_root() {
    mkdir -p "$FL_WORK/root"
    if [ -n "$FL_MOUNT" ]; then rmdir "$FL_WORK/root" && ln -s "$FL_MOUNT" "$FL_WORK/root" && return; fi
    FS_SIZE=""
    find_root_partition
    if [ "$FL_OS" = debian ] && grow_root; then grown=", root fills the disk"; fi
    run mount -t ext4 "$PART" "$FL_WORK/root" || fail E_MOUNT "cannot mount $PART: $(tail -n 1 "$LOG")"
}

# Without more room the system still boots, so this is no reason to fail.
grow_root() {
    # shellcheck disable=SC2086 # no size, no argument
    run resize2fs "$PART" $FS_SIZE || { run e2fsck -fy "$PART" && run resize2fs "$PART" $FS_SIZE; }
}

unmount_root() {
    sync
    if [ -n "$FL_MOUNT" ]; then return; fi
    run umount "$FL_WORK/root" || fail E_MOUNT "cannot unmount $PART: $(tail -n 1 "$LOG")"
    if [ -n "$FL_TARGET" ]; then run losetup -d "$PART"; fi
}

# ---- boot order, callback, reboot -------------------------------------------------------------------

# The network stays first, where the server decides; the next boot alone goes to the disk at once.
set_boot_order() {
    if [ "$(firmware)" = bios ]; then report skip "BIOS keeps its order; the server sends the blade to its disk"; return; fi
    if [ -n "$FL_TARGET" ] || ! command -v efibootmgr >/dev/null 2>&1; then
        report skip "no efibootmgr; the server sends the blade to its disk"
        return
    fi
    loader='\EFI\BOOT\BOOTX64.EFI'
    if [ "$FL_ARCH" = arm64 ]; then loader='\EFI\BOOT\BOOTAA64.EFI'; fi
    if run efibootmgr -q -C -d "$DISK" -p 2 -L "$FL_OS" -l "$loader"; then
        entry=$(efibootmgr | sed -n "s/^Boot\([0-9A-F]\{4\}\)[* ] $FL_OS.*/\1/p" | tail -n 1)
        if run efibootmgr -q -n "$entry"; then report ok "next boot from $D_NAME"; return; fi
    fi
    report skip "efibootmgr failed; the server sends the blade to its disk"
}

# The server has the installation on its own disk before it answers; without its 200 nothing reboots.
finish() {
    printf '{"attempt":"%s","seq":%s}' "$FL_ATTEMPT" "$(cat "$FL_WORK/seq")" >"$FL_WORK/event"
    until_taken "$FL_URL/notify/finish" "$FL_WORK/event" || exit 1
    say "installed; rebooting into $FL_OS"
    sync
    if [ "${FL_NO_REBOOT:-}" = 1 ]; then exit 0; fi
    if [ -d /run/systemd/system ]; then systemctl reboot; else reboot -f; fi
    while :; do sleep 60; done
}

main
