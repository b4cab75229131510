"""Good and bad requests against the real process: keys, bodies, paths, heads, documents."""

from __future__ import annotations

import gzip
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sanic import Sanic

from perf.simulator.launch import CLIENT_KEY, Simulator
from server.app import build_app
from server.config import load
from tests.e2e.bodies import CHAT, chat, content, within
from tests.e2e.conftest import BODY_LIMIT, HASHED_KEY, OTHER_KEY, RESTRICTED_KEY, Stack

pytestmark = pytest.mark.e2e

PUBLIC = {"/", "/health", "/health/live", "/health/ready", "/openapi.json"}
METHODS = ("get", "post", "put", "patch", "delete")


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert answer.headers["x-request-id"]
    return error


@pytest.fixture(scope="module")
def routes(shared_stack: Stack) -> Iterator[list[tuple[str, str]]]:
    """Every method and path of the application, the libraries' ones included."""
    settings = load(shared_stack.gateway.config, environ={}, overrides={})
    Sanic.test_mode = True
    app = build_app(settings)
    app.finalize()
    yield sorted(
        (method.lower(), "/" + re.sub(r"<(\w+)(?::[^>]*)?>", r"{\1}", route.path))
        for route in app.router.routes
        for method in route.methods
    )
    Sanic.test_mode = False


# --- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [None, "x", "sk-wrong", CLIENT_KEY[:-1], CLIENT_KEY + "x", CLIENT_KEY.upper()]
)
def test_a_wrong_key_is_refused(anonymous: httpx.Client, tenant: Simulator, key: str | None) -> None:
    """No key and every wrong one get the same 401, and nothing goes upstream (trap 50)."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = anonymous.post(CHAT, json=chat(), headers=headers)

    assert (401, "Bearer") == (answer.status_code, answer.headers["www-authenticate"])
    assert ("authentication_error", "invalid_api_key") == (
        error_of(answer)["type"],
        error_of(answer)["code"],
    )
    assert 0 == tenant.stats()["requests"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {CLIENT_KEY}"},
        {"authorization": f"bearer {CLIENT_KEY}"},
        {"x-api-key": CLIENT_KEY},
        {"api-key": CLIENT_KEY},
        {"x-goog-api-key": CLIENT_KEY},
        {"authorization": "Bearer placeholder", "x-api-key": CLIENT_KEY},
    ],
)
def test_a_key_is_taken_from_each_head(anonymous: httpx.Client, headers: dict[str, str]) -> None:
    """Bearer, x-api-key, api-key and x-goog-api-key; a placeholder in one does not spoil another."""
    assert 200 == anonymous.post(CHAT, json=chat(), headers=headers).status_code


def test_a_key_known_by_its_digest_is_taken(shared: Stack) -> None:
    """The configuration may hold a key's SHA-256 only."""
    with shared.client(HASHED_KEY) as client:
        assert 200 == client.post(CHAT, json=chat()).status_code


def test_a_digest_is_no_key(shared: Stack) -> None:
    """Who reads the configuration cannot call."""
    digest = next(
        key for key in json.loads(shared.gateway.config.read_text())["secret_authentication_tokens"][2:]
    )
    with shared.client(digest) as whole, shared.client(digest.removeprefix("sha256:")) as bare:
        assert [401, 401] == [client.post(CHAT, json=chat()).status_code for client in (whole, bare)]


def test_a_restricted_key_has_its_models(shared: Stack) -> None:
    """A key for mistral* gets an answer of Mistral."""
    with shared.client(RESTRICTED_KEY) as client:
        assert 200 == client.post(CHAT, json=chat(model="mistralai--mistral-small")).status_code


@pytest.mark.parametrize("path", [CHAT, "/openai/deployments/gpt-5/chat/completions"])
def test_a_restricted_key_has_no_others(shared: Stack, path: str) -> None:
    """Other models do not exist for it, neither by name nor in the message."""
    with shared.client(RESTRICTED_KEY) as client:
        answer = client.post(path, json=chat())

    assert (404, "model_not_found") == (answer.status_code, error_of(answer)["code"])
    assert "gpt-4" not in error_of(answer)["message"]


