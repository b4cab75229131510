"""Service keys and the sources of SAP's SDKs, with their precedence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.credentials import FromEnvironment, api_url_of, from_environment, from_service_key
from server.faults import Faults
from services.credentials import Credential
from tests.server.config_samples import (
    API,
    AUTH,
    CERT_AUTH,
    CERTIFICATE,
    PRIVATE_KEY,
    SECRET,
    SERVICE_KEY,
    X509_KEY,
    url,
    write,
)

VARIABLES = {
    "AICORE_CLIENT_ID": "from-variables",
    "AICORE_CLIENT_SECRET": "s",
    "AICORE_AUTH_URL": AUTH,
    "AICORE_BASE_URL": API,
}


def made(document: Any, **more: Any) -> tuple[Credential | None, dict[str, str]]:
    """Read a service key; return the credential and the faults by member."""
    faults: dict[str, str] = {}
    credential = from_service_key(
        document,
        name="prod",
        report=lambda member, problem, remedy: faults.update({member: f"{problem}; {remedy}"}),
        **more,
    )
    return credential, faults


def good(document: Any, **more: Any) -> Credential:
    """Read a service key that must be whole."""
    credential, faults = made(document, **more)
    assert credential is not None, faults
    return credential


def look(home: Path, **environ: str) -> tuple[FromEnvironment, list[str]]:
    """Look in an environment; return what was found and the places of the faults."""
    faults = Faults()
    found = from_environment({"HOME": str(home), **environ}, name="default", faults=faults)
    return found, [fault.where for fault in faults]


def client_id(found: FromEnvironment) -> str:
    """Tell by its client id which source a credential is from."""
    return found.credential.client_id if found.credential else ""


def binding(key: dict[str, Any]) -> str:
    """Return a VCAP_SERVICES with this service key."""
    return json.dumps(
        {"aicore": [{"label": "aicore", "name": "x", "credentials": key}], "xsuaa": [{"label": "xsuaa"}]}
    )


def profile(home: Path, name: str = "config.json", **values: str) -> None:
    """Write a profile into a home directory."""
    (home / ".aicore").mkdir(exist_ok=True)
    write(home / ".aicore", {**VARIABLES, "AICORE_CLIENT_ID": "from-profile", **values}, name)


def test_a_service_key_with_a_secret() -> None:
    """Both addresses are completed, the tenant is known."""
    key = good(SERVICE_KEY)

    assert (f"{AUTH}/oauth/token", f"{API}/v2") == (key.token_url, key.api_url)
    assert (key.client_secret, key.cert_pem, key.key_pem) == (SECRET, None, None)
    assert SERVICE_KEY["identityzoneid"] == key.tenant_id


def test_a_service_key_with_a_certificate() -> None:
    """Tokens come from the certificate host; line ends that were escaped twice are put right."""
    key = good(X509_KEY)

    assert f"{CERT_AUTH}/oauth/token" == key.token_url
    assert (None, CERTIFICATE.strip(), PRIVATE_KEY.strip()) == (
        key.client_secret,
        (key.cert_pem or "").strip(),
        (key.key_pem or "").strip(),
    )


def test_a_wrapped_service_key() -> None:
    """Some tools put it below `credentials`."""
    assert good(SERVICE_KEY) == good({"credentials": SERVICE_KEY})


def test_addresses_that_are_complete_stay() -> None:
    """Whether they end in a slash or not."""
    key = good({**SERVICE_KEY, "url": f"{AUTH}/oauth/token/", "serviceurls": {"AI_API_URL": f"{API}/v2/"}})

    assert (f"{AUTH}/oauth/token", f"{API}/v2") == (key.token_url, key.api_url)


def test_the_key_names_the_api_before_a_deployment_does() -> None:
    """The address of a deployment is only for keys without one."""
    assert f"{API}/v2" == good(SERVICE_KEY, api_url="https://other.example/v2").api_url


def test_the_api_of_a_deployment() -> None:
    """Everything before /inference; nothing of another URL."""
    assert (f"{API}/v2", "") == (api_url_of(url()), api_url_of("https://x.example/"))


def test_every_missing_member_is_named() -> None:
    """At once."""
    assert {"clientid", "clientsecret", "url", "serviceurls.AI_API_URL"} == {*made({})[1]}


@pytest.mark.parametrize(
    ("change", "member", "text"),
    [
        ({"certificate": CERTIFICATE, "key": PRIVATE_KEY}, "", "more than one authentication"),
        ({"clientsecret": None, "certificate": CERTIFICATE}, "key", "is missing"),
        ({"clientsecret": None, "certificate": "x", "key": PRIVATE_KEY}, "certificate", "is not in PEM form"),
        ({"clientid": 5}, "clientid", "is missing"),
        ({"url": "my-subdomain"}, "url", "is not a URL"),
        ({"serviceurls": "x"}, "serviceurls.AI_API_URL", "is missing"),
        ({"serviceurls": {"AI_API_URL": "ftp://x"}}, "serviceurls.AI_API_URL", "is not a URL"),
    ],
)
def test_a_wrong_member_is_named(change: dict[str, Any], member: str, text: str) -> None:
    """And only that one; there is no credential then."""
    credential, faults = made({**SERVICE_KEY, **change})

    assert (None, [member]) == (credential, [*faults])
    assert text in faults[member]


@pytest.mark.parametrize("document", [[], "key", None])
def test_what_is_no_service_key_is_refused(document: Any) -> None:
    """With a word on where to get one."""
    assert "is not a service key" in made(document)[1][""]


def test_the_service_key_variable_comes_first(tmp_path: Path) -> None:
    """Before the single variables, the profile and the binding."""
    profile(tmp_path)
    key = json.dumps({**SERVICE_KEY, "clientid": "from-key"})

    found, _ = look(tmp_path, AICORE_SERVICE_KEY=key, VCAP_SERVICES=binding(SERVICE_KEY), **VARIABLES)

    assert (client_id(found), found.source) == ("from-key", "AICORE_SERVICE_KEY")


def test_single_variables_come_before_the_profile(tmp_path: Path) -> None:
    """And before the binding."""
    profile(tmp_path)

    assert client_id(look(tmp_path, VCAP_SERVICES=binding(SERVICE_KEY), **VARIABLES)[0]) == "from-variables"


def test_the_profile_comes_before_the_binding(tmp_path: Path) -> None:
    """It is ~/.aicore/config.json."""
    profile(tmp_path)

    assert client_id(look(tmp_path, VCAP_SERVICES=binding(SERVICE_KEY))[0]) == "from-profile"


def test_the_binding_comes_last(tmp_path: Path) -> None:
    """By its label, among other services."""
    assert SERVICE_KEY["clientid"] == client_id(look(tmp_path, VCAP_SERVICES=binding(SERVICE_KEY))[0])


def test_sources_are_never_mixed(tmp_path: Path) -> None:
    """The first that has any value supplies all; what it lacks is a fault, named by its variable."""
    profile(tmp_path)

    found, faults = look(tmp_path, AICORE_CLIENT_ID="alone")

    assert found.credential is None
    assert {"AICORE_CLIENT_SECRET", "AICORE_AUTH_URL", "AICORE_BASE_URL"} == {*faults}


def test_the_resource_group_is_looked_for_on_its_own(tmp_path: Path) -> None:
    """The credential may come from elsewhere."""
    profile(tmp_path, AICORE_RESOURCE_GROUP="from-profile")

    assert look(tmp_path, **VARIABLES)[0].resource_group == "from-profile"
    assert (
        look(tmp_path, **VARIABLES, AICORE_RESOURCE_GROUP="from-variable")[0].resource_group
        == "from-variable"
    )


def test_the_resource_group_is_default_otherwise(tmp_path: Path) -> None:
    """As for SAP's SDKs."""
    assert look(tmp_path, **VARIABLES)[0].resource_group == "default"


