"""The shipped schema, the example, and the documents that `init` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from server.config_schema import SHIPPED, schema, schema_text
from server.init_config import from_key_file, from_variables, text_of
from server.keys import new_key
from tests.server.config_samples import API, AUTH, KEY, SERVICE_KEY, Loader, account, document, url, write

EXAMPLE = Path(__file__).parents[2] / "config.example.json"
FOUND = [("gpt-4o", "d22222"), ("gpt-4o", "d11111"), ("claude", "d33333"), ("", "d44444")]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Load from an empty working directory, in an empty environment."""
    monkeypatch.chdir(tmp_path)
    return Loader(tmp_path)


def test_the_shipped_schema_is_current() -> None:
    """If not: python -m server.config_schema."""
    assert schema_text() == SHIPPED.read_text(encoding="utf-8")


def test_the_schema_is_one() -> None:
    """By the rules of its draft."""
    jsonschema.Draft202012Validator.check_schema(schema())


def test_every_key_is_described() -> None:
    """An editor shows the text."""
    parts = [schema(), *schema()["$defs"].values()]

    assert [
        name for part in parts for name, one in part["properties"].items() if "description" not in one
    ] == []


@pytest.mark.parametrize(
    "content",
    [
        json.loads(EXAMPLE.read_text()),
        document(
            subAccounts={"a": account(deployment_models={"m": url(), "n": [{"url": url(), "weight": 2}]})}
        ),
        {"service_key_json": "k", "deployment_models": {"m": [url()]}},
        document(secret_authentication_tokens=[KEY, {"name": "ci", "key": KEY}]),
        from_key_file("k.json", found=FOUND, key=new_key()),
    ],
)
def test_the_schema_accepts_what_is_accepted(content: dict[str, Any]) -> None:
    """Short forms and the older proxy's format included."""
    jsonschema.validate(content, schema())


def test_the_schema_refuses_unknown_keys() -> None:
    """So that an editor marks them."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document(prot=1), schema())


def test_the_example_works(read: Loader, tmp_path: Path) -> None:
    """With a service key file beside it and a key in the environment."""
    write(tmp_path, SERVICE_KEY, "service-key.json")

    settings = read(EXAMPLE.read_text(), environ={"GATEWAY_KEY": KEY})

    assert [one.name for one in settings.sub_accounts] == ["prod"]


def test_a_written_configuration_loads(read: Loader, tmp_path: Path) -> None:
    """With what was discovered, and the first key as a hash."""
    write(tmp_path, SERVICE_KEY, "k.json")
    key = new_key()

    settings = read(text_of(from_key_file("k.json", found=FOUND, resource_group="team-a", key=key)))

    options = settings.sub_accounts[0].options
    assert [*options.deployment_ids] == ["claude", "gpt-4o"]
    assert [one.address for one in options.deployment_ids["gpt-4o"]] == ["d11111", "d22222"]
    assert ("team-a", key.sha256.removeprefix("sha256:")) == (
        options.resource_group,
        settings.client_keys[0].digest.hex(),
    )


def test_a_configuration_from_variables_holds_no_secret(read: Loader) -> None:
    """It loads where the variables are, and nowhere else."""
    environ = {
        "AICORE_CLIENT_ID": "c",
        "AICORE_CLIENT_SECRET": "hidden-secret",
        "AICORE_AUTH_URL": AUTH,
        "AICORE_BASE_URL": API,
        "AICORE_RESOURCE_GROUP": "team-b",
    }

    text = text_of(from_variables(environ, found=FOUND))

    assert "hidden-secret" not in text
    assert read(text, environ=environ).sub_accounts[0].options.resource_group == "team-b"
    assert "credentials" in read.faults(text)
