"""The README says what the code does."""

from __future__ import annotations

import re
import tomllib

from server.readme import README, filled

TEXT = README.read_text(encoding="utf-8")


def test_the_generated_tables_are_those_of_the_code() -> None:
    """`python -m server.readme` would change nothing (trap 62)."""
    assert filled(TEXT) == TEXT


def test_keys_within_keys_are_described() -> None:
    """Members of objects in lists and maps too: nothing else tells of them."""
    for key in (
        "secret_authentication_tokens[].models",
        "models.*.rules.drop",
        "models.*.timeouts.stall",
        "subAccounts.*.deployment_models.*[].weight",
    ):
        assert f"| `{key}` |" in TEXT


def test_every_dependency_has_its_reason() -> None:
    """Each package of the project's metadata stands in the table of dependencies."""
    project = tomllib.loads(README.with_name("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    names = {re.split(r"[<>=;\[ ]", name)[0].lower() for name in [*project["dependencies"], *extras]}
    table = TEXT[TEXT.index("### Dependencies") :].lower()

    assert {name for name in names if name not in table} == set()


def test_every_target_that_the_readme_names_exists() -> None:
    """`make x` in the README is a target of the Makefile (trap 62)."""
    makefile = README.with_name("Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z-]+)", TEXT, re.MULTILINE))

    assert {name for name in named if f"\n{name}:" not in makefile} == set()
