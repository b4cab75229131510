"""Every fault at once, each with its place, what is wrong, and what would be right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.config import ConfigError, load
from tests.server.config_samples import KEY, SECRET, SERVICE_KEY, Loader, account, document, url, write


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Load from an empty working directory, in an empty environment."""
    monkeypatch.chdir(tmp_path)
    return Loader(tmp_path)


def prod(**more: Any) -> dict[str, Any]:
    """Return a configuration with these keys in its sub-account."""
    return document(subAccounts={"prod": account(**more)})


DEPLOYMENT = "is not the URL of a deployment"

CASES: list[tuple[dict[str, Any], str, str]] = [
    (prod(weight=-1), "subAccounts.prod.weight", "is -1; give 0 or more"),
    (prod(wieght=1), "subAccounts.prod.wieght", "is unknown; did you mean weight?"),
    (prod(resource_group="-x"), "subAccounts.prod.resource_group", "is not a resource group"),
    (prod(deployment_models={"m": "http://x"}), "subAccounts.prod.deployment_models.m", DEPLOYMENT),
    (prod(deployment_models={"m": [url("<id>")]}), "subAccounts.prod.deployment_models.m[0]", DEPLOYMENT),
    (prod(deployment_models={"gpt-4.1": 5}), 'subAccounts.prod.deployment_models["gpt-4.1"]', "is 5"),
    (prod(deployment_models={"m": [url() + "/chat"]}), "subAccounts.prod.deployment_models.m[0]", DEPLOYMENT),
    (
        prod(deployment_models={"m": [{"weight": 1}]}),
        "subAccounts.prod.deployment_models.m[0].url",
        "is missing",
    ),
    (prod(deployment_ids={"m": ["a/b"]}), "subAccounts.prod.deployment_ids.m[0]", "is not a deployment id"),
    (prod(discover="perhaps"), "subAccounts.prod.discover", 'is "perhaps"; give true or false'),
    (prod(include=["gpt-["]), "subAccounts.prod.include[0]", "has [ without ]"),
    (
        prod(model_filters={"include_filters": ["("]}),
        "subAccounts.prod.model_filters.include_filters[0]",
        "is not a",
    ),
    (prod(service_key_json="k.json"), "subAccounts.prod.service_key", "is given beside service_key_json"),
    (document(subAccounts={"prod": {}}), "subAccounts.prod", "has no credential; give service_key_json"),
    (document(subAccounts={}), "subAccounts", "is empty"),
    (document(subAccounts=[]), "subAccounts", "is []; give an object"),
    (
        document(subAccounts={"p": {"service_key_json": "no.json"}}),
        "subAccounts.p.service_key_json",
        "there is no file",
    ),
    (document(prot=1), "prot", "is unknown; did you mean port?"),
    (document(port=0), "port", "is 0; give 1 or more"),
    (document(port=70_000), "port", "is 70000; give 65535 or less"),
    (document(port=1.5), "port", "is 1.5; give a whole number"),
    (document(host="${NOWHERE}"), "host", "needs the variable NOWHERE, which is not set"),
    (document(host="${"), "host", "has ${ without a name and }"),
    (document(log_level="loud"), "log_level", "is \"loud\"; give 'debug', 'info'"),
    (document(routing={"strategy": "random"}), "routing.strategy", "give 'least-in-flight'"),
    (document(routing=[]), "routing", "is []; give an object"),
    (document(timeouts={"connect": 0}), "timeouts.connect", "is 0; give more than 0"),
    (document(cache={"enabled": True, "store": "redis"}), "cache.store", "set redis.host"),
    (document(api_version="a&b"), "api_version", "is not a plain word"),
    (document(discover=False), "discover", "belongs to one sub-account"),
    (
        document(models={"a": {"aliases": ["x"]}, "b": {"aliases": "x"}}),
        "models.b.aliases[0]",
        "is an alias of a too",
    ),
    (document(models={"a": {"aliases": ["b"]}, "b": {}}), "models.a.aliases[0]", '"b" is a model itself'),
    (document(models={"a": {"fallbacks": ["a"]}}), "models.a.fallbacks[0]", "names the model itself"),
    (document(models={"a": {"sub_accounts": ["prd"]}}), "models.a.sub_accounts[0]", "did you mean prod?"),
    (document(models={"a": {"weights": {"d1234": -1}}}), "models.a.weights.d1234", "is -1; give 0 or more"),
    (
        document(models={"a": {"max_output_token": 1}}),
        "models.a.max_output_token",
        "did you mean max_output_tokens?",
    ),
    (
        document(secret_authentication_tokens=[KEY, KEY]),
        "secret_authentication_tokens[1]",
        "is the same key as",
    ),
    (
        document(secret_authentication_tokens=[{"name": "a", "key": KEY}, {"name": "a", "key": KEY * 2}]),
        "secret_authentication_tokens[1]",
        "has the same name as secret_authentication_tokens[0]",
    ),
    (
        document(secret_authentication_tokens=[7]),
        "secret_authentication_tokens[0]",
        "is not usable; give an object",
    ),
    (document(secret_authentication_tokens={}), "secret_authentication_tokens", "give a list"),
    (document(redis="x"), "redis", 'is "x"; give an object'),
    (document(models={"": {}}), 'models[""]', "give a text that is not empty"),
    (prod(include=[""]), "subAccounts.prod.include[0]", "is empty; give a name"),
    (document(secret_authentication_tokens=[""]), "secret_authentication_tokens[0]", "is an empty key"),
    (
        document(secret_authentication_tokens=["sha256:12"]),
        "secret_authentication_tokens[0]",
        "is not a SHA-256",
    ),
    (
        document(secret_authentication_tokens=[{"name": "a"}]),
        "secret_authentication_tokens[0]",
        "either key or sha256",
    ),
]


