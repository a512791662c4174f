"""A join method may raise anything, return anything, or hang: only the call that asked it notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from tests.support.waiting import until_async

from routerd.errors import EnrollmentRefused, JoinMethodFailed, PermanentError, ProofMismatch
from routerd.model.claim import Claim
from routerd.plugins import join_methods
from routerd.plugins.join_methods import JoinMethods, MadeMethod
from routerd.spi import MAX_PROOF, JoinMethod, Proof, Signing, Submission
from routerd.testing.context import RecordingLogger

CLAIM = Claim(name="a", policy_ref="p", leaf_id="a", tunnel_address="10.0.0.1")
SUBMISSION = Submission(claim=CLAIM, proof=Proof())
SIGNING = Signing(claim=CLAIM)
DOCUMENT = Proof.of({"seal": "x"})
WHO = "join method odd (plugin odd_plugin)"


async def nothing() -> None:
    return


@attrs.define
class Odd:
    """A join method whose calls do what the test says."""

    verify_does: Callable[[], Any] = nothing
    sign_does: Callable[[], Any] = nothing
    signer_does: Callable[[], Any] = nothing
    start_does: Callable[[], Any] = nothing
    aclose_does: Callable[[], Any] = nothing

    def verify(self, _: Submission) -> Awaitable[None]:
        return self.verify_does()

    def sign(self, _: Signing) -> Awaitable[Proof]:
        return self.sign_does()

    def signer(self, _: Signing) -> Awaitable[str]:
        return self.signer_does()

    def start(self) -> Awaitable[None]:
        return self.start_does()

    def aclose(self) -> Awaitable[None]:
        return self.aclose_does()


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        raise error

    return call


def returning(value: object) -> Callable[[], Awaitable[object]]:
    async def call() -> object:
        return value

    return call


async def hang() -> None:
    await asyncio.Event().wait()


@attrs.define
class Deaf:
    """A call that ignores its cancellation until it is released."""

    released: asyncio.Event = attrs.field(factory=asyncio.Event)
    running: int = 0

    async def __call__(self) -> None:
        self.running += 1
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                continue
        self.running -= 1


@attrs.define
class Scene:
    odd: Odd
    methods: JoinMethods
    log: RecordingLogger

    async def trouble(self, call: Awaitable[object]) -> str:
        with pytest.raises(JoinMethodFailed) as failed:
            await call
        assert failed.value.reason == "join-method-failed"
        assert str(failed.value).startswith(WHO)
        assert failed.value.retryable
        return str(failed.value).removeprefix(f"{WHO}: ")


async def made(deadline: float = 5.0, *, start: bool = True, **does: Callable[[], Any]) -> Scene:
    odd, log = Odd(**{f"{name}_does": call for name, call in does.items()}), RecordingLogger()
    described = JoinMethod(kind="odd", create=lambda *_: odd, binds_claim=True)
    method = MadeMethod(plugin="odd_plugin", described=described, provider=odd)
    methods = JoinMethods({"odd": method}, log=log, deadline=deadline)
    if start:
        await methods.lifecycles()["odd"].start()
    return Scene(odd, methods, log)


ERRORS = {
    "ValueError: oh no": ValueError("oh no"),
    "SystemExit: 3": SystemExit(3),
    "CancelledError": asyncio.CancelledError(),
    "GeneratorExit": GeneratorExit(),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "the cloud is down": PermanentError("the cloud is down"),
    "ExceptionGroup: two (1 sub-exception)": ExceptionGroup("two", [ValueError("x")]),
}


@pytest.mark.parametrize("words", ERRORS)
@pytest.mark.parametrize("call", ["verify", "sign", "signer"])
async def test_whatever_a_call_raises_becomes_a_failure_with_its_names(call: str, words: str) -> None:
    scene = await made(**{call: raising(ERRORS[words])})
    ask = {
        "verify": lambda: scene.methods.verify("odd", SUBMISSION),
        "sign": lambda: scene.methods.sign("odd", SIGNING),
        "signer": lambda: scene.methods.signer("odd", SIGNING),
    }[call]
    assert await scene.trouble(ask()) == f"{call} failed: {words}"
    assert await scene.trouble(ask()) == f"{call} failed: {words}"
    assert scene.methods.troubles() == [f"{WHO}: {call} failed: {words}"]
    # The log has it once: a stranger could cause it again and again.
    (entry,) = [each for each in scene.log.entries if each.level == "error"]
    facts = dict(entry.facts)
    assert (entry.event, facts["method"], facts["plugin"], facts["call"], facts["error"]) == (
        *("join.method.failed", "odd", "odd_plugin", call, words),
    )


async def test_a_call_that_hangs_ends_at_its_deadline_and_its_neighbour_does_not_wait() -> None:
    begun = asyncio.Event()

    async def hangs() -> None:
        begun.set()
        await hang()

    scene = await made(0.2, verify=hangs)
    hanging = asyncio.ensure_future(scene.methods.verify("odd", SUBMISSION))
    async with asyncio.timeout(5):
        await begun.wait()
        scene.odd.verify_does = nothing
        await scene.methods.verify("odd", SUBMISSION)
        assert not hanging.done()
        assert await scene.trouble(hanging) == "verify failed: no answer within 0.2 s"


async def test_a_call_that_is_deaf_is_left_behind_and_after_many_of_them_the_method_is_not_asked() -> None:
    deaf = Deaf()
    scene = await made(0.001, verify=deaf)
    for number in range(1, join_methods.MOST_DEAF + 1):
        assert await scene.trouble(scene.methods.verify("odd", SUBMISSION)) == (
            "verify failed: no answer within 0.001 s"
        )
        assert deaf.running == number
    words = await scene.trouble(scene.methods.verify("odd", SUBMISSION))
    assert words == f"verify failed: {join_methods.MOST_DEAF} earlier calls do not end; restart routerd"
    assert deaf.running == join_methods.MOST_DEAF
    deaf.released.set()
    await until_async(lambda: deaf.running == 0)
    await scene.methods.verify("odd", SUBMISSION)


async def test_the_end_of_the_asker_ends_the_call() -> None:
    ended = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    scene = await made(verify=slow)
    asking = asyncio.ensure_future(scene.methods.verify("odd", SUBMISSION))
    for _ in range(5):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(5):
        await ended.wait()
    assert scene.methods.troubles() == []


@pytest.mark.parametrize("value", [True, False, "yes", DOCUMENT])
async def test_a_value_that_verify_returns_admits_nobody(value: object) -> None:
    scene = await made(verify=returning(value))
    words = await scene.trouble(scene.methods.verify("odd", SUBMISSION))
    assert words.startswith("verify failed: it returned ")
    assert words.endswith(" instead of nothing")


async def test_a_call_that_is_not_async_is_a_failure() -> None:
    scene = await made(verify=lambda: None)
    assert "TypeError" in await scene.trouble(scene.methods.verify("odd", SUBMISSION))


@pytest.mark.parametrize("error", [EnrollmentRefused("odd-proof", "no"), ProofMismatch("odd-token", "no")])
async def test_a_refusal_passes_as_it_is_and_is_no_trouble(error: EnrollmentRefused) -> None:
    scene = await made(verify=raising(error))
    with pytest.raises(EnrollmentRefused) as refused:
        await scene.methods.verify("odd", SUBMISSION)
    assert refused.value is error
    assert scene.methods.troubles() == []


@pytest.mark.parametrize("reason", ["", "Bad Proof", "bad\nproof", "x" * 65, "größe", 7, None])
async def test_a_refusal_without_a_proper_code_is_a_failure(reason: Any) -> None:
    scene = await made(verify=raising(EnrollmentRefused(reason, "no")))
    assert "is not a reason code" in await scene.trouble(scene.methods.verify("odd", SUBMISSION))


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (None, "it returned a NoneType, not a Proof"),
        ("secret", "it returned \"'secret'\", not a Proof"),
        (Proof(), "its proof has no document"),
        (Proof(join_hmac="ab"), "its proof has no document"),
        (Proof(text="x" * (MAX_PROOF + 1)), f"its proof is larger than {MAX_PROOF} bytes"),
    ],
)
async def test_what_is_no_proof_is_not_submitted(proof: object, words: str) -> None:
    scene = await made(sign=returning(proof))
    assert words in await scene.trouble(scene.methods.sign("odd", SIGNING))


@pytest.mark.parametrize("proof", [DOCUMENT, Proof(), Proof(join_hmac="ab", text=DOCUMENT.text)])
async def test_a_method_of_the_dialect_fills_only_its_field(proof: Proof) -> None:
    scene = await made(sign=returning(proof))
    contained = scene.methods._contained["odd"]
    contained.method = attrs.evolve(
        contained.method, described=attrs.evolve(contained.method.described, sam_proof=True)
    )
    assert "its proof is not joinHMAC" in await scene.trouble(scene.methods.sign("odd", SIGNING))


@pytest.mark.parametrize("signer", [None, 7, "x" * 257, "a\nb"])
async def test_a_signer_is_a_short_printable_text(signer: object) -> None:
    scene = await made(signer=returning(signer))
    assert "printable characters" in await scene.trouble(scene.methods.signer("odd", SIGNING))


async def test_the_signer_tells_methods_apart() -> None:
    scene = await made(signer=returning("key 1"))
    assert await scene.methods.signer("odd", SIGNING) == "odd key 1"


async def test_a_trouble_ends_with_the_next_answer_of_the_same_call() -> None:
    scene = await made(verify=raising(ValueError("x")), signer=raising(ValueError("y")))
    await scene.trouble(scene.methods.verify("odd", SUBMISSION))
    await scene.trouble(scene.methods.signer("odd", SIGNING))
    scene.odd.verify_does = raising(EnrollmentRefused("odd-proof", "no"))
    with pytest.raises(EnrollmentRefused):
        await scene.methods.verify("odd", SUBMISSION)
    assert scene.methods.troubles() == [f"{WHO}: signer failed: ValueError: y"]
    scene.odd.signer_does = returning("k")
    await scene.methods.signer("odd", SIGNING)
    assert scene.methods.troubles() == []


class TestStart:
    async def test_a_call_waits_for_the_start(self) -> None:
        scene = await made(start=False)
        asking = asyncio.ensure_future(scene.methods.verify("odd", SUBMISSION))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not asking.done()
        await scene.methods.lifecycles()["odd"].start()
        async with asyncio.timeout(5):
            await asking

    async def test_and_not_for_ever(self) -> None:
        scene = await made(0.01, start=False)
        words = await scene.trouble(scene.methods.verify("odd", SUBMISSION))
        assert words == "has not started yet; will retry"

    async def test_a_start_that_failed_is_the_answer_at_once(self) -> None:
        scene = await made(start=False)
        scene.odd.start_does = raising(SystemExit("no TPM"))
        assert (
            await scene.trouble(scene.methods.lifecycles()["odd"].start())
            == "start failed: SystemExit: no TPM"
        )
        assert (
            await scene.trouble(scene.methods.verify("odd", SUBMISSION)) == "start failed: SystemExit: no TPM"
        )
        scene.odd.start_does = nothing
        await scene.methods.lifecycles()["odd"].start()
        await scene.methods.verify("odd", SUBMISSION)

    async def test_a_close_that_fails_or_hangs_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(join_methods, "CLOSE_DEADLINE", 0.01)
        scene = await made(aclose=hang)
        assert await scene.trouble(scene.methods.lifecycles()["odd"].aclose()) == (
            "aclose failed: no answer within 0.01 s"
        )

    async def test_a_closed_method_is_not_asked(self) -> None:
        scene = await made(0.01)
        await scene.methods.lifecycles()["odd"].aclose()
        await scene.trouble(scene.methods.verify("odd", SUBMISSION))


async def test_a_method_that_nobody_provides_is_named_with_those_that_are() -> None:
    scene = await made()
    with pytest.raises(JoinMethodFailed) as failed:
        await scene.methods.verify("ed25519", SUBMISSION)
    assert str(failed.value) == (
        "join method ed25519: no enabled plugin provides it (provided: odd); add its plugin"
    )


async def test_the_options_are_those_of_the_present_file() -> None:
    scene = await made()
    assert scene.methods.options("SAMEnrollmentPolicy/p") is None
    scene.methods.use({"SAMEnrollmentPolicy/p": 7})
    assert scene.methods.options("SAMEnrollmentPolicy/p") == 7