def test_a_restricted_key_sees_its_models_only(shared: Stack) -> None:
    """The list and the description are restricted as well."""
    with shared.client(RESTRICTED_KEY) as client:
        names = [model["id"] for model in client.get("/v1/models").json()["data"]]
        described = client.get("/v1/models/gpt-5").status_code

    assert (["mistralai--mistral-small"], 404) == (names, described)


# --- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "near"),
    [("gpt-4.l", "gpt-4.1"), ("gpt5", "gpt-5"), ("mistral-smal", "mistralai--mistral-small"), ("zzz", "")],
)
def test_a_wrong_model_is_told_with_near_names(http: httpx.Client, asked: str, near: str) -> None:
    """404 names what was asked for and what may have been meant (trap 56)."""
    answer = http.post(CHAT, json=chat(model=asked))

    assert (404, "model_not_found") == (answer.status_code, error_of(answer)["code"])
    assert asked in error_of(answer)["message"]
    assert near in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("body", "param", "word"),
    [
        (b"", None, "empty"),
        (b"  \n", None, "empty"),
        (b"{", None, "not JSON"),
        (b'{"model": "gpt-5",}', None, "not JSON"),
        (b"[]", None, "object"),
        (b'"gpt-5"', None, "object"),
        (b"\xff\xfe", None, ""),
        (b"[" * 100_000, None, ""),
        (b'{"messages": []}', "model", "required"),
        (b'{"model": null, "messages": []}', "model", "required"),
        (b'{"model": 5, "messages": []}', "model", "string"),
        (b'{"model": "gpt-5"}', "messages", "required"),
        (b'{"model": "gpt-5", "messages": null}', "messages", "required"),
        (b'{"model": "gpt-5", "messages": "hello"}', "messages", "array"),
        (b'{"model": "gpt-5", "messages": [], "stream": "yes"}', "stream", "true or false"),
        (b'{"model": "gpt-5", "messages": [], "stream": 1}', "stream", "true or false"),
        (
            b'{"model": "gpt-5", "messages": [], "stream": true, "stream_options": "all"}',
            "stream_options",
            "",
        ),
    ],
)
def test_a_broken_body_is_named(http: httpx.Client, body: bytes, param: str | None, word: str) -> None:
    """400 says what is wrong, and where there is a field, which."""
    answer = http.post(CHAT, content=body, headers={"content-type": "application/json"})
    error = error_of(answer)

    assert (400, "invalid_request_error", param) == (answer.status_code, error["type"], error["param"])
    assert word in error["message"]


@pytest.mark.parametrize(
    ("body", "param"), [({"model": "text-embedding-3-small"}, "input"), ({"input": "one"}, "model")]
)
def test_embeddings_name_what_is_missing(http: httpx.Client, body: Any, param: str) -> None:
    """The same for embeddings."""
    answer = http.post("/v1/embeddings", json=body)

    assert (400, param) == (answer.status_code, error_of(answer)["param"])


def test_a_surface_names_a_model_of_another(http: httpx.Client) -> None:
    """An embedding model does not chat, and a chat model does not embed: 400 at `model`."""
    answers = [
        http.post(CHAT, json=chat(model="text-embedding-3-small")),
        http.post("/v1/embeddings", json={"model": "gpt-5", "input": "one"}),
    ]

    assert [(400, "model")] * 2 == [(one.status_code, error_of(one)["param"]) for one in answers]


def test_a_huge_body_is_refused_by_its_announcement(shared: Stack, tenant: Simulator) -> None:
    """413 in the envelope before the body is read."""
    connection = http.client.HTTPConnection("127.0.0.1", shared.gateway.port, timeout=10)
    connection.putrequest("POST", CHAT)
    connection.putheader("Authorization", f"Bearer {CLIENT_KEY}")
    connection.putheader("Content-Length", str(BODY_LIMIT + 1))
    connection.endheaders()
    answer = connection.getresponse()
    error = json.loads(answer.read())["error"]
    connection.close()

    assert (413, "request_too_large", "invalid_request_error") == (
        answer.status,
        error["code"],
        error["type"],
    )
    assert 0 == tenant.stats()["requests"]


