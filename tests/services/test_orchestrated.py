"""Chat requests with an `orchestration` object of their own."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import msgspec
import pytest

from services.asking import Ask
from services.calls import ANONYMOUS, Caller
from services.deployments import Deployment
from services.errors import BadRequest, UnknownModel
from services.options import ModelOptions
from services.translation import translate
from tests.services.pipeline_kit import Kit, error, failing, whole

MODULES = {"translation": {"input": {}}}
ANSWER = msgspec.json.encode({"final_result": msgspec.Raw(whole("through"))})
MASKED = ModelOptions(orchestration={"masking": {"providers": []}})


def kit(*deployments: tuple[str, str] | tuple[str, str, str], **options: Any) -> Kit:
    """A pipeline whose sub-account has orchestration besides these deployments."""
    made = Kit(*(deployments or (("one", "d1"),)), **options)
    url = "https://api.example/v2/inference/deployments/orch"
    made.deployments.append(Deployment("orch", url, "one", "default", "orchestration"))
    made.use(made.upstream)
    made.script(orch=(200, ANSWER))
    return made


def ask(made: Kit, *, model: str = "gpt-4o", caller: Caller = ANONYMOUS, **members: Any) -> Ask:
    """A request of a chat client."""
    body = {"messages": [{"role": "user", "content": "hi"}]} | members
    asked = made.ask(model, caller=caller, **body)
    asked.prepare = partial(translate.prepare, surface="chat", stream=False)
    return asked


def sent(made: Kit) -> list[tuple[str, Any]]:
    """Which deployment was asked, with which document."""
    return [(one, json.loads(body)) for one, _, body, _ in made.upstream.sent]


def models(document: Any) -> list[str]:
    """The models of all module configurations."""
    configured = document["config"]["modules"]
    configurations = configured if isinstance(configured, list) else [configured]
    return [one["prompt_templating"]["model"]["name"] for one in configurations]


async def test_modules_lead_through_orchestration() -> None:
    """Also a model that has deployments of its own."""
    made = kit()
    reply = await made.pipeline.whole(ask(made, orchestration=MODULES))
    [(deployment, document)] = sent(made)

    assert ("orch", ["gpt-4o"]) == (deployment, models(document))
    assert {} == document["config"]["modules"]["translation"]["input"]
    assert reply.answer is not None
    assert b"through" in reply.answer.body
    assert ("gpt-4o", "orch") == (reply.model, reply.deployment.id)


async def test_without_a_deployment_of_orchestration_there_are_no_modules() -> None:
    """They are never left out in silence."""
    made = Kit(("one", "d1"))
    caught = await failing(lambda: made.pipeline.whole(ask(made, orchestration=MODULES)))

    assert (BadRequest, "orchestration", []) == (type(caught), caught.param, made.upstream.asked)


async def test_a_null_object_asks_for_nothing() -> None:
    """It does not go up either."""
    made = kit()
    await made.pipeline.whole(ask(made, orchestration=None))
    [(deployment, document)] = sent(made)

    assert ("d1", False) == (deployment, "orchestration" in document)


async def test_other_surfaces_have_no_such_object() -> None:
    """There it is a member like any other."""
    made = kit()
    asked = ask(made, orchestration={"filtering": False})
    asked.call.surface = "messages"
    await made.pipeline.whole(asked)

    assert ["d1"] == made.upstream.asked


async def test_an_object_of_another_kind_is_refused() -> None:
    """By name."""
    made = kit()
    caught = await failing(lambda: made.pipeline.whole(ask(made, orchestration="on")))

    assert (BadRequest, "orchestration") == (type(caught), caught.param)


# --- fallbacks that the caller names --------------------------------------------------------------------


async def test_fallbacks_are_public_names() -> None:
    """Orchestration gets the backend's."""
    made = kit(("one", "d1"), ("one", "d2", "gpt-4.1"), models={"gpt-4.1": ModelOptions(aliases=("next",))})
    asked = ask(made, orchestration={"fallbacks": ["next", "sap-abap-1"]})
    body = asked.body
    await made.pipeline.whole(asked)

    assert ["gpt-4o", "gpt-4.1", "sap-abap-1"] == models(sent(made)[0][1])
    assert b'"next"' in bytes(body["orchestration"])


@pytest.mark.parametrize("name", ["gpt-4.1", "no-such-model"])
async def test_a_fallback_that_the_caller_may_not_use(name: str) -> None:
    """It does not exist for that caller, as any other."""
    made = kit(("one", "d1"), ("one", "d2", "gpt-4.1"))
    limited = Caller(name="k", id=b"k", models=("gpt-4o",))
    asked = ask(made, caller=limited, orchestration={"fallbacks": [name]})
    caught = await failing(lambda: made.pipeline.whole(asked))

    assert (UnknownModel, []) == (type(caught), made.upstream.asked)


@pytest.mark.parametrize(
    ("name", "options"),
    [(7, {}), ("gpt-4.1", {"gpt-4.1": MASKED}), ("far", {"far": ModelOptions(sub_accounts=("two",))})],
    ids=["no name", "modules of its own", "not there"],
)
async def test_a_fallback_that_cannot_stand_in(name: Any, options: dict[str, ModelOptions]) -> None:
    """One that is masked must not be reached without its masking."""
    made = kit(("one", "d1"), ("one", "d2", "gpt-4.1"), models=options)
    caught = await failing(lambda: made.pipeline.whole(ask(made, orchestration={"fallbacks": [name]})))

    assert (BadRequest, "orchestration.fallbacks") == (type(caught), caught.param)


async def test_a_fallback_with_the_same_modules_may_stand_in() -> None:
    """Nothing is lost on the way."""
    made = kit(("one", "d1"), ("one", "d2", "gpt-4.1"), models={"gpt-4o": MASKED, "gpt-4.1": MASKED})
    await made.pipeline.whole(ask(made, orchestration={"fallbacks": ["gpt-4.1"]}))

    assert ["gpt-4o", "gpt-4.1"] == models(sent(made)[0][1])


# --- fallbacks that are configured ----------------------------------------------------------------------


async def test_a_configured_fallback_goes_through_orchestration_too() -> None:
    """The caller's modules are around it as well."""
    options = {"gpt-4o": ModelOptions(fallbacks=("gpt-4.1",))}
    made = kit(("one", "d1"), ("one", "d2", "gpt-4.1"), models=options)
    made.script(orch=[(429, error()), (200, ANSWER)])
    reply = await made.pipeline.whole(ask(made, orchestration=MODULES))

    assert "gpt-4.1" == reply.model
    assert [("orch", ["gpt-4o"]), ("orch", ["gpt-4.1"])] == [(one, models(doc)) for one, doc in sent(made)]


async def test_an_unserved_model_with_a_fallback_without_orchestration() -> None:
    """No model is asked without the modules."""
    options = {"gpt-4o": ModelOptions(fallbacks=("gpt-4.1",))}
    made = Kit(("one", "d1", "gpt-4.1"), models=options)
    caught = await failing(lambda: made.pipeline.whole(ask(made, orchestration=MODULES)))

    assert ("orchestration", []) == (caught.param, made.upstream.asked)
