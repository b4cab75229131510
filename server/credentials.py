"""Service keys, and the environment variables, profiles and bindings of SAP's SDKs.

Everything is brought to the member names of a service key first, then checked in one place, so that a fault
names the member or the variable that the reader can change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from server.faults import Faults
from server.reading import UNREADABLE, is_there, parse_json, read_text
from services.credentials import Credential

_HTTP_URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*\Z")
_API_OF_DEPLOYMENT = re.compile(r"(https?://.+?)/inference/deployments/")

_API_URL = "serviceurls.AI_API_URL"
_SECRET, _CERT_FILES, _CERT_TEXTS = "client secret", "certificate files", "certificate texts"

# Member of the service key (flattened) → environment variable and key of a profile.
_VARIABLES: Mapping[str, str] = {
    "clientid": "AICORE_CLIENT_ID",
    "clientsecret": "AICORE_CLIENT_SECRET",
    "url": "AICORE_AUTH_URL",
    _API_URL: "AICORE_BASE_URL",
    "certurl": "AICORE_CERT_URL",
    "certificate": "AICORE_CERT_STR",
    "key": "AICORE_KEY_STR",
    "certificate_file": "AICORE_CERT_FILE_PATH",
    "key_file": "AICORE_KEY_FILE_PATH",
}
_IN_SERVICE_KEYS = ("identityzoneid", *(name for name in _VARIABLES if not name.endswith("_file")))
_RESOURCE_GROUP = "AICORE_RESOURCE_GROUP"
_SINGLE = "AICORE_* variables"
_PROFILE = "profile "

# Authentication method → the members that make it up.
_METHODS: Mapping[str, tuple[str, ...]] = {
    _SECRET: ("clientsecret",),
    _CERT_TEXTS: ("certificate", "key"),
    _CERT_FILES: ("certificate_file", "key_file"),
}

Members = dict[str, str]
Report = Callable[[str, str, str], None]
"""Takes a member's name (empty: the whole), what is wrong with it, and what would be right."""


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """What the environment says: a credential if any source has a value, and the resource group."""

    credential: Credential | None
    resource_group: str
    source: str
    """The source that supplied the credential; empty if none did."""


def api_url_of(deployment_url: str) -> str:
    """Return the API URL that a deployment's URL begins with, or an empty text."""
    match = _API_OF_DEPLOYMENT.match(deployment_url)
    return match[1] if match else ""


def from_service_key(document: Any, *, name: str, report: Report, api_url: str = "") -> Credential | None:
    """Make a credential of a service key document, wrapped in `credentials` or not.

    `api_url` is used when the document has no `serviceurls`. Every fault goes to `report`; then there is
    no credential.
    """
    members = _members(document, report)
    if members is None:
        return None
    if api_url:
        members.setdefault(_API_URL, api_url)
    return _credential(members, name=name, report=report)


def read_service_key(
    path: str, *, name: str, base: FilePath, faults: Faults, place: str, api_url: str = ""
) -> Credential | None:
    """Read a service key file, relative to `base`, then to the working directory; faults name `place`."""
    if path.lstrip().startswith("{"):  # must not be shown as a file that is missing
        faults.add_outside(place, "is a service key itself", "name its file, or use service_key instead")
        return None
    file = next((one for one in (base / path, FilePath(path)) if is_there(one)), base / path)
    text = read_text(file, place, faults)
    if text is None:
        return None
    document = parse_json(text, f"{place} ({file})", faults)
    if document is UNREADABLE:
        return None

    def report(member: str, problem: str, remedy: str) -> None:
        faults.add_outside(f"{place} ({file}){f' {member}' if member else ''}", problem, remedy)

    for key in getattr(document, "repeated", ()):
        report(key, "is given twice", "keep one of them")
    return from_service_key(document, name=name, report=report, api_url=api_url)


