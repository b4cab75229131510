"""Settings from files, the environment and the command line."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from server.config import ConfigError, is_loopback, load
from services.options import Target
from tests.server.config_samples import (
    API,
    AUTH,
    KEY,
    SECRET,
    SERVICE_KEY,
    Loader,
    account,
    document,
    url,
    write,
)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Load from an empty working directory, in an empty environment."""
    monkeypatch.chdir(tmp_path)
    return Loader(tmp_path)


def older(**more: Any) -> dict[str, Any]:
    """The older proxy's flat format."""
    return {
        "service_key_json": "demokey.json",
        "deployment_models": {"gpt-4o": [url("d1111"), url("d2222")], "4.6-opus": [url("d3333")]},
        "secret_authentication_tokens": [KEY],
        "resource_group": "default",
        "port": 3001,
        "host": "127.0.0.1",
        **more,
    }


# --- what is read ---------------------------------------------------------------------------------------


def test_a_small_document_is_enough(read: Loader) -> None:
    """A sub-account and a key; everything else has a default."""
    settings = read(document())

    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 3001, "info")
    assert [one.name for one in settings.sub_accounts] == ["prod"]
    assert settings.workers >= 1


def test_the_older_flat_format_is_one_sub_account(read: Loader, tmp_path: Path) -> None:
    """It is called default, and its key file lies beside the configuration."""
    write(tmp_path, SERVICE_KEY, "demokey.json")

    (only,) = read(older()).sub_accounts

    assert only.name == "default"
    assert (Target(url("d1111")), Target(url("d2222"))) == only.options.deployment_models["gpt-4o"]
    assert f"{AUTH}/oauth/token" == only.credential.token_url


def test_the_older_format_with_sub_accounts_is_read(read: Loader, tmp_path: Path) -> None:
    """Each has its own key file, resource group and deployments, in the order of the document."""
    write(tmp_path, SERVICE_KEY, "one.json")
    write(tmp_path, {**SERVICE_KEY, "clientid": "sb-two"}, "two.json")
    accounts = {
        "subAccount1": {"resource_group": "default", "service_key_json": "one.json", "deployment_models": {}},
        "subAccount2": {
            "resource_group": "team-a",
            "service_key_json": "two.json",
            "deployment_models": {"m": [url()]},
        },
    }

    first, second = read({"subAccounts": accounts, "secret_authentication_tokens": [KEY]}).sub_accounts

    assert (first.name, first.options.resource_group) == ("subAccount1", "default")
    assert (second.credential.client_id, second.options.resource_group) == ("sb-two", "team-a")


def test_a_key_file_may_lie_in_the_working_directory(read: Loader, tmp_path: Path) -> None:
    """As the older proxy read it."""
    (tmp_path / "etc").mkdir()
    write(tmp_path, SERVICE_KEY, "demokey.json")

    settings = load(write(tmp_path / "etc", older()), environ={}, overrides={})

    assert SERVICE_KEY["clientid"] == settings.sub_accounts[0].credential.client_id


def test_a_key_without_serviceurls_takes_the_api_of_its_deployments(read: Loader, tmp_path: Path) -> None:
    """The older proxy did not read that member, so files without it exist."""
    write(tmp_path, {name: one for name, one in SERVICE_KEY.items() if name != "serviceurls"}, "demokey.json")

    assert f"{API}/v2" == read(older()).sub_accounts[0].credential.api_url


def test_deployment_ids_and_filters_of_the_fork_are_read(read: Loader) -> None:
    """Its filters stand at the top level, and are for every sub-account without its own."""
    accounts = {
        "one": account(deployment_ids={"gpt-4o": ["d123456789", {"id": "d22222", "weight": 3}]}),
        "two": account(model_filters={"exclude_filters": ["-test$"]}),
    }

    one, two = read(document(subAccounts=accounts, model_filters={"include_filters": ["^gpt-"]})).sub_accounts

    assert (Target("d123456789"), Target("d22222", 3.0)) == one.options.deployment_ids["gpt-4o"]
    assert (one.options.include_filters, one.options.exclude_filters) == (("^gpt-",), ())
    assert (two.options.include_filters, two.options.exclude_filters) == ((), ("-test$",))