@pytest.mark.parametrize("escaped", [True, False])
def test_a_certificate_in_variables(tmp_path: Path, escaped: bool) -> None:
    """As text, with line ends escaped or not."""
    cert = CERTIFICATE.replace("\n", "\\n") if escaped else CERTIFICATE
    environ = {
        **VARIABLES,
        "AICORE_CERT_STR": cert,
        "AICORE_KEY_STR": PRIVATE_KEY,
        "AICORE_CERT_URL": CERT_AUTH,
    }
    del environ["AICORE_CLIENT_SECRET"], environ["AICORE_AUTH_URL"]

    credential = look(tmp_path, **environ)[0].credential

    assert credential is not None
    assert CERTIFICATE.strip() == (credential.cert_pem or "").strip()
    assert f"{CERT_AUTH}/oauth/token" == credential.token_url


def test_a_certificate_in_files(tmp_path: Path) -> None:
    """Both are read at the start."""
    (tmp_path / "c.pem").write_text(CERTIFICATE)
    (tmp_path / "k.pem").write_text(PRIVATE_KEY)
    environ = {
        **VARIABLES,
        "AICORE_CLIENT_SECRET": "",
        "AICORE_CERT_FILE_PATH": str(tmp_path / "c.pem"),
        "AICORE_KEY_FILE_PATH": str(tmp_path / "k.pem"),
    }

    credential = look(tmp_path, **environ)[0].credential

    assert credential is not None
    assert (credential.cert_pem, credential.key_pem) == (CERTIFICATE, PRIVATE_KEY)