def _members(document: Any, report: Report) -> Members | None:
    if isinstance(document, dict) and isinstance(document.get("credentials"), dict):
        document = document["credentials"]
    if not isinstance(document, dict):
        report("", "is not a service key", "give the JSON object that SAP BTP shows for the service key")
        return None
    urls = document.get("serviceurls")
    flat = {**document, _API_URL: urls.get("AI_API_URL") if isinstance(urls, dict) else None}
    return _texts({member: flat.get(member) for member in _IN_SERVICE_KEYS}, report)


def _texts(values: Mapping[str, Any], report: Report) -> Members:
    for member, value in values.items():
        if value is not None and not isinstance(value, str):
            report(member, "is not a text", "give it in quotes")
    return {
        member: text for member, value in values.items() if isinstance(value, str) and (text := value.strip())
    }


def _credential(members: Members, *, name: str, report: Report) -> Credential | None:
    good = True

    def fail(member: str, problem: str, remedy: str) -> None:
        nonlocal good
        good = False
        report(member, problem, remedy)

    method = _method(members, fail)
    auth = _auth_member(members, method)
    _check_members(members, auth, fail)
    cert, key = _certificate(members, method, fail)
    if not good:
        return None
    return Credential(
        name=name,
        client_id=members["clientid"],
        token_url=members[auth],
        api_url=members[_API_URL],
        client_secret=members["clientsecret"] if method == _SECRET else None,
        cert_pem=cert,
        key_pem=key,
        tenant_id=members.get("identityzoneid", ""),
    )


def _auth_member(members: Members, method: str | None) -> str:
    """Return which of the two hosts gives tokens: the one for certificates, or the ordinary one."""
    preferred, other = ("certurl", "url") if method in (_CERT_TEXTS, _CERT_FILES) else ("url", "certurl")
    return preferred if preferred in members or other not in members else other


def _check_members(members: Members, auth: str, fail: Report) -> None:
    for member in ("clientid", auth, _API_URL):
        if member not in members:
            fail(member, "is missing", _REMEDIES[member])
        elif member != "clientid" and not _HTTP_URL.match(members[member]):
            fail(member, "is not a URL", _REMEDIES[member])


_REMEDIES: Mapping[str, str] = {
    "clientid": "take it from the service key, it begins with sb-",
    "url": "give https://<subdomain>.authentication.<region>.hana.ondemand.com",
    "certurl": "give https://<subdomain>.authentication.cert.<region>.hana.ondemand.com",
    _API_URL: "give https://api.ai.<region>.ml.hana.ondemand.com",
}


def _method(members: Members, fail: Report) -> str | None:
    """Return the one authentication method; report a missing, a half or a second one."""
    begun = [method for method, parts in _METHODS.items() if any(part in members for part in parts)]
    if not begun:
        fail("clientsecret", "is missing", "give it, or certificate and key of an X.509 service key")
        return None
    if len(begun) > 1:
        fail("", f"has more than one authentication: {' and '.join(begun)}", "keep exactly one")
        return None
    for part in _METHODS[begun[0]]:
        if part not in members:
            fail(part, "is missing", "a certificate and its private key belong together")
    return begun[0]


def _certificate(members: Members, method: str | None, fail: Report) -> tuple[str | None, str | None]:
    if method not in (_CERT_TEXTS, _CERT_FILES):
        return None, None
    pair = [_pem(members, member, fail) for member in _METHODS[method]]
    return pair[0], pair[1]


def _pem(members: Members, member: str, fail: Report) -> str | None:
    text: str | None = members.get(member)
    if text is not None and member.endswith("_file"):
        text = _pem_file(text, member, fail)
    if text is None:
        return None
    text = text.replace("\\n", "\n")  # often escaped once too often
    if "-----BEGIN " not in text:
        fail(member, "is not in PEM form", "it begins with -----BEGIN")
        return None
    return text


