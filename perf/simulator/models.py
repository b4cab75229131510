"""The models of the simulated region, as the model list would describe them (wire §3.4, §4.9)."""

from __future__ import annotations

import msgspec

GPT5_EFFORTS = ("minimal", "low", "medium", "high")
GPT51_EFFORTS = ("none", "low", "medium", "high")
LATE_EFFORTS = (*GPT51_EFFORTS, "xhigh")
CLAUDE_EFFORTS = ("low", "medium", "high", "xhigh", "max")


class Claude(msgspec.Struct, frozen=True):
    """What sets one Claude apart from another (wire §4.9, §5.2)."""

    snapshot: str
    """Its name in answers."""
    max_output: int
    thinking: tuple[str, ...]
    """Types of `thinking` it takes, beside `disabled`."""
    efforts: tuple[str, ...] = ()
    """Values of `output_config.effort`; without any, there is no `output_config`."""
    sampling: bool = True
    """Whether it takes `temperature`, `top_p` and `top_k`."""
    prefill: bool = True
    """Whether a conversation may end with the assistant's words."""


class Model(msgspec.Struct, frozen=True):
    """A model and what its server would accept."""

    name: str
    executable: str
    version: str
    provider: str
    display_name: str
    context_length: int
    capabilities: tuple[str, ...] = ("text-generation",)
    input_types: tuple[str, ...] = ("text",)
    streaming: bool = True
    deprecated: bool = False
    retirement_date: str = ""
    efforts: tuple[str, ...] = ()
    """Values of `reasoning_effort` it takes; empty for a model that does not reason."""
    dimensions: int = 0
    """Length of an embedding; 0 for a model that makes none."""
    alternates: bool = False
    """Whether user and assistant must take turns (wire §4.6)."""
    responses_only: bool = False
    """Whether chat completions refuse it (wire §4.2)."""
    tools_or_effort: bool = False
    """Whether chat completions refuse tools together with `reasoning_effort` (wire §5.1)."""
    orchestration_streams: bool = True
    """Whether it is on orchestration's own list of models that stream (wire §4.7)."""
    claude: Claude | None = None
    """The rules of a Claude."""

    @property
    def snapshot(self) -> str:
        """The name in Azure's answers."""
        return f"{self.name}-{self.version}" if self.version[:2] == "20" else self.name


CLAUDES: dict[str, Claude] = {
    "4.5-haiku": Claude("claude-haiku-4-5-20251001", 64_000, ("enabled",)),
    "4.5-sonnet": Claude("claude-sonnet-4-5-20250929", 64_000, ("enabled",)),
    "4.5-opus": Claude("claude-opus-4-5-20251101", 64_000, ("enabled",)),
    "4.6-sonnet": Claude("claude-sonnet-4-6", 64_000, ("enabled", "adaptive"), CLAUDE_EFFORTS),
    "4.6-opus": Claude("claude-opus-4-6", 128_000, ("enabled", "adaptive"), CLAUDE_EFFORTS, prefill=False),
    "4.7-opus": Claude("claude-opus-4-7", 128_000, ("adaptive",), CLAUDE_EFFORTS, False, False),
    "4.8-opus": Claude("claude-opus-4-8", 128_000, ("adaptive",), CLAUDE_EFFORTS, False, False),
}
"""By the end of their names at SAP."""

