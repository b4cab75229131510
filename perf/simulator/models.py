"""The models of the simulated region, as the model list would describe them (wire §3.4, §4.9)."""

from __future__ import annotations

import msgspec

GPT5_EFFORTS = ("minimal", "low", "medium", "high")


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

    @property
    def snapshot(self) -> str:
        """The name in Azure's answers."""
        return f"{self.name}-{self.version}" if self.version[:2] == "20" else self.name


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
            "qwen3-max", "aicore-opensource", "latest", "Alibaba", "Qwen3 Max", 262_144,
            ("text-generation", "reasoning"),
        ),
    )
}  # fmt: skip