def test_a_certificate_file_that_is_not_there(tmp_path: Path) -> None:
    """The variable is named."""
    environ = {
        **VARIABLES,
        "AICORE_CLIENT_SECRET": "",
        "AICORE_CERT_FILE_PATH": "/no.pem",
        "AICORE_KEY_FILE_PATH": "/no",
    }

    assert look(tmp_path, **environ)[1] == ["AICORE_CERT_FILE_PATH", "AICORE_KEY_FILE_PATH"]


def test_a_secret_beside_a_certificate(tmp_path: Path) -> None:
    """Exactly one way to prove who one is."""
    assert look(tmp_path, **VARIABLES, AICORE_CERT_STR=CERTIFICATE, AICORE_KEY_STR=PRIVATE_KEY)[1] == [
        "AICORE_* variables"
    ]


def test_a_profile_by_name(tmp_path: Path) -> None:
    """AICORE_PROFILE chooses config_<name>.json, in AICORE_HOME."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    write(home, {**VARIABLES, "AICORE_CLIENT_ID": "by-name"}, "config_dev.json")

    assert client_id(look(tmp_path, AICORE_HOME=str(home), AICORE_PROFILE="dev")[0]) == "by-name"


def test_a_profile_by_path(tmp_path: Path) -> None:
    """AICORE_CONFIG overrides home and name; a fault in it names file and variable."""
    file = write(tmp_path, {"AICORE_CLIENT_ID": "by-path"}, "any-name")

    _, faults = look(tmp_path, AICORE_CONFIG=str(file), AICORE_PROFILE="dev")

    assert f"profile {file} AICORE_CLIENT_SECRET" in faults


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"AICORE_PROFILE": "nobody"}, "AICORE_PROFILE"),
        ({"AICORE_CONFIG": "/no/file"}, "AICORE_CONFIG"),
        ({"AICORE_SERVICE_KEY": "{"}, "AICORE_SERVICE_KEY"),
        ({"AICORE_SERVICE_KEY": "[]"}, "AICORE_SERVICE_KEY"),
        ({"VCAP_SERVICES": "{"}, "VCAP_SERVICES"),
        ({"VCAP_SERVICES": binding({**SERVICE_KEY, "url": "x"})}, "VCAP_SERVICES url"),
    ],
)
def test_a_source_that_cannot_be_used_is_named(tmp_path: Path, environ: dict[str, str], place: str) -> None:
    """Rather than passed over."""
    assert [place] == look(tmp_path, **environ)[1]


def test_a_home_that_may_not_be_looked_at_has_no_profile(tmp_path: Path) -> None:
    """A service may run with the home of another user, and have its variables."""
    found, faults = look(tmp_path, AICORE_HOME="h" * 300, **VARIABLES)

    assert ("from-variables", []) == (client_id(found), faults)


def test_an_empty_environment_has_no_credential(tmp_path: Path) -> None:
    """And that is not a fault of the environment."""
    assert (FromEnvironment(None, "default", ""), []) == look(tmp_path)
