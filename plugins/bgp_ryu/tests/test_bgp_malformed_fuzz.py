"""Whatever bytes come, the screen says what becomes of them, and the library reads what it lets through."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerd_bgp_ryu.screen import UPDATE, Fault, Framer, Screen, Terms
from routerd_bgp_ryu.testing.mutation import KINDS_OF_TERMS, TERMS, Mutator, corpus
from routerd_bgp_ryu.testing.raw import USUAL, message, update

CORPUS = Path(__file__).parent / "corpus"
ANY_TERMS = st.sampled_from(KINDS_OF_TERMS)


@given(kind=st.integers(1, 5), body=st.binary(max_size=200), terms=ANY_TERMS)
def test_the_screen_raises_at_nothing_and_is_content_with_what_it_said(
    kind: int, body: bytes, terms: Terms
) -> None:
    for whole in Framer().feed(message(kind, body)):
        if isinstance(whole, Fault):
            return
        for each in Screen(terms).judge(whole).messages:
            again = Screen(TERMS).judge(each)
            if terms == TERMS:
                assert again.messages == (each,)


@given(block=st.binary(max_size=120), terms=ANY_TERMS)
def test_an_update_with_any_attributes_announces_withdraws_or_ends(block: bytes, terms: Terms) -> None:
    verdict = Screen(terms).judge(update(block, "10.88.1.1/32"))
    for each in verdict.messages:
        assert each[18] == UPDATE
        announced = each.endswith(b"\x20\x0a\x58\x01\x01")
        assert announced != bool(verdict.withdrawn)
    assert bool(verdict.messages) != bool(verdict.fault)


@given(rest=st.binary(max_size=60))
def test_prefixes_are_all_read_or_the_session_ends(rest: bytes) -> None:
    verdict = Screen(TERMS).judge(message(UPDATE, update(USUAL)[19:] + rest))
    assert bool(verdict.messages) != bool(verdict.fault)


@given(stream=st.binary(max_size=300), size=st.integers(1, 50))
def test_how_a_stream_is_torn_does_not_matter(stream: bytes, size: int) -> None:
    stream = b"\xff" * 16 + b"\x00\x17\x02\x00\x00\x00\x00" + stream
    framer, found = Framer(), []
    for at in range(0, len(stream), size):
        found += framer.feed(stream[at : at + size])
        if found and isinstance(found[-1], Fault):
            break
    assert found == list(Framer().feed(stream))


def test_the_corpus_has_messages_of_every_kind_and_engine() -> None:
    kinds = Counter(each[18] for each in corpus(CORPUS))
    assert all(kinds[kind] >= 3 for kind in (1, 2, 3, 5))
    assert {each.stem for each in CORPUS.glob("*.hex")} == {"assembled", "bird", "frr", "gobgp"}


@pytest.mark.parametrize("engine", ["bird", "frr", "gobgp"])
def test_what_other_engines_say_is_all_well(engine: str, tmp_path: Path) -> None:
    (tmp_path / "one.hex").write_text((CORPUS / f"{engine}.hex").read_text())
    messages = corpus(tmp_path)
    assert messages
    for each in messages:
        verdict = Screen(TERMS).judge(each)
        assert (verdict.worst, verdict.fault) == (None, None)


def test_the_same_seed_damages_the_same_way() -> None:
    one, two = (list(islice(Mutator(corpus(CORPUS), 5), 500)) for _ in range(2))
    assert one == two
    assert one != list(islice(Mutator(corpus(CORPUS), 6), 500))


def fuzz(count: int, seed: int) -> str:
    """Run the mutator in a process of its own; return what it says."""
    command = [sys.executable, "-W", "ignore", "-m", "routerd_bgp_ryu.testing.mutation", str(CORPUS)]
    ran = subprocess.run(
        [*command, "--seed", str(seed), "--count", str(count)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.live
@pytest.mark.parametrize("seed", [1, 2])
def test_some_damaged_messages_do_no_harm(seed: int) -> None:
    assert fuzz(5_000, seed).startswith("5000 ")


@pytest.mark.live
@pytest.mark.timeout(600)
def test_two_hundred_thousand_damaged_messages_do_no_harm() -> None:
    said = fuzz(200_000, 3)
    assert all(f"'{each}'" in said for each in ("passed", "withdrawn", "ignored", "ended"))


@pytest.mark.live
@pytest.mark.timeout(600)
def test_messages_that_nobody_has_seen_before_do_no_harm() -> None:
    """Another seed in each run; a failure names it."""
    fuzz(50_000, secrets.randbelow(1 << 32))