_IMAGE = ("text", "image")
_CHAT = ("text-generation", "image-recognition", "reasoning")

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            "gpt-5", "azure-openai", "2025-08-07", "OpenAI", "GPT-5", 400_000, _CHAT, _IMAGE,
            efforts=GPT5_EFFORTS,
        ),
        Model(
            "gpt-5-mini", "azure-openai", "2025-08-07", "OpenAI", "GPT-5 mini", 400_000, _CHAT, _IMAGE,
            efforts=GPT5_EFFORTS,
        ),
        Model(
            "gpt-5-nano", "azure-openai", "2025-08-07", "OpenAI", "GPT-5 nano", 400_000, _CHAT, _IMAGE,
            efforts=GPT5_EFFORTS,
        ),
        Model(
            "gpt-5.1", "azure-openai", "2025-11-13", "OpenAI", "GPT-5.1", 400_000, _CHAT, _IMAGE,
            efforts=GPT51_EFFORTS,
        ),
        Model(
            "gpt-5.3-codex", "azure-openai", "2026-02-24", "OpenAI", "GPT-5.3 Codex", 400_000, _CHAT, _IMAGE,
            efforts=LATE_EFFORTS[1:], responses_only=True,
        ),
        Model(
            "gpt-5.5", "azure-openai", "2026-04-24", "OpenAI", "GPT-5.5", 1_050_000, _CHAT, _IMAGE,
            efforts=LATE_EFFORTS, tools_or_effort=True, orchestration_streams=False,
        ),
        Model(
            "gpt-4.1", "azure-openai", "2025-04-14", "OpenAI", "GPT-4.1", 1_047_576, _CHAT[:2], _IMAGE,
            deprecated=True, retirement_date="2026-10-14",
        ),
        Model(
            "gpt-4.1-mini", "azure-openai", "2025-04-14", "OpenAI", "GPT-4.1 mini", 1_047_576, _CHAT[:2],
            _IMAGE, deprecated=True, retirement_date="2026-10-14",
        ),
        Model(
            "text-embedding-3-small", "azure-openai", "1", "OpenAI", "Text Embedding 3 small", 8191,
            ("embeddings",), streaming=False, dimensions=1536,
        ),
        Model(
            "mistralai--mistral-small", "aicore-mistralai", "2603", "Mistral AI", "Mistral Small", 128_000,
            _CHAT[:2], _IMAGE, alternates=True,
        ),
        Model(
            "sap-abap-1", "orchestration", "latest", "SAP", "SAP ABAP-1", 128_000, ("text-generation",)
        ),
        Model(
            "qwen3-max", "aicore-opensource", "latest", "Alibaba", "Qwen3 Max", 262_144,
            ("text-generation", "reasoning"),
        ),
        Model(
            "gemini-2.5-flash-lite", "gcp-vertexai", "001", "Google", "Gemini 2.5 Flash-Lite", 1_048_576,
            _CHAT, _IMAGE,
        ),
        Model(
            "gemini-3.1-flash-lite", "gcp-vertexai", "001", "Google", "Gemini 3.1 Flash-Lite", 1_048_576,
            _CHAT, _IMAGE,
        ),
        Model(
            "gemini-3.5-flash", "gcp-vertexai", "001", "Google", "Gemini 3.5 Flash", 1_048_576, _CHAT, _IMAGE,
        ),
        Model(
            "gemini-3.1-pro-preview-ea", "gcp-vertexai", "001", "Google", "Gemini 3.1 Pro Preview", 1_048_576,
            _CHAT, _IMAGE,
        ),
        Model(
            "gemini-embedding", "gcp-vertexai", "001", "Google", "Gemini Embedding", 2048, ("embeddings",),
            streaming=False, dimensions=3072,
        ),
        Model(
            "cohere--command-a-reasoning", "aicore-cohere", "2508", "Cohere", "Command A Reasoning", 256_000,
            ("text-generation", "reasoning"),
        ),
        Model(
            "nvidia--llama-3.2-nv-embedqa-1b", "aicore-nvidia", "latest", "NVIDIA", "Llama 3.2 NV EmbedQA 1B",
            8192, ("embeddings",), streaming=False, dimensions=2048,
        ),
        *(
            Model(
                f"anthropic--claude-{name}", "aws-bedrock", "1", "Anthropic",
                f"Claude {name[4:].title()} {name[:3]}", 200_000 if name[:3] == "4.5" else 1_000_000,
                _CHAT, _IMAGE, claude=rules,
            )
            for name, rules in CLAUDES.items()
        ),
        Model("amazon--nova-pro", "aws-bedrock", "1", "Amazon", "Nova Pro", 300_000, _CHAT[:2], _IMAGE),
        Model("amazon--nova-lite", "aws-bedrock", "2", "Amazon", "Nova Lite", 300_000, _CHAT[:2], _IMAGE),
        Model("amazon--nova-micro", "aws-bedrock", "1", "Amazon", "Nova Micro", 128_000),
        Model(
            "amazon--titan-embed-text", "aws-bedrock", "2", "Amazon", "Titan Text Embeddings", 8192,
            ("embeddings",), streaming=False, dimensions=1024,
        ),
        Model("sonar", "perplexity-ai", "perplexity-us", "Perplexity", "Sonar", 128_000),
        Model("sonar-pro", "perplexity-ai", "perplexity-us", "Perplexity", "Sonar Pro", 200_000),
    )
}  # fmt: skip
