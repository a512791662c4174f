"""What a hostile client may try at the enrollment listener, and how each is refused."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace

import aiohttp
import pytest
from tests.unit.control.listener_world import CLAIMS, ENVELOPE, JSON, FakeDesk, Served, served

from routerd.control import access as door_module
from routerd.control.access import AccessRules
from routerd.control.enrollment import MAX_BODY, enrollment_app, serve_enrollment, server_tls
from routerd.control.listener import MAX_HEADERS
from routerd.control.ports import PREFIX
from routerd.control.rate_limit import ConnectionLimit, RateLimit
from routerd.control.strict_json import DEEPEST
from routerd.model.specs.system import ControlTLSSpec
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger

HERE = IPv4Address("127.0.0.1")
BODY = json.dumps(ENVELOPE).encode()
HEAD = f"POST {CLAIMS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()


@pytest.fixture
async def listener(fake_clock: FakeClock) -> AsyncIterator[Served]:
    limit = RateLimit(clock=fake_clock, burst=1000)
    async with served(fake_clock, limit=limit, client_certificates=True) as found:
        yield found


def reason(body: dict[str, object]) -> object:
    error = body["error"]
    assert isinstance(error, dict)
    return error["reason"]


def envelope(claim: str) -> bytes:
    """Return a submission with the text of a claim in it, as it is."""
    return BODY.replace(b'{"x": 1}', claim.encode("utf-8", "surrogatepass"))


class TestJSON:
    @pytest.mark.parametrize(
        "claim",
        [
            '{"a": 1, "a": 2}',
            '{"a": [{"b": {}, "b": {}}]}',
            '{"a": 1, "\\u0061": 2}',
            '{"a": NaN}',
            '{"a": Infinity}',
            '{"a": -Infinity}',
            '{"a": 1e999}',
            '{"a": -1e999}',
            '{"a": 12345678901234567890}',
            '{"a": ' + "9" * 5000 + "}",
            '{"a": "\\ud800"}',
            '{"\\udfff": 1}',
            '{"a": "\ud800"}',
            '{"a": "\n"}',
            "{'a': 1}",
            '{"a": 1,}',
            "{a: 1}",
            '{"a": 01}',
            '{"a": +1}',
            '{"a": .5}',
            '{"a": 1} // said',
            "[]",
            '"text"',
            "null",
            "1",
        ],
    )
    async def test_what_two_readers_could_read_differently_is_refused(
        self, listener: Served, claim: str
    ) -> None:
        status, _, body = await listener.ask("POST", CLAIMS, data=envelope(claim), headers=JSON)
        assert (status, reason(body)) == (400, "request-invalid")
        assert listener.desk.asked == []

    @pytest.mark.parametrize(
        "content",
        [b"\xef\xbb\xbf" + BODY, BODY.decode().encode("utf-16"), BODY + BODY, BODY + b"\0", b"\0" * 100],
    )
    async def test_it_is_one_document_in_utf_8(self, listener: Served, content: bytes) -> None:
        status, _, body = await listener.ask("POST", CLAIMS, data=content, headers=JSON)
        assert (status, reason(body)) == (400, "request-invalid")

    @pytest.mark.parametrize("name", ["apiVersion", "kind", "claim"])
    async def test_a_key_of_the_request_that_stands_twice_is_refused(
        self, listener: Served, name: str
    ) -> None:
        twice = BODY[:-1] + f', "{name}": {json.dumps(ENVELOPE[name])}}}'.encode()
        status, _, body = await listener.ask("POST", CLAIMS, data=twice, headers=JSON)
        assert (status, reason(body)) == (400, "request-invalid")
        assert "a repeated key" in str(body["error"])

    @pytest.mark.parametrize("pair", ["[]", "{}"])
    @pytest.mark.parametrize("levels", [DEEPEST - 1, 900, 100_000])
    async def test_nesting_is_refused_beyond_its_limit(
        self, listener: Served, pair: str, levels: int
    ) -> None:
        inner = '{"a":' if pair == "{}" else "["
        claim = '{"a":' + inner * levels + "1" + pair[1] * levels + "}"
        status, _, body = await listener.ask("POST", CLAIMS, data=envelope(claim), headers=JSON)
        assert (status, reason(body)) == (400, "request-invalid")
        assert listener.desk.asked == []

    async def test_within_the_limit_nothing_is_lost(self, listener: Served) -> None:
        # The claim stands on the second level, its value on the third.
        deep: object = 1
        for _ in range(DEEPEST - 2):
            deep = [deep]
        claim = {"a": deep, "b": [[], {}] * 40, "c": "ü\U0001f600", "d": 1.5, "e": -(2**62), "f": None}
        status, _, _ = await listener.ask("POST", CLAIMS, json=ENVELOPE | {"claim": claim})
        assert status == 200
        assert listener.desk.asked == [("submit", claim, HERE)]


class TestSize:
    async def test_a_body_announced_too_large_is_refused_before_it_comes(self, listener: Served) -> None:
        answer = await listener.send(HEAD + f"Content-Length: {MAX_BODY + 1}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"request-too-large" in answer

    async def test_a_body_in_chunks_is_refused_when_it_has_become_too_large(self, listener: Served) -> None:
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        sent = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 17 + b"0\r\n\r\n"
        answer = await listener.send(sent.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", 1))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert listener.desk.asked == []

    async def test_a_packed_body_is_not_unpacked(self, listener: Served) -> None:
        packed = gzip.compress(BODY + b" " * 1_000_000)
        for coding in ("gzip", "deflate", "br", "identity, gzip"):
            status, _, body = await listener.ask(
                "POST", CLAIMS, data=packed, headers={**JSON, "Content-Encoding": coding}
            )
            assert (status, reason(body)) == (415, "media-type-unsupported")
        assert listener.desk.asked == []

    @pytest.mark.parametrize(
        "head",
        [
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(MAX_HEADERS)),
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(5000)),
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 10_000 + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a" * 10_000 + b": a\r\n",
            b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n",
        ],
    )
    async def test_headers_are_limited_in_number_and_length(self, listener: Served, head: bytes) -> None:
        answer = await listener.send(head + b"\r\n")
        assert answer.startswith(b"HTTP/1.0 400 ")

    async def test_what_is_no_http_costs_a_line_in_the_log_and_not_for_ever(
        self, listener: Served, fake_clock: FakeClock, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for _ in range(30):
            assert (await listener.send(b"GET / HTTP/9.9\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.0 400 ")
        assert listener.log.events("warning") == ["enrollment.request.malformed"] * 10
        await fake_clock.advance(60)
        await listener.send(b"GET / HTTP/9.9\r\nHost: x\r\n\r\n")
        assert len(listener.log.events("warning")) == 11
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        "kind",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/octet-stream",
            "application/jsonp",
            "text/json",
            "*/*",
            "",
        ],
    )
    async def test_a_body_of_another_type_is_refused(self, listener: Served, kind: str) -> None:
        status, _, body = await listener.ask("POST", CLAIMS, data=BODY, headers={"Content-Type": kind})
        assert (status, reason(body)) == (415, "media-type-unsupported")
        assert listener.desk.asked == []

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
    async def test_json_is_json_however_it_is_written(self, listener: Served, kind: str) -> None:
        status, _, _ = await listener.ask("POST", CLAIMS, data=BODY, headers={"Content-Type": kind})
        assert status == 200


class TestSlow:
    async def test_headers_drop_by_drop(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock, slow=0.3) as listener:
            assert await drip(listener, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ") == b""
            assert listener.desk.asked == []

    async def test_headers_of_a_second_request(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock, slow=0.3) as listener:
            first = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            answer = await drip(listener, first + b"GET / HTTP/1.1\r\nHost: ")
            assert answer.count(b"HTTP/1.1 404 ") == 1

    async def test_a_body_drop_by_drop(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock, slow=0.3) as listener:
            answer = await drip(listener, HEAD + b"Content-Length: 100000\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"request-timeout" in answer
            assert listener.desk.asked == []

    async def test_a_chunked_body_drop_by_drop(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock, slow=0.3) as listener:
            answer = await drip(listener, HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n")
            assert answer.startswith(b"HTTP/1.1 408 ")

    async def test_a_tls_handshake_that_does_not_go_on(
        self, fake_clock: FakeClock, tls_files: ControlTLSSpec
    ) -> None:
        door = AccessRules(allow=(IPv4Network("127.0.0.0/8"),), limit=RateLimit(clock=fake_clock))
        app = enrollment_app(FakeDesk(), door, clock=fake_clock, log=RecordingLogger())
        limit = ConnectionLimit()
        runner = await serve_enrollment(
            app, address=HERE, port=0, tls=server_tls(tls_files), slow=0.3, connections=lambda _: limit
        )
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
                writer.write(b"\x16\x03\x01\x02\x00\x01\x00")
                assert await reader.read() == b""
                writer.close()
                while limit.count:
                    await fake_clock.settle()
        finally:
            await runner.cleanup()

    async def test_others_are_served_meanwhile(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock) as listener:
            held = [await listener.connect() for _ in range(50)]
            for number, (_, writer) in enumerate(held):
                writer.write(HEAD if number % 2 else HEAD + b"Content-Length: 1000\r\n\r\n{")
            assert (await listener.ask("POST", CLAIMS, json=ENVELOPE))[0] == 200
            for _, writer in held:
                writer.close()


async def drip(listener: Served, sent: bytes) -> bytes:
    """Send bytes, then a space every few milliseconds; return what came until the other end hung up."""
    reader, writer = await listener.connect()
    writer.write(sent)
    answer = b""
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    async with asyncio.timeout(0.02):
                        got = await reader.read(65536)
                except TimeoutError:
                    writer.write(b" ")
                    continue
                if not got:
                    return answer
                answer += got
    except ConnectionResetError:
        return answer
    finally:
        writer.close()


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> ControlTLSSpec:
    from tests.unit.admission.test_listener_files import certificate

    cert, key = certificate(tmp_path_factory.mktemp("tls"), "server")
    return ControlTLSSpec(cert_file=cert, key_file=key)


FORGED = [
    {name: value}
    for name in ("X-Forwarded-For", "X-Real-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP")
    for value in ("192.0.2.1", "192.0.2.1, 127.0.0.1")
] + [
    {"Forwarded": "for=192.0.2.1;by=127.0.0.1"},
    {"X-Forwarded-Host": "192.0.2.1", "X-Client-IP": "192.0.2.1", "Via": "1.1 192.0.2.1"},
    {"Host": "192.0.2.1"},
]


class TestForgedSource:
    @pytest.mark.parametrize("headers", FORGED)
    async def test_a_header_lets_nobody_in(self, fake_clock: FakeClock, headers: dict[str, str]) -> None:
        async with served(fake_clock, allow=(IPv4Network("192.0.2.0/24"),)) as listener:
            status, got, body = await listener.ask("POST", CLAIMS, json=ENVELOPE, headers=headers)
            assert (status, body) == (403, {"text": "127.0.0.1 is not in allowCIDRs of ControlAPI\n"})
            assert got["Connection"] == "close"
            assert listener.desk.asked == []

    @pytest.mark.parametrize("headers", FORGED)
    async def test_a_header_keeps_nobody_out_and_the_desk_is_told_the_true_source(
        self, listener: Served, headers: dict[str, str]
    ) -> None:
        assert (await listener.ask("POST", CLAIMS, json=ENVELOPE, headers=headers))[0] == 200
        assert listener.desk.asked == [("submit", {"x": 1}, HERE)]

    async def test_a_header_gets_nobody_around_the_rate(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock, limit=RateLimit(clock=fake_clock, burst=5)) as listener:
            statuses = []
            for number in range(10):
                headers = {"X-Forwarded-For": f"192.0.2.{number}", "X-Real-IP": f"192.0.2.{number}"}
                statuses.append((await listener.ask("POST", CLAIMS, json=ENVELOPE, headers=headers))[0])
            assert statuses == [200] * 5 + [429] * 5

    async def test_who_is_turned_away_is_not_told_to_send_a_body(self, fake_clock: FakeClock) -> None:
        sent = HEAD + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        async with served(fake_clock, allow=()) as listener:
            assert (await listener.send(sent)).startswith(b"HTTP/1.1 403 ")
        async with served(fake_clock) as listener:
            answer = await listener.send(sent + b"{}")
            assert answer.startswith(b"HTTP/1.1 100 ")

    async def test_who_is_turned_away_fills_no_log(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock, allow=()) as listener:
            for _ in range(50):
                await listener.ask("POST", CLAIMS, json=ENVELOPE)
            assert listener.log.events("warning") == ["enrollment.source.refused"]
            await fake_clock.advance(61)
            await listener.ask("POST", CLAIMS, json=ENVELOPE)
            assert len(listener.log.events("warning")) == 2


PATH_TRICKS = [
    *("..", ".", "../x", "../../x", "..%2fx", "%2e%2e", "%2E%2E", "%2e%2e%2fx", "..%5cx", "%252e%252e"),
    *("%00", "a%00b", "%0a", "a%0d%0ab", "%1b%5b31m", "a%20b", "%7f", "", "%20"),
    *("a%2fb", "a%2Fb", "%2f", "a%5cb", "a;b", "a,b", "a%3fb", "a%23b"),
    *("%c3%bc", "%e2%80%ae", "%ef%bb%bf", "%ff", "%c0%ae%c0%ae", "%ed%a0%80", "%f0%9f%98%80"),
    *("%", "%z", "%zz", "%u0061", "{name}", "-a", "a" * 254, "a" * 4000, "%61" * 254),
]  # fmt: skip


class TestNames:
    @pytest.mark.parametrize("name", PATH_TRICKS)
    async def test_tricks_in_a_path_never_reach_the_desk(self, listener: Served, name: str) -> None:
        for target in (
            f"GET {PREFIX}/sam-rrsets/{name}?claim=a",
            f"GET {PREFIX}/sam-enrollment-topologies/{name}?claim=a",
            f"POST {CLAIMS}/{name}/revoke",
        ):
            sent = f"{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            answer = await listener.send(sent.encode())
            assert answer[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.1 404 ")
            assert b'"reason": "request-invalid"' in answer or b'"reason": "not-found"' in answer
        assert listener.desk.asked == []

    @pytest.mark.parametrize("name", ["a", "leaf-a.example", "LEAF_1", "a:b@c+d", "a" * 253, "%61"])
    async def test_names_that_are_names_do(self, listener: Served, name: str) -> None:
        sent = f"POST {CLAIMS}/{name}/revoke HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        answer = await listener.send(f"{sent}Content-Length: 2\r\n\r\n{{}}".encode())
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert listener.desk.asked == [("revoke", name.replace("%61", "a"), "", HERE)]

    @pytest.mark.parametrize(
        "query",
        [
            *("", "claim=", "claim=a&claim=b", "claim=a&claim=a", "claim=%00", "claim=a%0ab", "claim=%ff"),
            *("claim=%c3%bc", "claim=a+b", "claim=%ed%a0%80", "claim=" + "a" * 301, "Claim=a"),
            *("claim=a&claimDigest=%00", "claim=a&claimDigest=x&claimDigest=y"),
            "claim=a&claimDigest=" + "0" * 129,
        ],
    )  # fmt: skip
    async def test_tricks_in_a_query_never_reach_the_desk(self, listener: Served, query: str) -> None:
        sent = f"GET {PREFIX}/sam-rrsets/rrs?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = await listener.send(sent.encode())
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"reason": "request-invalid"' in answer
        assert listener.desk.asked == []

    @pytest.mark.parametrize(
        "body", [{"reason": "\x1b[31m"}, {"reason": "a\nb"}, {"reason": "\0"}, {"reason": 1}, {"name": ["a"]}]
    )
    async def test_a_reason_is_one_line_of_text(self, listener: Served, body: object) -> None:
        status, _, answer = await listener.ask("POST", f"{CLAIMS}/a/revoke", json=body)
        assert (status, reason(answer)) == (400, "request-invalid")
        assert listener.desk.asked == []


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


class TestSmuggling:
    @pytest.mark.parametrize(
        "sent",
        [
            HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
            HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
            HEAD + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED,
            HEAD + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
            HEAD + b"Content-Length: 0, 5\r\n\r\n" + SMUGGLED,
            HEAD + b"Content-Length: +5\r\n\r\n" + SMUGGLED,
            HEAD + b"Content-Length: -5\r\n\r\n" + SMUGGLED,
            HEAD + b"Content-Length: 0x5\r\n\r\n" + SMUGGLED,
            HEAD + b"Content-Length: 99999999999999999999\r\n\r\n" + SMUGGLED,
            HEAD + b"Content-Length : 5\r\n\r\n" + SMUGGLED,
            HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
            HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
            HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
            HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
            HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n0\r\n\r\n" + SMUGGLED,
            HEAD + b"X: a\rTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
            HEAD + b"X: a\0b\r\n\r\n" + SMUGGLED,
            HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n" + SMUGGLED,
            b"GET / HTTP/1.1\r\n\r\n" + SMUGGLED,
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + SMUGGLED,
        ],
    )
    async def test_a_request_of_two_lengths_is_refused_and_nothing_after_it_is_read(
        self, listener: Served, sent: bytes
    ) -> None:
        answer = await listener.send(sent)
        assert answer.startswith(b"HTTP/1.0 400 ")
        assert b" 404 " not in answer
        assert b" 405 " not in answer
        assert listener.desk.asked == []

    @pytest.mark.parametrize("coding", ["gzip, chunked", "identity, chunked"])
    async def test_a_transfer_is_chunked_and_nothing_else(self, listener: Served, coding: str) -> None:
        sent = HEAD + f"Connection: close\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n".encode()
        answer = await listener.send(sent)
        assert answer.startswith((b"HTTP/1.1 415 ", b"HTTP/1.0 400 "))

    async def test_what_follows_a_whole_body_is_the_next_request(self, listener: Served) -> None:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
        last = SMUGGLED.replace(b"Host", b"Connection: close\r\nHost")
        answer = await listener.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body + last)
        assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 404 ") == 1


TOPOLOGY = f"{PREFIX}/sam-enrollment-topologies/rrs?claim=a"


class TestCredentials:
    @pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
    async def test_other_methods_are_refused_with_those_that_there_are(
        self, listener: Served, method: str
    ) -> None:
        status, headers, _ = await listener.ask(method, CLAIMS)
        assert (status, headers["Allow"]) == (405, "POST")
        status, headers, _ = await listener.ask(method, TOPOLOGY)
        assert (status, headers["Allow"]) == (405, "GET")

    async def test_every_route_is_behind_the_same_access_rules(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock, token="t") as listener:
            assert (await listener.ask("GET", TOPOLOGY))[0] == 401
        async with served(fake_clock, allow=()) as listener:
            assert (await listener.ask("GET", TOPOLOGY))[0] == 403

    async def test_two_tokens_are_none(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock, token="t") as listener:
            head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            known, unknown = b"Authorization: Bearer t\r\n", b"Authorization: Bearer u\r\n"
            for sent in (known + unknown, unknown + known, known + known):
                assert (await listener.send(head + sent + b"\r\n")).startswith(b"HTTP/1.1 401 ")
            assert (await listener.send(head + known + b"\r\n")).startswith(b"HTTP/1.1 404 ")

    async def test_a_token_in_another_place_is_none(self, fake_clock: FakeClock) -> None:
        async with served(fake_clock, token="t") as listener:
            for headers in (
                {"Cookie": "token=t"},
                {"X-Auth-Token": "t"},
                {"Proxy-Authorization": "Bearer t"},
            ):
                status, _, _ = await listener.ask(
                    "POST", f"{CLAIMS}?access_token=t", json=ENVELOPE, headers=headers
                )
                assert status == 401

    @pytest.mark.parametrize("given", ["", "x", "wrong", "secret", "secret" * 1000])
    def test_tokens_are_compared_in_constant_time(
        self, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch, given: str
    ) -> None:
        compared = []

        def compare(one: bytes, other: bytes) -> bool:
            compared.append((one, other))
            return hmac.compare_digest(one, other)

        monkeypatch.setattr(door_module, "hmac", SimpleNamespace(compare_digest=compare))
        door = AccessRules(allow=(), limit=RateLimit(clock=fake_clock), token="secret")
        assert door.token_holds(f"Bearer {given}") == (given == "secret")
        assert compared == [(given.encode(), b"secret")]

    async def test_a_handler_that_breaks_says_so_in_the_log_and_not_to_the_client(
        self, listener: Served, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("inner matters")

        listener.desk._note = broken  # type: ignore[method-assign]  # to break it
        status, _, body = await listener.ask("POST", CLAIMS, json=ENVELOPE)
        assert status == 500
        assert "inner" not in str(body)
        assert listener.log.events("error") == ["enrollment.failed"]
        assert "inner matters" in listener.log.text()
        assert capfd.readouterr() == ("", "")


async def test_the_admin_api_is_not_here(listener: Served) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.port}") as session:
        for path in ("/v1/status", "/v1/reload", "/v1/hurry", "/v1/claims", "/v1/metrics", "/metrics", "/"):
            for method in ("GET", "POST"):
                async with session.request(method, path) as response:
                    assert response.status == 404
