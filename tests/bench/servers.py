"""The product and its peers, each with a configuration that does the same work."""

import json
import subprocess
import time

import net
from net import SERVER

FIRST, LAST = "10.77.64.1", "10.77.223.250"


def mac(n):
    """As perfdhcp counts them."""
    return f"00:0c:01:00:{n >> 8:02x}:{n & 255:02x}"


def ip(n):
    return f"10.77.{16 + n // 250}.{1 + n % 250}"


class Firstlight:
    name = "firstlight"

    def __init__(self, binary):
        self.binary = binary

    def dhcp(self, d, blades, pool):
        return self._serving(d, 67, blades=blades, pool=pool)

    def tftp(self, d, root):
        return self._serving(d, 69, image=root)

    def http(self, d, root):
        return self._serving(d, 80, tcp=True, image=root)

    def _serving(self, d, port, tcp=False, blades=0, pool=False, image=None):
        ranges = f'pool = ["{FIRST}-{LAST}"]' if pool else ""
        (d / "firstlight.toml").write_text(f"""
site = "bench"
data_dir = "{d}/data"
[boot]
interfaces = ["srv"]
http = "0.0.0.0:80"
[dhcp]
unknown = "{'discover' if pool else 'ignore'}"
[[subnet]]
cidr = "10.77.0.0/16"
gateway = "{SERVER}"
dns = ["{SERVER}"]
{ranges}
[ui]
listen = "127.0.0.1:8443"
tls = "off"
""", encoding="utf-8")
        if image:
            self._run(["image", "import", "--data-dir", f"{d}/data", str(image)])
        command = f"{self.binary} serve --config {d}/firstlight.toml"
        server = net.Server(command, d, port, tcp)
        server.ready = lambda: self._apply(d, blades)
        return server

    def _apply(self, d, blades):
        rows = [f'[[blade]]\nname = "b{n}"\nmacs = ["{mac(n)}"]\nip = "{ip(n)}"\n'
                for n in range(blades)]
        (d / "inventory.toml").write_text("\n".join(rows), encoding="utf-8")
        if rows:
            self._run(["apply", f"{d}/inventory.toml"], inside=True)

    def _run(self, words, inside=False):
        """The page's port is on the server's loopback; it may need a moment."""
        ns = ["ip", "netns", "exec", net.SERVER_NS] if inside else []
        for attempt in range(100):
            run = subprocess.run([*ns, self.binary, *words], capture_output=True, text=True, check=False)
            if run.returncode == 0:
                return
            if not inside or attempt == 99:
                raise SystemExit(f"firstlight {' '.join(words)}: {run.stderr}")
            time.sleep(0.1)


class Dnsmasq:
    name = "dnsmasq"

    def dhcp(self, d, blades, pool):
        hosts = "".join(f"{mac(n)},{ip(n)}\n" for n in range(blades))
        (d / "hosts").write_text(hosts, encoding="utf-8")
        ranges = f"{FIRST},{LAST},255.255.0.0,1h" if pool else "10.77.0.0,static,255.255.0.0,1h"
        return self._serving(d, 67, f"--dhcp-range={ranges} --dhcp-hostsfile={d}/hosts --no-ping"
                             f" --dhcp-authoritative --dhcp-lease-max=100000 --dhcp-leasefile={d}/leases"
                             f" --dhcp-boot=snponly.efi,,{SERVER} --quiet-dhcp")

    def tftp(self, d, root):
        return self._serving(d, 69, f"--enable-tftp --tftp-root={root} --tftp-max=1000")

    def _serving(self, d, port, words):
        return net.Server("dnsmasq -k --port=0 --conf-file=/dev/null --interface=srv --bind-interfaces"
                          f" --user=root --pid-file= --log-facility=/dev/null {words}", d, port)


class Isc:
    name = "ISC dhcpd"

    def dhcp(self, d, blades, pool):
        hosts = [f"host h{n} {{ hardware ethernet {mac(n)}; fixed-address {ip(n)}; }}" for n in range(blades)]
        ranges = f"range {FIRST} {LAST};" if pool else ""
        (d / "dhcpd.conf").write_text("\n".join([
            "authoritative; ping-check false; default-lease-time 3600; max-lease-time 3600;",
            f'next-server {SERVER}; filename "snponly.efi";',
            f"subnet 10.77.0.0 netmask 255.255.0.0 {{ option routers {SERVER}; {ranges} }}", *hosts]),
            encoding="utf-8")
        (d / "leases").touch()
        return net.Server(f"dhcpd -4 -f -q --no-pid -cf {d}/dhcpd.conf -lf {d}/leases srv", d, 67)


class Kea:
    name = "Kea"

    def dhcp(self, d, blades, pool):
        hosts = [{"hw-address": mac(n), "ip-address": ip(n)} for n in range(blades)]
        subnet = {
            "id": 1, "subnet": "10.77.0.0/16", "reservations": hosts,
            "reservations-in-subnet": not pool, "reservations-out-of-pool": not pool,
            "pools": [{"pool": f"{FIRST} - {LAST}"}] if pool else []}
        config = {"Dhcp4": {
            "interfaces-config": {"interfaces": ["srv"]},
            "lease-database": {"type": "memfile", "name": f"{d}/leases.csv", "lfc-interval": 0},
            "host-reservation-identifiers": ["hw-address"], "valid-lifetime": 3600,
            "next-server": SERVER, "boot-file-name": "snponly.efi",
            "option-data": [{"name": "routers", "data": SERVER}], "subnet4": [subnet],
            "loggers": [{"name": "kea-dhcp4", "severity": "WARN"}]}}
        (d / "kea.json").write_text(json.dumps(config), encoding="utf-8")
        env = f"env KEA_PIDFILE_DIR={d} KEA_LOCKFILE_DIR={d}"
        return net.Server(f"{env} kea-dhcp4 -c {d}/kea.json", d, 67)


class Atftpd:
    name = "atftpd"

    def tftp(self, d, root):
        return net.Server("atftpd --daemon --no-fork --user root.root --port 69 --maxthread 1000"
                          f" --verbose=0 --logfile /dev/null {root}", d, 69)


class Nginx:
    name = "nginx"

    def http(self, d, root):
        (d / "nginx.conf").write_text(f"""user root; daemon off; worker_processes 1; pid {d}/pid;
error_log /dev/null; events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; tcp_nopush off; keepalive_requests 1000000; open_file_cache max=100;
  client_body_temp_path {d}/1; proxy_temp_path {d}/2; fastcgi_temp_path {d}/3;
  uwsgi_temp_path {d}/4; scgi_temp_path {d}/5;
  server {{ listen 80 backlog=4096; root {root}; }} }}
""", encoding="utf-8")
        return net.Server(f"nginx -c {d}/nginx.conf", d, 80, tcp=True)