def test_discovery_keys_of_the_forks_are_taken_over(read: Loader) -> None:
    """Three per sub-account and the refresh interval mean the same under today's names."""
    old = {"auto_discover_deployments": False, "include_patterns": ["gpt-*"], "exclude_patterns": ["*-mini"]}

    settings = read(document(subAccounts={"a": account(**old)}, discovery_refresh_interval_seconds=60))

    options = settings.sub_accounts[0].options
    assert (options.discover, options.include, options.exclude) == (False, ("gpt-*",), ("*-mini",))
    assert settings.discovery.refresh_seconds == 60


@pytest.mark.parametrize("key", ["debug", "log_requests", "refresh_cache", "ca_cert_bundle"])
def test_a_key_that_means_nothing_here_leaves_a_note(read: Loader, key: str) -> None:
    """It is accepted, and the note names it."""
    assert any(note.startswith(f"{key} has no effect") for note in read(document(**{key: True})).notes)


def test_flat_keys_beside_sub_accounts_leave_a_note(read: Loader) -> None:
    """The older proxy ignored them as well, without a word."""
    settings = read(document(deployment_models={"m": [url()]}))

    assert any(note.startswith("deployment_models at the top level") for note in settings.notes)


def test_short_forms_mean_the_same_as_long_ones(read: Loader) -> None:
    """A URL, a list of URLs and a list of objects."""
    models = {"a": url(), "b": [url()], "c": [{"url": url() + "/", "weight": 1}]}

    found = read(document(subAccounts={"a": account(deployment_models=models)})).sub_accounts[0].options

    assert {name: (Target(url()),) for name in "abc"} == found.deployment_models


def test_yaml_reads_like_json(read: Loader) -> None:
    """Plain words stay texts: off, a date, a name that looks like a number."""
    text = f"""
subAccounts:
  prod:
    service_key: {{clientid: c, clientsecret: s, url: "{AUTH}", serviceurls: {{AI_API_URL: "{API}"}}}}
    deployment_models: {{4.10: "{url()}"}}
secret_authentication_tokens: ["{KEY}"]
dedup: {{mode: off}}
api_version: 2024-10-21
"""

    settings = read(text, name="config.yaml")

    assert (settings.dedup.mode, settings.api_version) == ("off", "2024-10-21")
    assert [*settings.sub_accounts[0].options.deployment_models] == ["4.10"]


def test_model_options_reach_the_services(read: Loader) -> None:
    """All of them, under the same names."""
    options = {
        "aliases": ["4o", "gpt-4o-*"],
        "model": "gpt-4o-2024",
        "family": "azure-openai",
        "api_version": "2024-10-21",
        "defaults": {"temperature": 0.2},
        "fallbacks": ["gpt-5"],
        "weights": {"d1111": 10, "d2222": 90},
        "sub_accounts": ["prod"],
        "rules": {"drop": ["user"], "rename": {"max_tokens": "max_completion_tokens"}},
        "timeouts": {"stall": 20},
    }

    found = read(document(models={"gpt-4o": options})).models["gpt-4o"]

    assert (found.aliases, found.model, found.family) == (("4o", "gpt-4o-*"), "gpt-4o-2024", "azure-openai")
    assert (
        found.weights,
        found.sub_accounts,
        found.fallbacks,
    ) == ({"d1111": 10, "d2222": 90}, ("prod",), ("gpt-5",))
    assert (found.rules.drop, found.timeouts.stall, found.timeouts.total) == (("user",), 20.0, None)