@pytest.mark.parametrize(("content", "place", "text"), CASES, ids=[place for _, place, _ in CASES])
def test_one_mistake_is_one_fault(read: Loader, content: dict[str, Any], place: str, text: str) -> None:
    """It names the place as written, says what is wrong and what would be right."""
    faults = read.faults(content)

    assert [place] == [*faults]
    assert text in faults[place]


def test_all_faults_are_told_at_once(read: Loader) -> None:
    """Wrong values, unknown keys, missing files and clashes, from every part."""
    content = {
        "subAccounts": {
            "one": {"service_key_json": "missing.json", "weight": -1},
            "two": {"service_key": {"clientid": "c"}, "discovr": True},
        },
        "secret_authentication_tokens": [{"keys": 1}, KEY, KEY],
        "models": {"a": {"fallbacks": ["a"], "family": 3}},
        "port": "x",
    }

    assert {
        "subAccounts.one.service_key_json",
        "subAccounts.one.weight",
        "subAccounts.two.service_key.clientsecret",
        "subAccounts.two.service_key.url",
        "subAccounts.two.service_key.serviceurls.AI_API_URL",
        "subAccounts.two.discovr",
        "secret_authentication_tokens[0].keys",
        "secret_authentication_tokens[2]",
        "models.a.fallbacks[0]",
        "models.a.family",
        "port",
        "REDIS_PORT",
        "--workers",
    } == {*read.faults(content, environ={"REDIS_PORT": "y"}, workers=0)}


def test_a_key_given_twice_is_a_fault(read: Loader) -> None:
    """In JSON, at any depth."""
    faults = read.faults('{"subAccounts": {"p": {"weight": 1, "weight": 2}}, "port": 1, "port": 2}')

    assert "is given twice; keep one of them" == faults["port"] == faults["subAccounts.p.weight"]


def test_a_key_given_twice_in_yaml_is_a_fault(read: Loader) -> None:
    """YAML forbids it, and its usual reader does not tell."""
    assert read.faults("port: 1\nport: 2\n", name="c.yaml")["port"] == "is given twice; keep one of them"


def test_yaml_may_merge(read: Loader) -> None:
    """A merged key that is given again is no repetition."""
    text = "x: &x {weight: 1, service_key_json: a}\nsubAccounts: {p: {<<: *x, weight: 2}}\n"

    assert {"x", "subAccounts.p.service_key_json"} == {*read.faults(text, name="c.yaml")}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("c.json", '{"port": 1,\n "host": }', "at line 2, column 10"),
        ("c.json", '{"port": NaN}', "NaN is no JSON number"),
        ("c.json", "[1]", "is not an object"),
        ("c.yaml", "port: 1\nhost: [", "at line 2, column 8"),
        ("c.yaml", "? [a]\n: 1\n", "a key must be a plain text"),
        ("c.yaml", "", "is not an object"),
        ("c.yaml", "port: \x07", "is not YAML"),
        ("c.json", "[" * 100_000, "is nested too deeply"),
        ("c.json", "null", "is not an object"),
    ],
)
def test_an_unreadable_document_is_located(
    read: Loader, tmp_path: Path, name: str, text: str, problem: str
) -> None:
    """Line and column where there are any; nothing else is guessed about."""
    faults = read.faults(text, name=name)

    assert [str(tmp_path / name)] == [*faults]
    assert problem in faults[str(tmp_path / name)]


def test_a_file_that_is_not_text_is_a_fault(read: Loader, tmp_path: Path) -> None:
    """UTF-16 for example."""
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{\x00}\x00")

    assert "is not UTF-8 text" in read.faults()["config.json"]


def test_a_missing_file_is_a_fault(read: Loader, tmp_path: Path) -> None:
    """When it was asked for, the environment is no substitute."""
    with pytest.raises(ConfigError, match="there is no file"):
        load(tmp_path / "no.json", environ={}, overrides={})


