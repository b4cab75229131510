"""Which model answers: fallbacks, and what is refused before any attempt."""

from __future__ import annotations

import json

import pytest

from services.calls import Caller
from services.errors import BadRequest, NoDeployment, RateLimited, UnknownModel
from services.options import ModelOptions
from services.translation import embeddings
from tests.services.pipeline_kit import STREAM, Kit, asked, error, failing, whole

# --- fallbacks ---


@pytest.mark.parametrize("stream", [False, True])
async def test_trap_56_a_fallback_is_visible(stream: bool) -> None:
    """Trap 56: where it is configured, another model answers, under its own name."""
    models = {"gpt-4o": ModelOptions(fallbacks=("nobody", "gpt-4.1"))}
    kit = Kit(("one", "d1"), ("one", "d2", "gpt-4.1"), models=models)
    kit.script(d1=(429, error()), d2=(200, STREAM if stream else whole()))
    body = await asked(kit, stream=stream)

    assert b'"model":"gpt-4.1"' in body
    call = kit.calls[0]
    assert call.reply is not None
    assert ("gpt-4o", "gpt-4.1", 2) == (call.model, call.reply.model, call.reply.attempts)
    assert {} == kit.in_flight


async def test_trap_56_without_configuration_there_is_none() -> None:
    """Trap 56: another model is never asked by itself."""
    kit = Kit(("one", "d1"), ("one", "d2", "gpt-4.1"))
    kit.script(d1=(429, error()))
    await failing(lambda: asked(kit, stream=False))

    assert ["d1"] == kit.upstream.asked


async def test_when_the_fallbacks_fail_too_the_first_failure_is_told() -> None:
    """It is the one about the model that was asked for."""
    kit = Kit(
        ("one", "d1"), ("one", "d2", "gpt-4.1"), models={"gpt-4o": ModelOptions(fallbacks=("gpt-4.1",))}
    )
    kit.script(d1=(429, error("first")), d2=(400, error("second")))
    caught = await failing(lambda: asked(kit, stream=False))

    assert ("first", ["d1", "d2"]) == (caught.public, kit.upstream.asked)


async def test_a_refusal_needs_no_fallback() -> None:
    """Another model is not asked what this one refused."""
    kit = Kit(
        ("one", "d1"), ("one", "d2", "gpt-4.1"), models={"gpt-4o": ModelOptions(fallbacks=("gpt-4.1",))}
    )
    kit.script(d1=(400, error()))
    await failing(lambda: asked(kit, stream=False))

    assert ["d1"] == kit.upstream.asked


async def test_a_model_without_deployments_has_its_fallback() -> None:
    """That is when it is needed most."""
    kit = Kit(("one", "d1"), models={"gone": ModelOptions(fallbacks=("nobody", "gpt-4o"))})
    reply = await kit.pipeline.whole(kit.ask("gone"))

    assert "gpt-4o" == reply.model


# --- before any attempt ---


async def test_a_model_that_nothing_serves_is_a_503() -> None:
    """Nothing is sent."""
    kit = Kit(("one", "d1"), models={"gone": ModelOptions(fallbacks=("nobody",))})

    with pytest.raises(NoDeployment):
        await kit.pipeline.whole(kit.ask("gone"))


async def test_trap_56_an_unknown_model_is_a_404() -> None:
    """Trap 56: with the name that was asked for."""
    with pytest.raises(UnknownModel, match="gpt-9"):
        await Kit(("one", "d1")).pipeline.whole(Kit().ask("gpt-9"))


async def test_a_model_that_the_key_is_not_for_does_not_exist() -> None:
    """Its name is not confirmed."""
    kit = Kit(("one", "d1"))
    caller = Caller(name="c", id=b"c", models=("text-*",))

    with pytest.raises(UnknownModel) as caught:
        await kit.pipeline.whole(kit.ask(caller=caller))
    assert "Did you mean" not in str(caught.value)


async def test_a_family_that_is_not_spoken_is_said_to_be() -> None:
    """400 naming the kind of deployment."""
    kit = Kit(("one", "d1"), models={"gpt-4o": ModelOptions(family="aicore-sap")})

    with pytest.raises(BadRequest, match="aicore-sap"):
        await kit.pipeline.whole(kit.ask())


async def test_the_limit_of_requests_comes_first() -> None:
    """Beyond it nothing is sent."""
    kit = Kit(("one", "d1"), per_minute=1)
    await kit.pipeline.whole(kit.ask())

    with pytest.raises(RateLimited):
        await kit.pipeline.whole(kit.ask())
    assert ["d1"] == kit.upstream.asked


async def test_a_fallback_that_takes_fewer_texts_embeds_them_all() -> None:
    """Whoever answers in the end gets no more than it takes: nothing is cut off."""
    titan = "amazon--titan-embed-text"
    kit = Kit(
        ("one", "d1", "text-embedding-3-small"),
        ("one", "d2", titan),
        models={
            "text-embedding-3-small": ModelOptions(fallbacks=(titan,)),
            titan: ModelOptions(family="aws-bedrock"),
        },
    )
    kit.script(d1=(503, b"down"), d2=(200, b'{"embedding":[1.5],"inputTextTokenCount":2}'))
    ask = kit.ask("text-embedding-3-small", input=["a", "b", "c"])
    ask.call.surface, ask.prepare = "embeddings", embeddings.prepare

    reply = await kit.pipeline.whole(ask)

    assert reply.answer is not None
    assert [0, 1, 2] == [item["index"] for item in json.loads(reply.answer.body)["data"]]


async def test_an_answer_to_go_on_from_that_another_model_made_is_refused_by_name() -> None:
    """Its deployment runs, but not this model."""
    kit = Kit(("one", "d1"), ("one", "d2", "gpt-5"))
    ask = kit.ask()
    ask.pinned = "one/d2"

    refused = await failing(lambda: kit.pipeline.whole(ask))

    assert (404, "previous_response_id") == (refused.status, refused.param)
    assert not kit.upstream.asked