def test_variables_are_filled_in(read: Loader) -> None:
    """With a value, with a default, and not at all when escaped."""
    content = document(secret_authentication_tokens=["${KEY}"], host="${ADDRESS:-127.0.0.2}", port="${P}")
    content["subAccounts"]["prod"]["service_key"] = {**SERVICE_KEY, "clientsecret": "$${literal}"}

    settings = read(content, environ={"KEY": KEY, "P": "8080"})

    assert (settings.host, settings.port) == ("127.0.0.2", 8080)
    assert hashlib.sha256(KEY.encode()).digest() == settings.client_keys[0].digest
    assert settings.sub_accounts[0].credential.client_secret == "${literal}"


def test_client_keys_in_every_form(read: Loader) -> None:
    """A key, its hash, an object; the older proxy's habit of writing Bearer in front is understood."""
    digest = hashlib.sha256(b"another-key-of-a-client").hexdigest()
    limited = {
        "name": "ci",
        "key": "the-key-of-the-build-server",
        "models": ["gpt-*"],
        "requests_per_minute": 5,
    }

    first, second, third = read(
        document(secret_authentication_tokens=[f"Bearer {KEY}", f"sha256:{digest}", limited])
    ).client_keys

    assert ("key-1", hashlib.sha256(KEY.encode()).digest()) == (first.name, first.digest)
    assert ("key-2", digest) == (second.name, second.digest.hex())
    assert (third.name, third.models, third.requests_per_minute) == ("ci", ("gpt-*",), 5)


# --- what wins ------------------------------------------------------------------------------------------


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(read: Loader) -> None:
    """Host from the line, port from the environment, level from the file."""
    content = document(host="127.0.0.2", port=1, log_level="debug")

    settings = read(content, environ={"HOST": "127.0.0.3", "PORT": "2"}, host="127.0.0.4", port=None)

    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.4", 2, "debug")


def test_the_ancestors_variables_are_honoured(read: Loader) -> None:
    """Each sets the key that means the same."""
    environ = {
        "HTTP_KEEPALIVE_CONNECTIONS": "15",
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6380",
        "LOG_LEVEL": "WARNING",
    }

    settings = read(document(), environ=environ)

    assert (
        settings.pool.max_idle_per_upstream,
        settings.redis.host,
        settings.redis.port,
    ) == (15, "redis", 6380)
    assert settings.log_level == "warning"


@pytest.mark.parametrize(
    ("environ", "configured", "expected"),
    [
        ({"RATE_LIMIT_ENABLED": "true"}, None, 60),
        ({"RATE_LIMIT_ENABLED": "true"}, 7, 7),
        ({"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_PER_MINUTE": "90"}, 7, 90),
        ({"RATE_LIMIT_PER_MINUTE": "90"}, None, 90),
        ({"RATE_LIMIT_ENABLED": "false", "RATE_LIMIT_PER_MINUTE": "90"}, 7, None),
        ({}, 7, 7),
    ],
)
def test_the_rate_limit_of_the_environment(
    read: Loader, environ: dict[str, str], configured: int | None, expected: int | None
) -> None:
    """Enabled without a number means the file's, else 60; disabled means none."""
    settings = read(document(limits={"requests_per_minute": configured}), environ=environ)

    assert expected == settings.limits.requests_per_minute


def test_the_size_of_the_pool_is_noted(read: Loader) -> None:
    """It sets nothing here, and that is said."""
    notes = read(document(), environ={"HTTP_POOL_CONNECTIONS": "20"}).notes

    assert any(note.startswith("HTTP_POOL_CONNECTIONS has no effect") for note in notes)


@pytest.mark.parametrize("name", ["config.json", "config.yaml"])
def test_a_file_in_the_working_directory_is_found(read: Loader, tmp_path: Path, name: str) -> None:
    """JSON is YAML as well, so one text serves both."""
    write(tmp_path, document(port=4444), name)

    assert read().port == 4444


def test_config_path_names_the_file(read: Loader, tmp_path: Path) -> None:
    """Before the working directory is looked at."""
    write(tmp_path, document(port=1))
    named = write(tmp_path, document(port=2), "named.json")

    assert read(environ={"CONFIG_PATH": str(named)}).port == 2