@pytest.mark.parametrize("name", ["PORT", "REDIS_PORT", "HTTP_KEEPALIVE_CONNECTIONS", "HTTP_POOL_CONNECTIONS",
                                  "RATE_LIMIT_PER_MINUTE", "RATE_LIMIT_ENABLED", "LOG_LEVEL"])  # fmt: skip
def test_a_bad_variable_is_named(read: Loader, name: str) -> None:
    """Not the key that it would have set."""
    assert [name] == [*read.faults(document(), environ={name: "-many"})]


def test_a_variable_cannot_mend_a_broken_section(read: Loader) -> None:
    """The section's fault is told, and the variable changes nothing."""
    assert [*read.faults(document(redis=[]), environ={"REDIS_HOST": "r"})] == ["redis"]


def test_a_directory_is_no_configuration(read: Loader, tmp_path: Path) -> None:
    """The system's word for it is passed on."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, environ={}, overrides={})


def test_an_old_and_a_new_name_together_are_a_fault(read: Loader) -> None:
    """One of the two would be ignored otherwise."""
    faults = read.faults(prod(include=["a"], include_patterns=["b"]))

    assert [*faults] == ["subAccounts.prod.include_patterns"]


def test_a_bad_resource_group_of_the_environment_is_named(read: Loader) -> None:
    """As any other variable."""
    environ = {"AICORE_SERVICE_KEY": json.dumps(SERVICE_KEY), "AICORE_RESOURCE_GROUP": "-"}

    assert [*read.faults(environ=environ)] == ["AICORE_RESOURCE_GROUP"]


def test_a_bad_option_is_named(read: Loader) -> None:
    """As it is written on the command line."""
    assert [*read.faults(document(), log_level="loud")] == ["--log-level"]


def test_a_fallback_that_cannot_exist_is_a_fault(read: Loader) -> None:
    """Where nothing is discovered, every name is known."""
    accounts = {"p": account(discover=False, deployment_models={"gpt-5": url()})}

    faults = read.faults(document(subAccounts=accounts, models={"gpt-4o": {"fallbacks": ["gpt-6"]}}))

    assert faults["models.gpt-4o.fallbacks[0]"] == '"gpt-6" is no configured model; did you mean gpt-5?'


def test_a_default_of_the_wrong_kind_is_a_fault(read: Loader) -> None:
    """It would fail each request."""
    faults = read.faults(document(models={"gpt-5": {"defaults": {"temperature": "hot", "new_field": 1}}}))

    assert ["models.gpt-5.defaults.temperature"] == [*faults]


def test_a_fallback_may_be_discovered_later(read: Loader) -> None:
    """Then its name cannot be checked."""
    assert read(document(models={"gpt-4o": {"fallbacks": ["gpt-6"]}})).models["gpt-4o"].fallbacks == (
        "gpt-6",
    )


def test_a_fault_in_a_key_file_names_the_file_and_the_member(read: Loader, tmp_path: Path) -> None:
    """Beside the key of the configuration that led there."""
    write(tmp_path, {**SERVICE_KEY, "clientid": None, "url": "no url"}, "k.json")

    faults = read.faults(document(subAccounts={"p": {"service_key_json": "k.json"}}))

    place = f"subAccounts.p.service_key_json ({tmp_path / 'k.json'})"
    assert {f"{place} clientid", f"{place} url"} == {*faults}


def test_a_service_key_in_place_of_its_file_is_not_shown(read: Loader) -> None:
    """It has the secret."""
    faults = read.faults(document(subAccounts={"p": {"service_key_json": json.dumps(SERVICE_KEY)}}))

    assert {"subAccounts.p.service_key_json"} == {*faults}
    assert SECRET not in repr(faults)


def test_a_file_that_may_not_be_looked_at_is_a_fault(read: Loader) -> None:
    """The system's word for it is passed on; here, that such a name cannot be."""
    faults = read.faults(document(subAccounts={"p": {"service_key_json": "k" * 300}}))

    assert "cannot be read" in next(iter(faults.values()))


def test_a_broken_key_file_is_located(read: Loader, tmp_path: Path) -> None:
    """With line and column in that file."""
    write(tmp_path, '{"clientid":\n', "k.json")

    faults = read.faults(document(subAccounts={"p": {"service_key_json": "k.json"}}))

    assert "at line 2, column 1" in faults[f"subAccounts.p.service_key_json ({tmp_path / 'k.json'})"]


def test_no_secret_is_in_a_fault(read: Loader) -> None:
    """Whatever is wrong around it; filled-in values are not shown either."""
    content = document(
        secret_authentication_tokens=[[KEY], {"key": KEY, "sha256": "x"}],
        redis={"password": [SECRET]},
        log_level="${S}",
    )
    content["subAccounts"]["prod"]["service_key"] = {**SERVICE_KEY, "certificate": "c", "clientid": [SECRET]}

    text = repr(read.faults(content, environ={"S": SECRET}))

    assert KEY not in text
    assert SECRET not in text
