"""The permissions that the plugin cloud_oci asks for, and what each answer of OCI means."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from routerd.errors import PermanentError, ProviderError, StaleError, TransientError
from routerd_cloud_oci.faults import (
    DeniedError,
    FullError,
    RejectedError,
    ThrottledError,
    UnauthenticatedError,
    service_error,
)
from routerd_cloud_oci.limits import PERMISSIONS, POLICY, WITHOUT_METADATA


def test_the_policy_gives_what_the_operations_need_and_nothing_else() -> None:
    given = [name for each in (*POLICY, *WITHOUT_METADATA) for name in each.permissions]
    needed = {name for names in PERMISSIONS.values() for name in names}
    assert set(given) == needed
    assert len(given) == len(needed)


@pytest.mark.parametrize("page", ["plugins/cloud_oci/README.md", "docs/clouds/oci.md"])
def test_the_policy_of_the_pages_is_the_one_that_is_checked(page: str) -> None:
    text = (Path(__file__).parents[3] / page).read_text(encoding="utf-8")
    shown = re.findall(r"^Allow .*$", text, re.MULTILINE)
    assert shown == [each.text() for each in (*POLICY, *WITHOUT_METADATA)]


def fault(status: int, code: str, retry_after: str = "") -> ProviderError:
    return service_error(
        operation="UpdateRouteTable",
        resource="ocid1.routetable.oc1..b",
        status=status,
        code=code,
        message="Said.",
        request_id="r1",
        retry_after=retry_after,
    )


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidParameter", RejectedError),
        (400, "LimitExceeded", FullError),
        (400, "QuotaExceeded", FullError),
        (401, "NotAuthenticated", UnauthenticatedError),
        (403, "NotAuthorized", DeniedError),
        (404, "NotAuthorizedOrNotFound", DeniedError),
        (405, "MethodNotAllowed", PermanentError),
        (409, "IncorrectState", TransientError),
        (409, "InvalidatedRetryToken", PermanentError),
        (412, "NoEtagMatch", StaleError),
        (429, "TooManyRequests", ThrottledError),
        (500, "InternalServerError", TransientError),
        (503, "ServiceUnavailable", TransientError),
    ],
)
def test_each_answer_says_what_which_and_why(status: int, code: str, kind: type[ProviderError]) -> None:
    error = fault(status, code)
    assert type(error) is kind
    assert str(error).startswith("oci UpdateRouteTable ocid1.routetable.oc1..b: ")
    assert f"{status} {code}: Said (opc-request-id r1)" in str(error)


def test_a_time_to_wait_is_taken_from_the_answer() -> None:
    assert fault(429, "TooManyRequests", "7").retry_after == timedelta(seconds=7)
    assert fault(429, "TooManyRequests", "soon").retry_after == timedelta(seconds=10)
    assert fault(503, "ServiceUnavailable", "3").retry_after == timedelta(seconds=3)
