#!/bin/sh
# Tells the provisioning server that the installed system is up, and its SSH host keys, once.
# Run by firstlight-up.service again and again until the server has it.
set -eu
. /etc/firstlight/boot.env

stamp=/var/lib/firstlight/up
if [ "$(cat "$stamp" 2>/dev/null || :)" = "$FL_ATTEMPT" ]; then
	exit 0
fi

keys=
for file in /etc/ssh/ssh_host_*_key.pub; do
	[ -s "$file" ] || continue
	read -r kind blob _ <"$file" || :
	case "$kind$blob" in
	*[!A-Za-z0-9@./+=-]*) continue ;;
	esac
	keys="$keys${keys:+, }\"$kind $blob\""
done
if [ -z "$keys" ]; then
	echo "no SSH host key yet" >&2
	exit 1
fi

# What is told as being there outlives the power button: keys and units of a first boot are on their way
# to the disk for half a minute else.
sync

body="{\"attempt\": \"$FL_ATTEMPT\", \"seq\": 1000001, \"phase\": \"up\", \"state\": \"ok\", \
\"msg\": \"booted from its own disk\", \"host_keys\": [$keys]}"
# The token goes through a pipe: arguments are there for every user to read in /proc.
status=$(
	printf 'header = "Authorization: Bearer %s"\n' "$FL_TOKEN" |
		curl --config - --silent --show-error --noproxy '*' --max-time 20 \
			--header 'Content-Type: application/json' --data "$body" \
			--output /dev/null --write-out '%{http_code}' \
			"$FL_URL/api/v1/attempts/$FL_ATTEMPT/events"
) || status=000

case $status in
200 | 409 | 410) # taken; or a newer attempt has begun and nobody waits for this one
	mkdir -p /var/lib/firstlight
	printf '%s\n' "$FL_ATTEMPT" >"$stamp"
	;;
*)
	echo "the provisioning server answered $status; trying again" >&2
	exit 1
	;;
esac