def test_a_huge_body_is_refused_while_it_comes(shared: Stack, tenant: Simulator) -> None:
    """413 in the envelope for a chunked body that outgrows the limit without an announcement."""
    connection = http.client.HTTPConnection("127.0.0.1", shared.gateway.port, timeout=10)
    pieces = (b"x" * 50_000 for _ in range(BODY_LIMIT // 50_000 + 1))
    headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
    connection.request("POST", CHAT, body=pieces, headers=headers, encode_chunked=True)
    answer = connection.getresponse()
    error = json.loads(answer.read())["error"]
    connection.close()

    assert (413, "request_too_large") == (answer.status, error["code"])
    assert 0 == tenant.stats()["requests"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_near_the_limit_is_answered(http: httpx.Client, chunked: bool) -> None:
    """What the limit allows goes up whole, announced or chunked."""
    body = json.dumps(chat("echo: " + "x" * (BODY_LIMIT - 1000))).encode()
    pieces = (body[at : at + 60_000] for at in range(0, len(body), 60_000))
    answer = http.post(CHAT, content=pieces if chunked else body)

    assert (200, BODY_LIMIT - 1000) == (answer.status_code, len(content(answer)))


def test_a_compressed_body_is_refused(http: httpx.Client) -> None:
    """415 instead of a message about broken JSON."""
    body = gzip.compress(json.dumps(chat()).encode())
    answer = http.post(CHAT, content=body, headers={"content-encoding": "gzip"})

    assert 415 == answer.status_code
    assert "compressed" in error_of(answer)["message"]


def test_a_refused_body_leaves_the_connection_in_order(http: httpx.Client) -> None:
    """After an error the next request gets its own answer."""
    statuses = []
    for _ in range(5):
        statuses.append(http.post(CHAT, content=b"{" * 1000).status_code)
        statuses.append(http.post("/v1/nowhere", json=chat()).status_code)
        statuses.append(http.post(CHAT, json=chat()).status_code)

    assert [400, 404, 200] * 5 == statuses


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("gpt-5", "n", 2),
        ("gpt-5", "logprobs", True),
        ("gpt-5", "top_logprobs", 3),
        ("gpt-5", "stop", ["x"]),
        ("gpt-4.1", "audio", {"voice": "alloy", "format": "wav"}),
        ("gpt-4.1", "web_search_options", {}),
        ("qwen3-max", "modalities", ["audio"]),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_honoured_is_refused(
    http: httpx.Client, tenant: Simulator, model: str, field: str, value: Any, stream: bool
) -> None:
    """400 with the field's name and the reason, and nothing goes upstream."""
    answer = http.post(CHAT, json=chat(model=model, stream=stream, **{field: value}))
    error = error_of(answer)

    assert (400, field, "unsupported_parameter") == (answer.status_code, error["param"], error["code"])
    assert 0 == tenant.stats()["requests"]


def test_what_is_dropped_is_named(http: httpx.Client) -> None:
    """x-aicore-dropped lists the fields that were left out; without any there is no such head."""
    plain = http.post(CHAT, json=chat())
    dropped = http.post(CHAT, json=chat(temperature=0.3, store=True))

    assert "x-aicore-dropped" not in plain.headers
    assert (200, {"temperature", "store"}) == (
        dropped.status_code,
        set(dropped.headers["x-aicore-dropped"].split(", ")),
    )


def test_max_tokens_reaches_a_reasoning_model(http: httpx.Client, tenant: Simulator) -> None:
    """It goes up under the name the model knows, and the answer is as short as asked."""
    answer = http.post(CHAT, json=chat("[[tokens:50]]", model="gpt-5-mini", max_tokens=20))
    (deployment,) = tenant.deployments("gpt-5-mini")
    sent = tenant.last_request(deployment["id"])["body"]

    assert (200, "length") == (answer.status_code, answer.json()["choices"][0]["finish_reason"])
    assert (20, False) == (sent["max_completion_tokens"], "max_tokens" in sent)


def test_the_callers_credentials_stay_here(http: httpx.Client, tenant: Simulator) -> None:
    """No head of the caller goes upstream but the request id; the gateway's own token does."""
    sent_heads = {
        "x-request-id": "up-1",
        "cookie": "a=b",
        "x-forwarded-for": "10.0.0.1",
        "x-sim-fault": "500",
    }
    answer = http.post(CHAT, json=chat(model="qwen3-max"), headers=sent_heads)
    (deployment,) = [one for one in tenant.deployments("qwen3-max") if one["status"] == "RUNNING"]
    sent = tenant.last_request(deployment["id"])

    assert 200 == answer.status_code
    assert "up-1" == sent["headers"]["x-request-id"]
    assert {"cookie", "x-forwarded-for", "x-sim-fault"}.isdisjoint(sent["headers"])
    assert CLIENT_KEY not in json.dumps(sent)


# --- the request's id ------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["r-1", "a" * 128, "0af7651916cd43dd8448eb211c80319c", "x_y.z:1"])
def test_a_sane_request_id_is_kept(http: httpx.Client, given: str) -> None:
    """The caller's id comes back, on errors too."""
    heads = {"x-request-id": given}
    answers = [http.post(CHAT, json=chat(), headers=heads), http.post(CHAT, content=b"{", headers=heads)]

    assert [given, given] == [answer.headers["x-request-id"] for answer in answers]


@pytest.mark.parametrize("given", [None, "", "a" * 129, "two words", "<script>", "é", "a;b", "../x"])
def test_an_insane_request_id_is_replaced(http: httpx.Client, given: str | None) -> None:
    """What could harm a log is not taken over; a new id is made."""
    heads = {} if given is None else {"x-request-id": given.encode()}
    answer = http.post(CHAT, json=chat(), headers=heads)  # type: ignore[arg-type]  # bytes: not all is ASCII

    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_request_ids_differ(http: httpx.Client) -> None:
    """Each request gets its own, on a kept connection as well."""
    assert 20 == len({http.post(CHAT, content=b"{").headers["x-request-id"] for _ in range(20)})


# --- paths and methods -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/v1/nowhere", "/v1/chat", "/v1/chat/completions/x", "/v2/chat/completions", "/metrics/x"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404(http: httpx.Client, path: str, method: str) -> None:
    """404 in the envelope."""
    answer = http.request(method, path)

    assert (404, "not_found") == (answer.status_code, error_of(answer)["code"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", CHAT, "POST"), ("DELETE", "/v1/models", "GET"), ("PUT", "/v1/embeddings", "POST")],
)
def test_a_wrong_method_is_405(http: httpx.Client, method: str, path: str, allowed: str) -> None:
    """405 in the envelope, with what is allowed."""
    answer = http.request(method, path)

    assert (405, "method_not_allowed") == (answer.status_code, error_of(answer)["code"])
    assert allowed in answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    [
        CHAT,
        "/chat/completions",
        "/openai/deployments/gpt-5/chat/completions",
        "/openai/deployments/gpt-5/chat/completions?api-version=2024-10-21",
    ],
)
def test_every_form_of_chat_answers(http: httpx.Client, path: str) -> None:
    """With and without /v1, and Azure's (trap 60)."""
    assert "hello there" == content(http.post(path, json=chat()))


@pytest.mark.parametrize(
    "path",
    ["/v1/embeddings", "/embeddings", "/openai/deployments/text-embedding-3-small/embeddings?api-version=x"],
)
def test_every_form_of_embeddings_answers(http: httpx.Client, path: str) -> None:
    """With and without /v1, and Azure's (trap 60)."""
    answer = http.post(path, json={"model": "text-embedding-3-small", "input": "one"})

    assert 1536 == len(answer.json()["data"][0]["embedding"])


def test_head_of_the_root(anonymous: httpx.Client) -> None:
    """HEAD / is 200 without a key and without a body: clients send it first (trap 59)."""
    answer = anonymous.head("/")

    assert (200, b"") == (answer.status_code, answer.content)


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_probes_need_no_key(anonymous: httpx.Client, path: str) -> None:
    """Probes answer 200 to everybody, and name neither tenants nor models."""
    answer = anonymous.get(path)

    assert 200 == answer.status_code
    assert "alpha" not in answer.text
    assert "gpt" not in answer.text


def test_metrics_count_all_workers(http: httpx.Client, shared: Stack) -> None:
    """Whichever worker answers, the requests of both are in it (trap 53)."""
    name = "gpt-4.1-mini"  # no other test asks for it here

    def counted() -> float:
        lines = http.get("/metrics").text.splitlines()
        ours = [line for line in lines if line.startswith("aicore_requests_total{") and name in line]
        return sum(float(line.rpartition(" ")[2]) for line in ours)

    before = counted()
    for _ in range(10):
        with shared.client() as fresh:  # a new connection may reach the other worker
            fresh.post(CHAT, json=chat(model=name))

    assert within(5, lambda: counted() == before + 10)  # workers write theirs in batches


# --- browsers and documents ------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/openai/deployments/gpt-5/chat/completions"])
def test_a_preflight_needs_no_key(anonymous: httpx.Client, path: str) -> None:
    """CORS preflight is answered with what a browser wants to know (trap 60)."""
    answer = anonymous.options(
        path,
        headers={
            "origin": "https://chat.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )

    assert answer.status_code in (200, 204)
    assert answer.headers["access-control-allow-origin"] in ("*", "https://chat.example")
    assert "POST" in answer.headers["access-control-allow-methods"].upper() or "models" in path
    assert "authorization" in answer.headers["access-control-allow-headers"].lower() or (
        "*" == answer.headers["access-control-allow-headers"]
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_browser_may_read_the_answer(http: httpx.Client, stream: bool) -> None:
    """Answers and streams to another origin carry the permission, and expose the heads."""
    answer = http.post(CHAT, json=chat(stream=stream), headers={"origin": "https://chat.example"})

    assert answer.headers["access-control-allow-origin"] in ("*", "https://chat.example")
    assert "access-control-expose-headers" in answer.headers


def test_a_browser_may_read_an_error(anonymous: httpx.Client) -> None:
    """A 401 without the permission would look like a network failure."""
    answer = anonymous.post(CHAT, json=chat(), headers={"origin": "https://chat.example"})

    assert 401 == answer.status_code
    assert answer.headers["access-control-allow-origin"] in ("*", "https://chat.example")


def test_the_documentation_loads_from_here_alone(anonymous: httpx.Client) -> None:
    """/docs needs no key and no internet: every asset that it names is served by the gateway."""
    page = anonymous.get("/docs", follow_redirects=True)
    named = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assets = [anonymous.get(str(page.url.join(name))) for name in named]

    assert 200 == page.status_code
    assert not re.search(r"https?://", page.text)
    assert not re.search(r"""["']//""", page.text)
    assert len(named) >= 2
    assert {200} == {asset.status_code for asset in assets}
    assert all(asset.content for asset in assets)
    assert not any(re.search(rb"""@import|url\(['"]?https?:""", asset.content) for asset in assets)


def test_the_document_names_every_route(anonymous: httpx.Client, routes: list[tuple[str, str]]) -> None:
    """/openapi.json has each path and method of the application, but for the documents themselves
    (trap 62)."""
    paths = anonymous.get("/openapi.json").json()["paths"]
    told = {(method, path) for path, operations in paths.items() for method in operations}
    served = {
        (method, path)
        for method, path in routes
        if method in METHODS and not path.startswith("/docs") and path != "/openapi.json"
    }

    assert served
    assert set() == served - told


def test_every_other_route_wants_a_key(anonymous: httpx.Client, routes: list[tuple[str, str]]) -> None:
    """Without a key all routes refuse but the ones that are meant to be public."""
    closed = [
        (method, path)
        for method, path in routes
        if method in METHODS and path not in PUBLIC and not path.startswith("/docs")
    ]
    answers = {
        (method, path): anonymous.request(method, path.replace("{model}", "gpt-5")).status_code
        for method, path in closed
    }

    assert len(closed) >= 10
    assert {401} == set(answers.values()), answers


def test_a_key_of_another_caller_is_told_apart(shared: Stack) -> None:
    """The log names the caller by the configuration's name for the key."""
    with shared.client(OTHER_KEY) as client:
        client.post(CHAT, json=chat(), headers={"x-request-id": "whose-key"})

    def lines() -> list[dict[str, Any]]:
        return [line for line in shared.gateway.requests() if line["request_id"] == "whose-key"]

    assert within(2, lambda: bool(lines()))
    assert "other" == lines()[0]["caller"]


def test_ids_differ_between_workers(shared: Stack) -> None:
    """Workers are forked: what was seeded before would make the same ids in each of them."""
    heads, answers = [], []
    for _ in range(40):  # each on a connection of its own, so that both workers get some
        with shared.client() as http:
            answer = http.post(CHAT, json=chat(model="amazon--nova-pro"))
            heads.append(answer.headers["x-request-id"])
            answers.append(answer.json()["id"])

    assert (40, 40) == (len(set(heads)), len(set(answers)))
