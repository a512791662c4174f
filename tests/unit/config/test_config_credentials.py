"""A configuration file with a credential of a cloud is refused, and no message shows the credential.

The words and lines for each place are in errors/credentials.yaml.
"""

import pytest

from routerd import config
from routerd.errors import ConfigError

FILE = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: r}}
spec:
  resources:
    - apiVersion: hybrid.routerd.net/v1alpha1
      kind: CloudProviderProfile
      metadata: {{name: cloud}}
      spec:
        provider: aws
        {given}
"""


def said_about(given: str, *, lenient: bool = False) -> list[str]:
    try:
        config.load_text(FILE.format(given=given), file="r.yaml", lenient=lenient)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "accessKey",
        "access_key_id",
        "secretAccessKey",
        "clientSecret",
        "password",
        "token",
        "sessionToken",
        "privateKey",
        "passPhrase",
        "sharedKey",
        "connectionString",
        "credentials",
    ],
)
@pytest.mark.parametrize(
    "place", ["{}", "options: {{{}}}", "auth: {{{}}}", "options: {{a: [{{b: {{{}}}}}]}}"]
)
def test_a_credential_is_refused_in_every_place_and_no_message_repeats_it(
    name: str, place: str, lenient: bool
) -> None:
    (said,) = said_about(place.format(f"{name}: hunter2"), lenient=lenient)
    assert said.startswith("r.yaml:11: CloudProviderProfile/cloud spec.")
    assert f"{name}: a secret must not be in the file; leave it out" in said
    assert all(way in said for way in ("role", "managed identity", "instance principal", "tokenFile"))
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "given",
    [
        "options: {tokenFile: /etc/token, passwordFrom: x}",
        "options: {token: 'file:/etc/token', password: 'env:PASSWORD'}",
        "options: {token: {file: /etc/token}}",
        "options: {token: null, password: ''}",
        "options: {routeTables: [rtb-1], keyName: k, tokens: 5, secretName: s}",
    ],
)
def test_a_field_may_name_the_place_of_a_secret(given: str) -> None:
    assert said_about(given) == []


def test_a_credential_under_an_anchor_is_one_problem() -> None:
    said = said_about("options: {one: &all {token: abc}, other: *all, third: [*all, *all]}")
    assert [each.partition(": a secret")[0] for each in said] == [
        "r.yaml:11: CloudProviderProfile/cloud spec.options.one.token"
    ]


def test_the_rule_holds_for_cloud_profiles_only() -> None:
    wireguard = FILE.replace("hybrid.", "net.").replace("CloudProviderProfile", "WireGuardInterface")
    text = wireguard.replace("provider: aws", "listenPort: 1").format(given="privateKey: abc")
    with pytest.raises(ConfigError) as caught:
        config.load_text(text, file="r.yaml")
    assert "use privateKeyFile" in str(caught.value)