def test_a_config_path_without_a_file_is_no_fault_beside_variables(read: Loader) -> None:
    """A container image may set it always; the note tells."""
    environ = {"CONFIG_PATH": "/app/config.json", "AICORE_SERVICE_KEY": json.dumps(SERVICE_KEY)}

    assert "CONFIG_PATH names /app/config.json, which does not exist." in read(environ=environ).notes


def test_a_file_may_leave_the_credential_to_the_environment(read: Loader) -> None:
    """Flat, without a service key: the variables give it, and the resource group."""
    environ = {
        "AICORE_CLIENT_ID": "c",
        "AICORE_CLIENT_SECRET": "s",
        "AICORE_AUTH_URL": AUTH,
        "AICORE_BASE_URL": API,
        "AICORE_RESOURCE_GROUP": "team-b",
    }

    (only,) = read({"secret_authentication_tokens": [KEY]}, environ=environ).sub_accounts

    assert (only.name, only.credential.client_id, only.options.resource_group) == ("default", "c", "team-b")


# --- what may not happen --------------------------------------------------------------------------------


def test_settings_survive_pickling(read: Loader) -> None:
    """A spawned worker gets its own copy."""
    settings = read(document(redis={"host": "r", "password": "p"}))

    assert settings == pickle.loads(pickle.dumps(settings))


def test_no_secret_is_in_the_representation(read: Loader) -> None:
    """Not a client key, its hash, a client secret, a password."""
    text = repr(read(document(redis={"password": "hidden-password"})))

    assert [one for one in (KEY, SECRET, "hidden-password") if one in text] == []
    assert "digest" not in text


def test_settings_cannot_be_changed(read: Loader) -> None:
    """Neither the whole nor a section."""
    settings = read(document())

    with pytest.raises(AttributeError):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        settings.routing.attempts = 9


def test_without_keys_only_this_machine_may_call(read: Loader) -> None:
    """On loopback it starts, with a note."""
    assert any("no client keys" in note for note in read(document(secret_authentication_tokens=[])).notes)


@pytest.mark.parametrize(
    ("more", "origins"),
    [
        ({}, ("*",)),
        ({"secret_authentication_tokens": []}, ()),
        ({"secret_authentication_tokens": [], "cors": {"origins": ["*"]}}, ("*",)),
    ],
)
def test_without_keys_no_web_page_is_let_in_unasked(
    read: Loader, more: dict[str, Any], origins: tuple[str, ...]
) -> None:
    """Any page that somebody on this machine visits could read answers."""
    assert origins == read(document(**more)).cors.origins


def test_without_keys_no_other_address_is_listened_on(read: Loader) -> None:
    """The fault tells how to make a key."""
    faults = read.faults(document(secret_authentication_tokens=[], host="0.0.0.0"))

    assert "aicore-gateway keys new" in faults["secret_authentication_tokens"]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "gateway.example", "localhost.example")),
    ],
)
def test_what_counts_as_this_machine(host: str, loopback: bool) -> None:
    """Addresses by their range, and one name."""
    assert is_loopback(host) is loopback


def test_a_short_key_leaves_a_note(read: Loader) -> None:
    """It works, since it may be in use."""
    assert any(
        "key-1 is short" in note for note in read(document(secret_authentication_tokens=["abc"])).notes
    )


def test_anonymous_callers_can_be_allowed(read: Loader) -> None:
    """By the document or the command line."""
    settings = read(document(secret_authentication_tokens=[], host="0.0.0.0"), allow_anonymous=True)

    assert settings.allow_anonymous


def test_nothing_at_all_teaches_the_three_ways(read: Loader) -> None:
    """File, variables, what SAP's SDKs use."""
    text = read.faults()["credentials"]

    assert all(way in text for way in ("--config", "AICORE_SERVICE_KEY", "VCAP_SERVICES"))


def test_an_error_survives_pickling(read: Loader) -> None:
    """It may cross a process boundary."""
    with pytest.raises(ConfigError) as caught:
        read()

    assert caught.value.faults == pickle.loads(pickle.dumps(caught.value)).faults
