"""The routes of the Responses API: what becomes of a request before the pipeline."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from sanic import HTTPResponse

from handlers import responses
from services.asking import Ask, caller_tag, prepare
from services.board import Board
from services.calls import Caller, Reply
from services.catalog import Catalog
from services.deployments import AccountDeployments, Deployment
from services.errors import BadRequest, GatewayError, NotFound
from services.gate import Gate
from services.options import SubAccountOptions
from services.translation import stored
from services.translation.replies import Answer
from services.waiting import Lines
from tests.handlers.fakes import FakeHttp, request

ME = Caller(name="me", id=b"m" * 32)
ONLY_CLAUDE = Caller(name="other", id=b"o" * 32, models=("anthropic--*",))
ORIGIN = "main/d-gpt"
MINE = stored.seal("resp_1", ORIGIN, caller_tag(ME))

_DEPLOYMENTS = tuple(
    Deployment(id=name, url="", sub_account="main", resource_group="", executable=kind, model=model)
    for name, kind, model in (
        ("d-gpt", "azure-openai", "gpt-5"),
        ("d-claude", "aws-bedrock", "anthropic--claude-4.6-opus"),
    )
)


class FakePipeline:
    """Translates, and answers with what would go up."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.asks: list[Ask] = []

    async def whole(self, ask: Ask) -> Reply:
        self.asks.append(ask)
        model = self._catalog.resolve(ask.model)
        deployment = model.candidates[0]
        prepared = prepare(ask, model, deployment, api_version="v")
        shown = {"method": prepared.method, "path": prepared.path, "body": prepared.body.decode()}
        ask.call.reply = Reply(
            model=model.name,
            deployment=deployment,
            attempts=1,
            dropped=prepared.dropped,
            upstream_seconds=0.0,
            answer=Answer(msgspec.json.encode(shown)),
        )
        return ask.call.reply


class Gateway:
    """The handlers with a catalog behind them."""

    def __init__(self) -> None:
        self.catalog = Catalog({})
        self.catalog.update({"main": AccountDeployments(SubAccountOptions("main"), {}, _DEPLOYMENTS)})
        self.pipeline = FakePipeline(self.catalog)
        self.told: list[Any] = []

    async def ask(
        self, handler: Any, *path: str, caller: Caller = ME, args: dict[str, str] | None = None, **body: Any
    ) -> dict[str, Any]:
        """What would go up, with the fields of the answer's head."""
        services = SimpleNamespace(
            body_limit=1_000_000,
            gate=Gate(Board().row("in-flight"), limit=1, lines=Lines(seconds=0, length=1)),
            catalog=self.catalog,
            pipeline=self.pipeline,
            journal=SimpleNamespace(close_call=lambda call, body: self.told.append(call)),
        )
        content = msgspec.json.encode(body)
        one = request(
            stream=FakeHttp(content, buffered=content, announced=len(content)),
            app=SimpleNamespace(ctx=SimpleNamespace(services=services)),
            origin="https://chat.example",  # so that the answer is an object
        )
        one.ctx.caller = caller
        one.args = args or {}
        answer = await handler(one, *path)
        assert isinstance(answer, HTTPResponse)
        assert answer.body is not None
        head = dict(answer.processed_headers)
        return {"dropped": head.get(b"x-aicore-dropped", b"").decode(), **json.loads(answer.body)}

    async def refusal(self, handler: Any, *path: str, **more: Any) -> GatewayError:
        """Why it would not go up."""
        with pytest.raises(GatewayError) as caught:
            await self.ask(handler, *path, **more)
        return caught.value


@pytest.fixture
def gateway() -> Gateway:
    """A new one."""
    return Gateway()


def test_every_path_is_served_under_every_prefix() -> None:
    """OpenAI's, without the version, and Azure's two; errors have OpenAI's form on all of them."""
    routes = list(responses.bp._future_routes)
    found = {(method, route.uri) for route in routes for method in route.methods or ()}

    paths = {
        ("POST", ""),
        ("POST", "/compact"),
        ("GET", "/<response_id:str>"),
        ("DELETE", "/<response_id:str>"),
        ("POST", "/<response_id:str>/cancel"),
        ("GET", "/<response_id:str>/input_items"),
    }
    prefixes = ("/v1/responses", "/responses", "/openai/responses", "/openai/v1/responses")
    assert {(method, prefix + path) for prefix in prefixes for method, path in paths} == found
    assert {"responses"} == {route.route_context["surface"] for route in routes}


async def test_a_request_goes_through_the_pipeline(gateway: Gateway) -> None:
    """Any deployment may answer it."""
    up = await gateway.ask(responses.create, model="gpt-5", input="hi", tools=[{"type": "web_search"}])

    assert ("POST", "/responses?api-version=v", "web_search") == (up["method"], up["path"], up["dropped"])
    assert {"input": "hi", "tools": []} == json.loads(up["body"])
    [ask] = gateway.pipeline.asks
    assert ("", "responses", False) == (ask.pinned, ask.call.surface, ask.call.stream)


