"""The route reflectors of the benchmark: ours, the bare library's, BIRD, FRR and GoBGP."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import attrs
from tests.bench.bgp_clients import ASN, client_address

ADDRESS = "10.0.0.1"
PORT = 1790
RANGE = "10.1.0.0/16"


@attrs.frozen
class Load:
    """So many clients, with so many routes each."""

    clients: int
    routes: int

    def __str__(self) -> str:
        return f"{self.clients} x {self.routes}"


@attrs.frozen
class Reflector:
    """How a reflector is started; `start` gets a directory and the load and returns its processes.

    `largest` is the highest number of clients that the benchmark gives it.
    """

    name: str
    program: str
    start: Callable[[Path, Load], list[subprocess.Popen[bytes]]]
    largest: int = 1000
    own: bool = False

    @property
    def present(self) -> bool:
        """Say whether it is installed."""
        return shutil.which(self.program) is not None or Path(self.program).exists()


def _run(*command: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _asked(*command: str | Path) -> str:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=10
    ).stdout


def wait(holds: Callable[[], object]) -> None:
    """Wait until something holds; end the program after a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            sys.exit("a reflector did not start")
        time.sleep(0.05)


def _ours(directory: Path, load: Load) -> list[subprocess.Popen[bytes]]:
    said = directory / "pid"
    with said.open("wb") as out:
        daemon = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.bench.bgp_ours", str(directory), ADDRESS, str(PORT)),
                *(str(load.clients), str(load.routes)),
            ],
            stdout=out,
        )
    wait(said.read_text)
    return [daemon]


def _bare(_: Path, load: Load) -> list[subprocess.Popen[bytes]]:
    return [_run(sys.executable, "-m", "tests.bench.bgp_bare", ADDRESS, str(PORT), str(load.clients))]


def _bird(directory: Path, load: Load) -> list[subprocess.Popen[bytes]]:
    sessions = "\n".join(
        f"protocol bgp c{number} {{ local {ADDRESS} port {PORT} as {ASN}; passive; multihop; rr client;"
        " connect delay time 1; connect retry time 1; error wait time 1, 1;"
        f" neighbor {client_address(number)} as {ASN};"
        " ipv4 { import all; export all; gateway recursive; }; }"
        for number in range(load.clients)
    )
    config = directory / "bird.conf"
    config.write_text(
        f"router id {ADDRESS};\nprotocol device {{}}\nprotocol direct {{ ipv4; }}\n{sessions}\n"
    )
    control = directory / "bird.ctl"
    made = _run("bird", "-f", "-c", config, "-s", control, "-P", directory / "bird.pid")
    # Sessions that are dialed while others are still being set up fail, and stay so.
    wait(lambda: _asked("birdc", "-s", control, "show", "protocols").count("Passive") == load.clients)
    return [made]


def furnish() -> None:
    """Make FRR's daemons start in a namespace where root is the only user: theirs must be of a group."""
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    groups = Path("/run/group")
    groups.write_text("root:x:0:\nfrrvty:x:1:root\n")
    subprocess.run(["mount", "--bind", str(groups), "/etc/group"], check=True)


def _frr(directory: Path, _: Load) -> list[subprocess.Popen[bytes]]:
    (directory / "zebra.conf").write_text("hostname bench\n")
    (directory / "bgpd.conf").write_text(
        f"router bgp {ASN}\n bgp router-id {ADDRESS}\n bgp cluster-id {ADDRESS}\n"
        " no bgp default ipv4-unicast\n bgp listen limit 5000\n"
        f" neighbor clients peer-group\n neighbor clients remote-as {ASN}\n"
        f" bgp listen range {RANGE} peer-group clients\n"
        " address-family ipv4 unicast\n"
        "  neighbor clients activate\n  neighbor clients route-reflector-client\n"
    )
    made = []
    for name, more in (("zebra", ()), ("bgpd", ("-p", str(PORT), "-l", ADDRESS))):
        socket = directory / f"{name}.vty"
        made.append(
            _run(
                *(f"/usr/lib/frr/{name}", "-f", directory / f"{name}.conf", "-i", directory / f"{name}.pid"),
                *(
                    "--vty_socket",
                    directory,
                    "-z",
                    directory / "zserv",
                    "-P",
                    "0",
                    "-u",
                    "root",
                    "-g",
                    "root",
                ),
                *more,
            )
        )
        wait(socket.exists)
    return made[::-1]


def _gobgp(directory: Path, _: Load) -> list[subprocess.Popen[bytes]]:
    config = directory / "gobgpd.toml"
    config.write_text(
        f'[global.config]\n as = {ASN}\n router-id = "{ADDRESS}"\n'
        f' port = {PORT}\n local-address-list = ["{ADDRESS}"]\n'
        '[[peer-groups]]\n[peer-groups.config]\n peer-group-name = "clients"\n'
        f" peer-as = {ASN}\n[peer-groups.route-reflector.config]\n route-reflector-client = true\n"
        f' route-reflector-cluster-id = "{ADDRESS}"\n'
        '[[peer-groups.afi-safis]]\n[peer-groups.afi-safis.config]\n afi-safi-name = "ipv4-unicast"\n'
        f'[[dynamic-neighbors]]\n[dynamic-neighbors.config]\n prefix = "{RANGE}"\n peer-group = "clients"\n'
    )
    return [_run("gobgpd", "-f", config, "--api-hosts", "127.0.0.1:50051", "--pprof-disable")]


REFLECTORS = (
    Reflector("bgp_ryu", sys.executable, _ours, own=True),
    Reflector("os-ken, bare, eventlet hub", sys.executable, _bare, largest=50),
    Reflector("BIRD", "bird", _bird),
    Reflector("FRR", "/usr/lib/frr/bgpd", _frr),
    Reflector("GoBGP", "gobgpd", _gobgp),
)
