#!/bin/sh
# From dark to ready: a virtual rack of three blades with empty disks becomes an etcd cluster.
# Stays up until Ctrl-C; with --once it ends when the cluster is ready. FIRSTLIGHT_DEMO_PORT
# chooses the page's port.
set -eu
cd "$(dirname "$0")/.."
once=false
case ${1-} in
    --once) once=true ;;
    '') ;;
    *) echo "usage: demo.sh [--once]" >&2; exit 2 ;;
esac
if [ "$(id -u)" -ne 0 ]; then
    echo 'the demo makes a network namespace and starts emulated blades: run it as root' >&2
    exit 1
fi
firstlight=$PWD/target/release/firstlight
port=${FIRSTLIGHT_DEMO_PORT-8443}
lab=demo
export FIRSTLIGHT_URL="http://127.0.0.1:$port"
daemon=
dir=

finish() {
    code=$?
    trap - EXIT INT TERM
    echo
    echo "demo: taking the virtual rack down"
    if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true; fi
    "$firstlight" lab down "$lab" --if-exists >/dev/null || true
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\ndemo: %s\n' "$*"; }

say "racking three emulated blades with empty disks: two BIOS, one UEFI"
"$firstlight" lab down "$lab" --if-exists >/dev/null
"$firstlight" lab up "$lab" --blades 3 --uefi 1 >/dev/null
dir=${FIRSTLIGHT_LAB_DIR-/var/lib/firstlight/lab}/$lab

say "importing the boot image"
"$firstlight" image import --data-dir "$dir/data" build/images/debian-12

say "starting the daemon inside the rack's network"
"$firstlight" lab exec "$lab" --listen "127.0.0.1:$port" -- "$firstlight" serve --config "$dir/firstlight.toml" \
    >"$dir/daemon.log" 2>&1 &
daemon=$!
tries=0
until curl -fs -o /dev/null "$FIRSTLIGHT_URL/readyz"; do
    kill -0 "$daemon" 2>/dev/null || { cat "$dir/daemon.log" >&2; exit 1; }
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "the daemon does not answer; see $dir/daemon.log" >&2; exit 1; }
    sleep 0.1
done
echo "demo: open $FIRSTLIGHT_URL/ in a browser and watch"

say "describing the rack and the cluster"
ssh-keygen -q -t ed25519 -N '' -C demo -f "$dir/key"
cat >"$dir/cluster.toml" <<EOF
[[cluster]]
name = "demo"
topology = "small-cluster"
image = "debian-12"
[cluster.parameters]
ssh_keys = ["$(cat "$dir/key.pub")"]
[cluster.roles]
small-cluster = ["r1-c1-b[01-03]"]
EOF
"$firstlight" apply "$dir/inventory.toml" "$dir/cluster.toml"
"$firstlight" plan demo

say "deploying: power on, network boot, install, reboot from disk, join"
"$firstlight" deploy demo --yes
"$firstlight" watch demo --timeout 30m

say "asking etcd itself, with etcdctl on the first blade"
"$firstlight" lab exec "$lab" -- ssh -q -i "$dir/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    core@10.12.1.1 'ETCDCTL_API=3 etcdctl --endpoints=http://10.12.1.1:2379,http://10.12.1.2:2379,http://10.12.1.3:2379 endpoint health && ETCDCTL_API=3 etcdctl --endpoints=http://10.12.1.1:2379 member list'

memory=$(awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/$daemon/status" 2>/dev/null || echo '?')
say "ready. The daemon uses $memory MiB of memory beside the mapped images. Journal and blades: $FIRSTLIGHT_URL/"
if ! $once; then
    echo 'demo: press Ctrl-C to take everything down'
    wait "$daemon"
fi
