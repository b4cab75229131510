"""Grounding, translation, masking and filtering around the model (wire §4.7, §6.3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.perf.simulator.executables.orchestrated import CLAUDE, ask, body, modules, said, streamed

STANDARD = [{"type": "profile-person"}, {"type": "profile-email"}]


def masking(
    entities: list[dict[str, Any]] = STANDARD, *, spelled: str = "providers", **provider: Any
) -> dict[str, Any]:
    """A masking module."""
    one = {
        "type": "sap_data_privacy_integration",
        "method": "pseudonymization",
        "entities": entities,
        **provider,
    }
    return {spelled: [one]}


def filters(way: str, *, kind: str = "azure_content_safety", **config: Any) -> dict[str, Any]:
    """A filtering module of one direction."""
    return {way: {"filters": [{"type": kind, "config": config}]}}


def told(answer: dict[str, Any]) -> str:
    """What the model itself was told, and said again."""
    content: str = answer["intermediate_results"]["llm"]["choices"][0]["message"]["content"]
    return content


@pytest.mark.parametrize("spelled", ["providers", "masking_providers"])
def test_pseudonyms_are_put_on_and_taken_off(spelled: str) -> None:
    """In both spellings; the same person has the same name."""
    words = "Jane Doe, John Roe, Jane Doe: j.doe+x@example.org."
    answer = ask(f"echo: {words}", masking=masking(spelled=spelled))

    assert "MASKED_PERSON_1, MASKED_PERSON_2, MASKED_PERSON_1: MASKED_EMAIL_1." == told(answer)
    assert words == said(answer)
    assert words == (answer["intermediate_results"]["output_unmasking"][0]["message"]["content"])
    assert "MASKED_EMAIL_1" in answer["intermediate_results"]["input_masking"]["data"]["masked_template"]


def test_anonymity_is_not_taken_off() -> None:
    """There are no numbers to tell persons apart."""
    answer = ask("echo: Jane Doe and John Roe", masking=masking(method="anonymization"))

    assert "MASKED_PERSON and MASKED_PERSON" == said(answer)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"allowlist": ["Jane Doe"]}, "Jane Doe no. 7"),
        ({"entities": [{"type": "profile-iban"}]}, "Jane Doe no. 7"),
        (
            {
                "entities": [
                    {"regex": r"no\. \d", "replacement_strategy": {"method": "constant", "value": "NUMBER"}}
                ]
            },
            "Jane Doe NUMBER_1",
        ),
        (
            {"entities": [{"type": "profile-person", "replacement_strategy": {"method": "fabricated_data"}}]},
            "Fabricated_1 no. 7",
        ),
    ],
)
def test_masks_follow_the_provider(options: dict[str, Any], shown: str) -> None:
    """Allow-list, entities that are not looked for, expressions, fabricated data."""
    answer = ask("echo: Jane Doe no. 7", masking=masking(**options))

    assert (shown, "Jane Doe no. 7") == (told(answer), said(answer))


@pytest.mark.parametrize(("method", "code"), [(None, 400), ("skip", None)])
def test_files_need_a_masking_method(method: str | None, code: int | None) -> None:
    """`mask_file_input_method` (wire §4.7)."""
    part = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}}
    options: dict[str, Any] = {} if method is None else {"mask_file_input_method": method}
    answer = ask([part, {"type": "text", "text": "hi"}], CLAUDE, masking=masking(**options))

    assert code == answer.get("code")


@pytest.mark.parametrize(("limit", "code"), [(0, 400), (2, 400), (4, None), (6, None)])
def test_the_input_filter_refuses_the_prompt(limit: int, code: int | None) -> None:
    """400 with the scores, above the threshold (wire §6.3)."""
    answer = ask("[[violence:4]]", filtering=filters("input", violence=limit))

    assert code == answer.get("code")
    if code:
        assert (
            "400 - Filtering Module - Input Filter: Prompt filtered due to safety violations. "
            "Please modify the prompt and try again."
        ) == answer["message"]
        assert "Filtering Module - Input Filter" == answer["location"]
        scores = answer["intermediate_results"]["input_filtering"]["data"]["azure_content_safety"]
        assert 4 == scores["violence"]


def test_the_output_filter_empties_the_answer() -> None:
    """200, no content, the reason told (wire §6.3)."""
    answer = ask("echo: [[hate:6]]", filtering=filters("output", hate=4))
    results = answer["intermediate_results"]

    assert ("", "content_filter") == (said(answer), answer["final_result"]["choices"][0]["finish_reason"])
    assert "Output Filter" in results["output_filtering"]["message"]
    assert "[[hate:6]]" == told(answer)


@pytest.mark.parametrize(("wanted", "code"), [(True, 400), (False, None)])
def test_llama_guard_refuses_its_categories(wanted: bool, code: int | None) -> None:
    """Those that are switched on."""
    answer = ask("[[privacy:2]]", filtering=filters("input", kind="llama_guard_3_8b", privacy=wanted))

    assert code == answer.get("code")


def test_grounding_fills_a_parameter() -> None:
    """The question comes in one, the findings go out in another."""
    grounding = {
        "type": "document_grounding_service",
        "config": {
            "filters": [{"id": "f1", "data_repositories": ["*"], "data_repository_type": "vector"}],
            "placeholders": {"input": ["q"], "output": "ctx"},
        },
    }
    answer = ask("echo: {{?ctx}}", grounding=grounding, top={"placeholder_values": {"q": "rain"}})
    missing = ask("{{?ctx}}", grounding=grounding)

    assert "A document about: rain" == said(answer)
    assert "rain" == answer["intermediate_results"]["grounding"]["data"]["grounding_query"]
    assert missing["message"].endswith("Missing required parameters: ['q']")


def test_translation_goes_both_ways() -> None:
    """Each direction leaves its mark."""

    def into(language: str) -> dict[str, Any]:
        return {"type": "sap_document_translation", "config": {"target_language": language}}

    answer = ask("echo: hallo", translation={"input": into("en-US"), "output": into("de-DE")})

    assert ("hallo [en-US]", "hallo [en-US] [de-DE]") == (told(answer), said(answer))
    assert {"input_translation", "output_translation"} <= set(answer["intermediate_results"])


def test_modules_behind_the_model_make_the_pieces_larger() -> None:
    """`chunk_size` characters at least; without such a module the model's own pieces pass."""
    said_long = "echo: one two three four five six seven eight nine ten"
    plain = body(modules(said_long), stream=True)
    passed = body(modules(said_long, filtering=filters("output", hate=4)), stream=True)
    for document in (plain, passed):
        document["config"]["stream"]["chunk_size"] = 20
    pieces = [
        [frame["final_result"]["choices"][0]["delta"]["content"] for frame in streamed(document)[1:-1]]
        for document in (plain, passed)
    ]

    assert [10, 3] == [len(one) for one in pieces]
    assert "".join(pieces[0]) == "".join(pieces[1])


def test_a_stream_that_is_filtered_has_one_empty_frame() -> None:
    """With the reason in the intermediate results."""
    document = body(modules("echo: [[hate:6]] x", filtering=filters("output", hate=0)), stream=True)
    _, frame, done = streamed(document)

    assert "content_filter" == frame["final_result"]["choices"][0]["finish_reason"]
    assert "output_filtering" in frame["intermediate_results"]
    assert "[DONE]" == done


def test_a_stream_is_unmasked() -> None:
    """Every piece of it."""
    document = body(modules("echo: Jane Doe says hi", masking=masking()), stream=True)
    seen = streamed(document)[1:-1]

    assert "Jane Doe says hi" == "".join(f["final_result"]["choices"][0]["delta"]["content"] for f in seen)
