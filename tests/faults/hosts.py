"""Two hosts on this machine, with addresses, names and memory of their own, and a link that can be cut.

::

    left 10.77.0.1 ── w0 ════ w0 ── 10.77.0.2 right

Each host is a set of namespaces that lives as long as one small process, which ends when this one does: nothing is left
behind, whatever happens. The addresses exist inside only, so test runs side by side don't meet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from typing import TYPE_CHECKING

from mpitasks.launch import SESSIONS
from tests.mpi.processes import MARK, until

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("left", "right")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
TOOLS = ("ip", "unshare", "nsenter", "mount")
# What libraries look up of the network stands in /sys; what ranks of one host share, in /dev/shm. `cat` ends with this process.
BECOME = (
    "mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /dev/shm && hostname {name} && ip link set lo up && echo up && exec cat"
)
# As ssh does, it brings none of the caller's variables along, but for those of the test's harness; it does not hear of the end
# of what it has started while the link is cut; and what it has started outlives it.
SHELL = """\
#!/bin/bash
while [[ $1 == -* ]]; do shift; done
host=$1; shift
case $host in {cases} *) echo "there is no host $host here" >&2; exit 255 ;; esac
nsenter --target $pid --net --uts --mount -- env -i {variables} bash -c "$*" <&0 &
wait $!
code=$?
until [[ $(< /sys/class/net/w0/carrier) == 1 || ! -d /proc/$PPID ]]; do sleep 0.1; done
exit $code
"""
CARRIED = ("PATH", "HOME", "PYTHONPATH", "PYTHONFAULTHANDLER", MARK, SESSIONS)


def why_not() -> str:
    """Why there can be no hosts here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"there is no {' and no '.join(missing)} here (iproute2, util-linux)"
    try:
        _run("unshare", "--net", "--uts", "--mount", "true")
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip()
    return ""


class Hosts:
    """Two hosts; `left` is the one where things are started.

    Args:
        folder: Where commands run, and for the remote shell.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keepers = [self._keep(name) for name in NAMES]
        left, right = (str(keeper.pid) for keeper in self._keepers)
        _run("ip", "link", "add", "w0", "netns", left, "type", "veth", "peer", "name", "w0", "netns", right)
        for keeper, address in zip(self._keepers, ADDRESSES, strict=True):
            self._inside(keeper, "ip", "addr", "add", f"{address}/24", "dev", "w0")
            self._inside(keeper, "ip", "link", "set", "w0", "up")
        # UCX looks up once, at its start, which interfaces work; the kernel takes up to a second to say so.
        assert all(until(partial(self._is_up, keeper), 5) for keeper in self._keepers)
        self.shell = folder / "remote-shell"
        cases = " ".join(f"{at}) pid={keeper.pid} ;;" for keeper, at in zip(self._keepers, ADDRESSES, strict=True))
        self.shell.write_text(SHELL.format(cases=cases, variables=" ".join(f'{name}="${name}"' for name in CARRIED)))
        self.shell.chmod(0o755)

    def on_left(self, command: list[str]) -> list[str]:
        """The command that runs this one on `left`."""
        there = ["--target", str(self._keepers[0].pid), "--net", "--uts", "--mount", f"--wdns={self._folder}"]
        return [str(shutil.which("nsenter")), *there, "--", *command]

    def words(self, mpi: str, each: int, *, first: str = NAMES[0]) -> list[str]:
        """What mpiexec is told, for so many ranks on each host, rank 0 on the first."""
        ordered = ADDRESSES if first == NAMES[0] else ADDRESSES[::-1]
        if mpi == "openmpi":
            return ["--prtemca", "plm_ssh_agent", str(self.shell), "--host", ",".join(f"{at}:{each}" for at in ordered)]
        launcher = ["-launcher", "ssh", "-launcher-exec", str(self.shell)]
        return [*launcher, "-localhost", ADDRESSES[0], "-hosts", ",".join(ordered), "-ppn", str(each)]

    def cut(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        self._inside(self._keepers[1], "ip", "link", "set", "w0", "down")

    def mend(self) -> None:
        """The link works again."""
        self._inside(self._keepers[1], "ip", "link", "set", "w0", "up")

    def slow(self) -> str:
        """Make the link slow, as well as this kernel can; how."""
        for how in ("netem delay 5ms", "tbf rate 200mbit burst 64kb latency 50ms"):
            try:
                self._inside(self._keepers[0], "tc", "qdisc", "add", "dev", "w0", "root", *how.split())
            except subprocess.CalledProcessError:
                continue
            return how
        return ""

    def close(self) -> None:
        """Both hosts are no more."""
        for keeper in self._keepers:
            if keeper.stdin is not None:
                keeper.stdin.close()
            if keeper.stdout is not None:
                keeper.stdout.close()
            keeper.wait(5)

    @staticmethod
    def _keep(name: str) -> subprocess.Popen[str]:
        """Start what keeps a host alive."""
        become = [str(shutil.which("unshare")), "--net", "--uts", "--mount", "sh", "-c", BECOME.format(name=name)]
        keeper = subprocess.Popen(become, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "up\n", f"host {name} did not come up"
        return keeper

    def _is_up(self, keeper: subprocess.Popen[str]) -> bool:
        return "state UP" in self._inside(keeper, "ip", "link", "show", "w0")

    @staticmethod
    def _inside(keeper: subprocess.Popen[str], *command: str) -> str:
        return _run("nsenter", "--target", str(keeper.pid), "--net", *command)


def _run(*command: str) -> str:
    command = (str(shutil.which(command[0])), *command[1:])
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
