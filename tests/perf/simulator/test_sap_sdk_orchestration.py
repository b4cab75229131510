"""SAP's own Python SDK at the orchestration deployment of the simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from perf.simulator.launch import Simulator

SCRIPT = """
import json
from gen_ai_hub.orchestration_v2.exceptions import OrchestrationError, OrchestrationErrorList
from gen_ai_hub.orchestration_v2.models.azure_content_filter import AzureContentSafetyInput
from gen_ai_hub.orchestration_v2.models.content_filter import AzureContentSafetyInputFilterConfig
from gen_ai_hub.orchestration_v2.models.config import ModuleConfig, OrchestrationConfig
from gen_ai_hub.orchestration_v2.models.content_filtering import FilteringModuleConfig, InputFiltering
from gen_ai_hub.orchestration_v2.models.data_masking import (
    DPIStandardEntity, MaskingMethod, MaskingModuleConfig, MaskingProviderConfig, ProfileEntity)
from gen_ai_hub.orchestration_v2.models.embeddings import (
    EmbeddingsInput, EmbeddingsModelConfig, EmbeddingsModelDetails, EmbeddingsModuleConfigs,
    EmbeddingsOrchestrationConfig)
from gen_ai_hub.orchestration_v2.models.llm_model_details import LLMModelDetails
from gen_ai_hub.orchestration_v2.models.message import SystemMessage, UserMessage
from gen_ai_hub.orchestration_v2.models.streaming import GlobalStreamOptions
from gen_ai_hub.orchestration_v2.models.template import PromptTemplatingModuleConfig, Template
from gen_ai_hub.orchestration_v2.service import OrchestrationService

service = OrchestrationService()

def modules(text, model, params=None, **others):
    prompt = Template(template=[UserMessage(content=text)])
    model = LLMModelDetails(name=model, params=params or {})
    templating = PromptTemplatingModuleConfig(prompt=prompt, model=model)
    return ModuleConfig(prompt_templating=templating, **others)

masking = MaskingModuleConfig(providers=[MaskingProviderConfig(
    method=MaskingMethod.PSEUDONYMIZATION, entities=[DPIStandardEntity(type=ProfileEntity.PERSON)])])
filtering = FilteringModuleConfig(input=InputFiltering(filters=[
    AzureContentSafetyInputFilterConfig(config=AzureContentSafetyInput(hate=0))]))
said = lambda answer: answer.final_result.choices[0].message.content

whole = service.run(
    config=OrchestrationConfig(modules=modules("echo: {{?word}}", "gpt-5")),
    placeholder_values={"word": "hello there"}, history=[SystemMessage(content="{{ braces }}")])
masked = service.run(config=OrchestrationConfig(modules=modules("echo: Jane Doe", "gpt-5", masking=masking)))
thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "stream_options": {"include_usage": True}}
pieces = list(service.stream(config=OrchestrationConfig(
    modules=modules("echo: hello there", "anthropic--claude-4.5-sonnet", thinking),
    stream=GlobalStreamOptions(enabled=True))))
spare = service.run(config=OrchestrationConfig(
    modules=[modules("[[fail:gpt-5:429]] x", "gpt-5"), modules("echo: spare", "gpt-4.1")]))
def refused(kind, *configured):
    try:
        service.run(config=OrchestrationConfig(modules=list(configured) if configured[1:] else configured[0]))
    except kind as error:
        return [e.location for e in error.errors] if kind is OrchestrationErrorList else error.location
vectors = service.embed(
    config=EmbeddingsOrchestrationConfig(modules=EmbeddingsModuleConfigs(embeddings=EmbeddingsModelConfig(
        model=EmbeddingsModelDetails(name="text-embedding-3-small")))),
    input=EmbeddingsInput(text=["a", "b"]))
deltas = [p.final_result.choices[0].delta for p in pieces]
print(json.dumps({
    "whole": said(whole),
    "masked": said(masked),
    "streamed": "".join(d.content for d in deltas),
    "signed": any(block.signature for d in deltas for block in d.reasoning_content or []),
    "usage": pieces[-1].final_result.usage is not None,
    "spare": [said(spare), spare.intermediate_failures[0].code],
    "missing": refused(OrchestrationError, modules("{{?x}}", "gpt-5")),
    "filtered": refused(OrchestrationError, modules("[[hate:4]]", "gpt-5", filtering=filtering)),
    "both": refused(OrchestrationErrorList, modules("[[fail:gpt-5:500]]", "gpt-5"), modules("x", "gpt-9")),
    "vectors": [len(item.embedding) for item in vectors.final_result.data],
}))
"""

EXPECTED = {
    "whole": "hello there",
    "masked": "Jane Doe",
    "streamed": "hello there",
    "signed": True,
    "usage": True,
    "spare": ["spare", 429],
    "missing": "Input Parameters",
    "filtered": "Filtering Module - Input Filter",
    "both": ["LLM Module", "Request Body"],
    "vectors": [1536, 1536],
}


def test_sap_sdk_orchestrates(sim: Simulator, tmp_path: object) -> None:
    """Found by discovery: templates, modules, streams, fall-backs, errors, embeddings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AICORE_")}
    environment |= sim.environment() | {"AICORE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert 0 == done.returncode, done.stderr
    assert EXPECTED == json.loads(done.stdout)
