"""A cloud from outside of the tree: built, installed, tested, and asked by real commands over HTTP."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.thirdparty.clean_venv import CleanVenv, build_wheels, core_source, requirements_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugins" / "cloud_http"
DOCUMENT = {
    "nics": {"nic-1": {"address": "10.1.0.4", "forwarding": False}},
    "tables": {"main": {"10.77.60.11/32": "nic-1", "10.77.60.19/32": "nic-of-others"}},
}
FILE = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: stranger}}
plugins: [{plugins}]
spec:
  resources:
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {{name: site}}
      spec:
        provider: http
        mode: auto
        options: {{url: "{url}", nextHop: nic-1}}
"""

pytestmark = [pytest.mark.thirdparty, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> CleanVenv:
    """Return an environment with the core and the example."""
    root = tmp_path_factory.mktemp("http")
    source = root / EXAMPLE.name
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    made = CleanVenv.make(root / "venv")
    made.link([*requirements_of("routerd"), "pytest", "pytest-asyncio", "pytest-timeout"])
    made.install(build_wheels([core_source(root), source], root / "wheels"))
    return made


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """Return the address of a service, and the methods of the requests that come."""
    methods: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, json.dumps(DOCUMENT).encode())

        def do_PUT(self) -> None:
            self._answer(204, b"")

        def _answer(self, status: int, body: bytes) -> None:
            methods.append(self.command)
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/site", methods
    server.shutdown()
    thread.join()
    server.server_close()


def test_its_own_tests_pass_in_a_clean_environment(venv: CleanVenv, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    done = venv.run("python", "-m", "pytest", "-q", "-W", "error", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_doctor_reads_its_site_and_writes_nothing(
    venv: CleanVenv, tmp_path: Path, asked: tuple[str, list[str]]
) -> None:
    url, methods = asked
    file = tmp_path / "router.yaml"
    file.write_text(FILE.format(plugins="cloud_http", url=url))
    done = venv.run("routerd", "--config", str(file), "doctor", "cloud", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("site  cloud http, mode auto", "instance        nic-1", "routes to us    1"):
        assert words in done.stdout, done.stdout
    assert methods
    assert set(methods) == {"GET"}


def test_a_file_that_does_not_enable_it_is_told_to(venv: CleanVenv, tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(FILE.format(plugins="", url="http://127.0.0.1:1/"))
    done = venv.run("routerd", "--config", str(file), "validate", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "spec.provider: no enabled plugin provides cloud http" in done.stderr
    assert "enable plugin cloud_http, which is installed" in done.stderr
    file.write_text(FILE.format(plugins="cloud_http", url="ftp://127.0.0.1/"))
    done = venv.run("routerd", "--config", str(file), "validate", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"{file}:13: CloudProviderProfile/site spec.options" in done.stderr, done.stderr
    assert "is not an http(s) address" in done.stderr


def test_the_kit_finds_nothing_that_it_lacks(venv: CleanVenv, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    done = venv.run(
        "routerd", "plugins", "check", str(tmp_path / "project"), "--grade", "hardened", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