async def test_one_that_goes_on_is_for_the_deployment_that_keeps_it(gateway: Gateway) -> None:
    """Trap 41: no other knows the response."""
    up = await gateway.ask(responses.create, model="gpt-5", input="more", previous_response_id=MINE)

    assert ORIGIN == gateway.pipeline.asks[0].pinned
    assert "resp_1" == json.loads(up["body"])["previous_response_id"]


@pytest.mark.parametrize("given", ["resp_1", stored.seal("resp_1", ORIGIN, caller_tag(ONLY_CLAUDE))])
async def test_a_previous_response_of_nobodys_is_not_found(gateway: Gateway, given: str) -> None:
    """Neither OpenAI's id, nor another caller's."""
    error = await gateway.refusal(responses.create, model="gpt-5", input="more", previous_response_id=given)

    assert (404, "previous_response_not_found") == (error.status, error.code)
    assert [""] == [ask.pinned for ask in gateway.pipeline.asks]


@pytest.mark.parametrize(
    ("body", "param"), [({"input": "hi"}, "model"), ({"model": "gpt-5", "stream": "yes"}, "stream")]
)
async def test_the_envelope_is_checked(gateway: Gateway, body: dict[str, Any], param: str) -> None:
    """Before anything is asked."""
    error = await gateway.refusal(responses.create, **body)

    assert (400, param) == (error.status, error.param)
    assert [] == gateway.pipeline.asks


async def test_a_conversation_is_made_short(gateway: Gateway) -> None:
    """By models that can."""
    up = await gateway.ask(responses.compact, model="gpt-5", input="hi")

    assert "/responses/compact?api-version=v" == up["path"]


async def test_other_models_cannot(gateway: Gateway) -> None:
    """Refused by the model's name."""
    error = await gateway.refusal(responses.compact, model="anthropic--claude-4.6-opus", input="hi")

    assert isinstance(error, BadRequest)
    assert "anthropic--claude-4.6-opus" in error.public


@pytest.mark.parametrize(
    ("handler", "method", "path"),
    [
        (responses.retrieve, "GET", "/responses/resp_1?api-version=v"),
        (responses.delete, "DELETE", "/responses/resp_1?api-version=v"),
        (responses.cancel, "POST", "/responses/resp_1/cancel?api-version=v"),
    ],
)
async def test_a_stored_response_is_asked_for_where_it_is(
    gateway: Gateway, handler: Any, method: str, path: str
) -> None:
    """Its id says which deployment, and so which model."""
    up = await gateway.ask(handler, MINE, args={"include": "x", "api-version": "y", "stream": "false"})

    assert (method, path, "include") == (up["method"], up["path"], up["dropped"])
    [ask] = gateway.pipeline.asks
    assert ("gpt-5", ORIGIN, "responses") == (ask.model, ask.pinned, ask.call.surface)
    assert [ask.call] == gateway.told


async def test_requests_about_stored_responses_differ(gateway: Gateway) -> None:
    """Else two of them could be taken for the same."""
    other = stored.seal("resp_2", ORIGIN, caller_tag(ME))
    for handler, response_id in (
        (responses.retrieve, MINE),
        (responses.retrieve, other),
        (responses.delete, MINE),
    ):
        await gateway.ask(handler, response_id)

    assert 3 == len({msgspec.json.encode(ask.body) for ask in gateway.pipeline.asks})


@pytest.mark.parametrize("handler", [responses.retrieve, responses.delete, responses.cancel])
@pytest.mark.parametrize(
    ("response_id", "caller"),
    [
        ("resp_1", ME),
        (MINE, ONLY_CLAUDE),
        (stored.seal("resp_1", "main/d-gone", caller_tag(ME)), ME),
        (stored.seal("resp_1", ORIGIN, caller_tag(ONLY_CLAUDE)), ONLY_CLAUDE),
    ],
)
async def test_what_a_caller_may_not_see_is_not_found(
    gateway: Gateway, handler: Any, response_id: str, caller: Caller
) -> None:
    """A foreign id, another caller's, a deployment that is gone, a model that the key is not open to."""
    error = await gateway.refusal(handler, response_id, caller=caller)

    assert isinstance(error, NotFound)
    assert f"Response with id '{response_id}' not found." == error.public
    assert [] == gateway.pipeline.asks


async def test_a_stored_response_does_not_come_as_a_stream(gateway: Gateway) -> None:
    """Refused by name."""
    error = await gateway.refusal(responses.retrieve, MINE, args={"stream": "true"})

    assert (400, "stream") == (error.status, error.param)


async def test_input_items_are_not_listed(gateway: Gateway) -> None:
    """SAP AI Core has no such path."""
    error = await gateway.refusal(responses.input_items, MINE)

    assert isinstance(error, NotFound)
    assert "SAP AI Core" in error.public
