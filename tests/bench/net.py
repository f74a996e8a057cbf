"""Two network namespaces joined by veth, servers under observation in one of them, load in the other.

The server is pinned to one core and the load to another, so that CPU time is comparable on any
machine; wall times are the machine's."""

import os
import re
import subprocess
import time

TAG = f"flbench{os.getpid()}"
SERVER_NS, CLIENT_NS = TAG + "s", TAG + "c"
SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
SERVER_CORE, CLIENT_CORE = "0", str(os.cpu_count() - 1)


def sh(command):
    subprocess.run(command, shell=True, check=True)


def up():
    sh(f"ip netns add {SERVER_NS} && ip netns add {CLIENT_NS}")
    sh(f"ip -n {SERVER_NS} link add srv type veth peer name cli netns {CLIENT_NS}")
    for ns, link, address in ((SERVER_NS, "srv", SERVER), (CLIENT_NS, "cli", CLIENT)):
        sh(f"ip -n {ns} link set lo up && ip -n {ns} link set {link} up")
        sh(f"ip -n {ns} address add {address}/16 dev {link}")


def down():
    for ns in (SERVER_NS, CLIENT_NS):
        subprocess.run(["ip", "netns", "delete", ns], stderr=subprocess.DEVNULL, check=False)


def inside(ns, core, command):
    return ["ip", "netns", "exec", ns, "taskset", "-c", core, "sh", "-c", f"exec {command}"]


def load(command, stdin="", check=False):
    """What a program in the client's namespace says; perfdhcp tells losses by its exit code."""
    run = subprocess.run(
        inside(CLIENT_NS, CLIENT_CORE, command), text=True, timeout=600, check=False,
        input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and run.returncode != 0:
        raise SystemExit(f"{command}: exit {run.returncode}\n{run.stdout}")
    return run.stdout


class Server:
    """A program in the server's namespace; stopped at the end of the block."""

    def __init__(self, command, directory, port, tcp=False):
        self.command, self.directory = command, directory
        self.port, self.kind = port, "t" if tcp else "u"

    def __enter__(self):
        self.log = open(self.directory / "log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            inside(SERVER_NS, SERVER_CORE, self.command), cwd=self.directory,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until = time.monotonic() + 60
        listening = f"ip netns exec {SERVER_NS} ss -H -ln{self.kind} sport = :{self.port}"
        while not subprocess.run(listening, shell=True, capture_output=True, check=True).stdout:
            if self.process.poll() is not None or time.monotonic() > until:
                text = (self.directory / "log").read_text(encoding="utf-8")
                raise SystemExit(f"{self.command}: does not serve port {self.port}\n{text}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def _tree(self):
        parents = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                stat = open(f"/proc/{pid}/stat", encoding="utf-8").read()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(pid))
        todo = [self.process.pid]
        while todo:
            pid = todo.pop()
            todo += parents.get(pid, [])
            yield pid

    def cpu(self):
        """Seconds on a core so far, of all its processes with the threads that they had."""
        spent = 0.0
        for pid in self._tree():
            try:
                # clock_getcpuclockid(3): the CPU clock of another process, in nanoseconds.
                spent += time.clock_gettime(~pid << 3 | 2)
            except OSError:
                continue
        return spent

    def peak_mib(self):
        """The largest of its processes at its largest."""
        peaks = [0]
        for pid in self._tree():
            try:
                status = open(f"/proc/{pid}/status", encoding="utf-8").read()
            except OSError:
                continue
            peaks += [int(kib) for kib in re.findall(r"VmHWM:\s+(\d+)", status)]
        return max(peaks) / 1024
