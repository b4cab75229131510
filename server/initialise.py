"""`aicore-gateway init`: look at the tenant and write a first configuration."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from server.credentials import from_environment, read_service_key
from server.faults import ConfigError, Faults
from server.init_config import from_key_file, from_variables, text_of
from server.keys import new_key
from server.settings import Settings, SubAccount
from services.control_plane import open_client
from services.deployments import Discovery
from services.errors import GatewayError
from services.options import SubAccountOptions
from services.tokens import TokenProvider


def write_configuration(service_key: Path | None, resource_group: str | None, output: Path) -> None:
    """Write the file, and tell what was found and what to do next. Raises click.ClickException."""
    key = new_key()
    settings = _settings(service_key, resource_group)
    found = asyncio.run(_discover(settings))
    if service_key is not None:
        named = os.path.relpath(service_key, output.resolve().parent)
        group = settings.sub_accounts[0].options.resource_group
        document = from_key_file(named, found=found, resource_group=group, key=key)
    else:
        environ = {**os.environ, **({"AICORE_RESOURCE_GROUP": resource_group} if resource_group else {})}
        document = from_variables(environ, found=found, key=key)
    try:
        output.write_text(text_of(document), encoding="utf-8")
    except OSError as exc:
        raise click.ClickException(f"{output} cannot be written: {exc.strerror}") from exc
    models = sorted({model for model, _ in found if model})
    click.echo(f"wrote {output}; found {len(found)} running deployments of {len(models)} models:")
    for model in models:
        click.echo(f"  {model}")
    click.echo(f"\nYour client key, shown only now (the file has its SHA-256):\n  {key.key}\n")
    click.echo(f"Next:\n  aicore-gateway check --config {output}\n  aicore-gateway serve --config {output}")


def _settings(service_key: Path | None, resource_group: str | None) -> Settings:
    faults = Faults()
    if service_key is not None:
        group = os.environ.get("AICORE_RESOURCE_GROUP") or "default"
        credential = read_service_key(
            str(service_key), name="default", base=Path(), faults=faults, place="--service-key"
        )
    else:
        known = from_environment(os.environ, name="default", faults=faults)
        credential, group = known.credential, known.resource_group
    if credential is None and not faults:
        raise click.ClickException("no credential: give --service-key FILE, or set the AICORE_* variables")
    if credential is None or faults:
        raise click.ClickException(str(ConfigError(faults, source="the service key")))
    options = SubAccountOptions(name="default", resource_group=resource_group or group)
    return Settings(sub_accounts=(SubAccount(credential, options),))


async def _discover(settings: Settings) -> list[tuple[str, str]]:
    """Return model and id of each running deployment. Raises click.ClickException."""
    account = settings.sub_accounts[0]
    tokens, http = TokenProvider(account.credential), open_client()
    try:
        found = await Discovery(account.options, account.credential, tokens=tokens, http=http).read()
    except GatewayError as exc:
        raise click.ClickException(f"{exc}\nNothing was written.") from exc
    finally:
        await tokens.close()
        await http.aclose()
    return [(one.model, one.id) for one in found.deployments]
