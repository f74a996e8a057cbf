#!/usr/bin/env python3
"""`make bench`: the product beside its peers, in one run, on this machine.

Servers are visited in turn, each round with a fresh server and an empty store; the figures are
medians of the rounds. Compare CPU and the ratio to the peer; wall rates are the machine's.
"""

import argparse
import contextlib
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import net
from servers import Atftpd, Dnsmasq, Firstlight, Isc, Kea, Nginx

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "build/images/debian-12"


@contextlib.contextmanager
def running(make):
    """A server in a directory of its own, ready for load."""
    with tempfile.TemporaryDirectory(prefix="flbench") as d, make(pathlib.Path(d)) as server:
        getattr(server, "ready", lambda: None)()
        yield server


def figure(text, name):
    """Numbers that perfdhcp gives `name`, of DISCOVER-OFFER and of REQUEST-ACK."""
    return [float(n) for n in re.findall(rf"^{name}: *([\d.]+)", text, re.M)] or [0.0, 0.0]


def dhcp(clients, pool, rate, seconds):
    def measure(server):
        blades = 0 if pool else clients
        with running(lambda d: server.dhcp(d, blades, pool)) as up:
            before = up.cpu()
            text = net.load(f"perfdhcp -4 -r {rate} -R {clients} -p {seconds} -b mac=00:0c:01:00:00:00 -l cli {net.SERVER}")
            spent, peak = up.cpu() - before, up.peak_mib()
        sent, received = figure(text, "sent packets"), figure(text, "received packets")
        if received[-1] < 1:
            raise SystemExit(f"{server.name}: no exchange was finished\n{text}")
        lost = 100 * (1 - received[-1] / max(sent[0], 1))
        return {"µs CPU/DORA": 1e6 * spent / received[-1], "lost %": max(lost, 0.0),
                "slowest ACK ms": figure(text, "max delay")[-1], "peak MiB": peak}
    return measure


def tftp(window, clients):
    def measure(server):
        name, size = payload(server)
        options = f'--option "blksize 1468" --option "windowsize {window}"'
        get = f"atftp {options} -g -r {name} -l /dev/null {net.SERVER}"
        with running(lambda d: server.tftp(d, BUNDLE)) as up:
            before, began = up.cpu(), time.monotonic()
            net.load(f"xargs -P {clients} -I CLIENT {get}", stdin="CLIENT\n" * clients, check=True)
            seconds, spent, peak = time.monotonic() - began, up.cpu() - before, up.peak_mib()
        moved = clients * size
        return {"CPU s/GB": spent / moved * 1e9, "MB/s": moved / seconds / 1e6, "peak MiB": peak}
    return measure


def http(connections):
    def measure(server):
        name, _ = payload(server)
        with running(lambda d: server.http(d, BUNDLE)) as up:
            before = up.cpu()
            text = net.load(f"wrk -t1 -c{connections} -d5s --timeout 30s http://{net.SERVER}/{name}")
            spent, peak = up.cpu() - before, up.peak_mib()
        found = re.search(r" ([\d.]+)(MB|GB) read", text)
        if not found or "Non-2xx" in text or "Socket errors" in text:
            raise SystemExit(f"{server.name}: {text}")
        moved = float(found[1]) * {"MB": 1 << 20, "GB": 1 << 30}[found[2]]
        return {"GB/CPU s": moved / spent / 1e9, "GB/s": moved / 5 / 1e9, "peak MiB": peak}
    return measure


def payload(server):
    """Its name for the initrd, and octets."""
    file = BUNDLE / "initrd.img"
    if isinstance(server, Firstlight):
        digest = subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout
        return f"images/sha256/{digest.split()[0]}", file.stat().st_size
    return file.name, file.stat().st_size


def benches(ours):
    dhcp_servers = [ours, Isc(), Kea(), Dnsmasq()]
    tftp_servers = [ours, Atftpd()]
    return {
        "dhcp: 1,000 reservations": (dhcp(1000, False, 4000, 5), dhcp_servers),
        "dhcp: 10,000 reservations": (dhcp(10000, False, 4000, 5), [ours, Isc(), Kea()]),
        "dhcp: pool, durable": (dhcp(10000, True, 500, 5), dhcp_servers),
        "tftp: one client, window 1": (tftp(1, 1), [*tftp_servers, Dnsmasq()]),
        "tftp: one client, window 16": (tftp(16, 1), tftp_servers),
        "tftp: 32 clients, window 1": (tftp(1, 32), [*tftp_servers, Dnsmasq()]),
        "http: initrd, 1 connection": (http(1), [ours, Nginx()]),
        "http: initrd, 16 connections": (http(16), [ours, Nginx()]),
        "http: initrd, 128 connections": (http(128), [ours, Nginx()]),
    }


def show(name, results):
    print(f"\n{name}")
    keys = list(next(iter(results.values()))[0])
    print("  " + f"{'':12}" + "".join(f"{key:>18}" for key in keys))
    for server, rounds in results.items():
        medians = [statistics.median(one[key] for one in rounds) for key in keys]
        print("  " + f"{server:12}" + "".join(f"{value:18.2f}" for value in medians), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="benches whose name has this in it")
    parser.add_argument("--binary", default=str(ROOT / "target/release/firstlight"))
    given = parser.parse_args()
    chosen = {name: it for name, it in benches(Firstlight(given.binary)).items() if given.only in name}
    if not chosen:
        raise SystemExit(f"no bench has {given.only!r} in its name")
    for tool in ("perfdhcp", "atftp", "wrk"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is missing; `make bench` installs it")
    print(f"{given.rounds} rounds; server on core {net.SERVER_CORE}, load on core {net.CLIENT_CORE}")
    try:
        net.up()
        for name, (measure, servers) in chosen.items():
            results = {server.name: [] for server in servers}
            for _ in range(given.rounds):
                for server in servers:
                    results[server.name].append(measure(server))
            show(name, results)
    finally:
        net.down()


if __name__ == "__main__":
    sys.exit(main())
