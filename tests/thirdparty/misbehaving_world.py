"""A daemon with a plugin that misbehaves beside healthy ones. Not a test: `inside_misbehaving.py` uses it.

What the plugin does is in a file that it reads at each call; the healthy neighbours are a tunnel of
`transport_ipip`, and the core's own routes.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from tests.netns.daemon_world import sh
from tests.thirdparty.join_world import Host

FILE = Path("/run/misbehave.json")
PLUGINS = ("transport_ipip", "misbehaving")

TUNNEL = """\
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: TunnelInterface
      metadata: {name: t1}
      spec:
        mode: ipip
        local: 203.0.113.1
        remote: 203.0.113.11
        address: 10.9.0.1/31
        trustedUnderlay: true
"""


@attrs.frozen(kw_only=True)
class Ended:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def behave(**words: str) -> None:
    """Say what each call of the plugin does from now on; the other calls are well."""
    spare = FILE.with_suffix(".new")
    spare.write_text(json.dumps(words))
    spare.rename(FILE)


def route(number: int) -> str:
    """Return a static route, which the core makes."""
    return f"""\
    - apiVersion: net.routerd.net/v1alpha1
      kind: IPv4StaticRoute
      metadata: {{name: r{number}}}
      spec: {{destination: 10.50.{number}.0/24, via: 203.0.113.11}}
"""


CLOUD = """\
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {name: odd}
      spec: {provider: odd}
"""


def write(host: Host, *routes: int, word: str = "", more: str = "") -> None:
    """Write a file with the healthy tunnel and routes, and the plugin's option if it has one."""
    host.write(TUNNEL, *(route(number) for number in routes), more, plugins=PLUGINS)
    if word:
        listed = f"plugins: [{', '.join(PLUGINS)}]"
        text = host.config.read_text()
        assert listed in text
        options = f"plugins: {{transport_ipip: {{}}, misbehaving: {{word: {word}}}}}"
        host.config.write_text(text.replace(listed, options))


def has(number: int) -> bool:
    """Say whether the kernel has a route."""
    return f"10.50.{number}.0/24" in sh("ip -n rr route")


def texts(host: Host) -> str:
    """Return the reasons and notes of the status."""
    found = host.json("status")
    return "\n".join([*found["reasons"], *found["notes"]])


def asked(host: Host, path: str) -> tuple[int, str]:
    """Return the status and the body of a request to the admin socket."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(f"/run/{host.name}.d/routerd.sock")
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def refused(host: Host, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with variables of the environment."""
    return subprocess.run(
        host.words(*words),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )


def together(host: Host, commands: Sequence[tuple[str, Mapping[str, str]]]) -> list[Ended]:
    """Run commands at once, each with its variables of the environment, to the end of all."""
    places = [Path(f"/run/ended-{number}") for number in range(len(commands))]
    running = []
    for place, (words, environment) in zip(places, commands, strict=True):
        # Files: a pipe that nobody reads would block a flood.
        with place.with_suffix(".out").open("wb") as out, place.with_suffix(".err").open("wb") as err:
            variables = {**os.environ, **environment}
            running.append(
                subprocess.Popen(host.words(*words.split()), stdout=out, stderr=err, env=variables)
            )
    try:
        statuses = [process.wait(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    return [
        Ended(
            returncode=status,
            stdout=place.with_suffix(".out").read_text(),
            stderr=place.with_suffix(".err").read_text(),
        )
        for place, status in zip(places, statuses, strict=True)
    ]