def _pem_file(path: str, member: str, fail: Report) -> str | None:
    try:
        return FilePath(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as exc:
        fail(member, f"{path} cannot be read: {exc}", "give the path of a PEM file")
        return None


def from_environment(
    environ: Mapping[str, str], *, name: str, faults: Faults, api_url: str = ""
) -> FromEnvironment:
    """Look in AICORE_SERVICE_KEY, the single variables, the profile and VCAP_SERVICES, in this order.

    The first source that supplies any value supplies all; the resource group is looked for on its own, as
    SAP's SDKs do.
    """
    profile, profile_place = _profile(environ, faults)
    sources: tuple[tuple[str, Callable[[], Members]], ...] = (
        ("AICORE_SERVICE_KEY", lambda: _service_key_variable(environ, faults)),
        (_SINGLE, lambda: _by_variable(environ)),
        (f"{_PROFILE}{profile_place}", lambda: _by_variable(profile)),
        ("VCAP_SERVICES", lambda: _binding(environ, faults)),
    )
    group = environ.get(_RESOURCE_GROUP) or profile.get(_RESOURCE_GROUP) or "default"
    for source, read in sources:
        members = read()
        if members:
            report = _reporter(source, faults)
            if api_url:
                members.setdefault(_API_URL, api_url)
            return FromEnvironment(_credential(members, name=name, report=report), group, source)
    return FromEnvironment(None, group, "")


def _reporter(source: str, faults: Faults) -> Report:
    """Name the variable where there is one for each member, else the member within the source."""

    def report(member: str, problem: str, remedy: str) -> None:
        if source.startswith(_PROFILE):
            place = f"{source} {_VARIABLES.get(member, '')}".strip()
        elif source == _SINGLE:
            place = _VARIABLES.get(member, source)
        else:
            place = f"{source} {member}".strip()
        faults.add_outside(place, problem, remedy)

    return report


def _by_variable(values: Mapping[str, str]) -> Members:
    return {member: text for member, name in _VARIABLES.items() if (text := values.get(name, "").strip())}


def _service_key_variable(environ: Mapping[str, str], faults: Faults) -> Members:
    text = environ.get("AICORE_SERVICE_KEY", "").strip()
    document = parse_json(text, "AICORE_SERVICE_KEY", faults) if text else UNREADABLE
    if document is UNREADABLE:
        return {}
    return _members(document, _reporter("AICORE_SERVICE_KEY", faults)) or {}


def _binding(environ: Mapping[str, str], faults: Faults) -> Members:
    text = environ.get("VCAP_SERVICES", "").strip()
    document = parse_json(text, "VCAP_SERVICES", faults) if text else UNREADABLE
    if not isinstance(document, dict):
        return {}
    bound = [
        one
        for group in document.values()
        if isinstance(group, list)
        for one in group
        if isinstance(one, dict)
    ]
    found = next((one.get("credentials") for one in bound if one.get("label") == "aicore"), None)
    return {} if found is None else _members(found, _reporter("VCAP_SERVICES", faults)) or {}


def _profile(environ: Mapping[str, str], faults: Faults) -> tuple[dict[str, str], str]:
    """Return the profile's values and its path; a profile that was asked for by name must exist."""
    file, asked_by = _profile_file(environ)
    place = str(file)
    if not os.path.isfile(file):  # false also where we may not look, such as another user's home
        if asked_by:
            faults.add_outside(
                asked_by, f"names the profile {file}, which does not exist", "correct it, or unset it"
            )
        return {}, place
    text = read_text(file, place, faults)
    document = parse_json(text, place, faults) if text is not None else UNREADABLE
    if document is UNREADABLE:
        return {}, place
    if not isinstance(document, dict):
        faults.add_outside(
            place, "is not an object", "give variable names and values, such as AICORE_CLIENT_ID"
        )
        return {}, place
    return {key: str(value) for key, value in document.items() if value}, place


def _profile_file(environ: Mapping[str, str]) -> tuple[FilePath, str]:
    if explicit := environ.get("AICORE_CONFIG"):
        return FilePath(explicit).expanduser(), "AICORE_CONFIG"
    home = FilePath(environ.get("AICORE_HOME") or _home(environ) / ".aicore").expanduser()
    profile = environ.get("AICORE_PROFILE", "")
    if profile in ("", "default"):
        return home / "config.json", ""
    return home / f"config_{profile}.json", "AICORE_PROFILE"


def _home(environ: Mapping[str, str]) -> FilePath:
    return FilePath(environ["HOME"]) if environ.get("HOME") else FilePath.home()
