"""What the command line decides, read once; only the pace may change while the simulator runs."""

from __future__ import annotations

import msgspec


class Pace(msgspec.Struct, forbid_unknown_fields=True):
    """How fast and how much the models answer. Changed at run time with `POST /_sim/pace`."""

    latency_ms: float = 0.0
    """Milliseconds to the first byte."""
    chunk_interval_ms: float = 0.0
    """Milliseconds between frames of a stream; 0 sends the whole stream at once."""
    answer_tokens: int = 32
    """Tokens of an answer that nothing else determines."""
    chunk_size: int = 1
    """Tokens in one frame."""

    def __post_init__(self) -> None:
        if self.latency_ms < 0 or self.chunk_interval_ms < 0:
            raise ValueError("latency_ms and chunk_interval_ms cannot be negative")
        if not 0 <= self.answer_tokens <= 100_000 or not 1 <= self.chunk_size <= 10_000:
            raise ValueError("answer_tokens must be 0 to 100000, chunk_size 1 to 10000")


class Settings(msgspec.Struct):
    """Everything else, fixed for the life of the process."""

    tenants: int = 2
    resource_groups: tuple[str, ...] = ("default",)
    token_lifetime: int = 43199
    """Seconds, as told in `expires_in` (wire §2.2)."""
    revoke_after: int | None = None
    """A token is refused after that many uses, before it has expired."""
    page_limit: int | None = None
    """Most resources in one page of a list, whatever `$top` says."""
    rpm: int | None = None
    """Requests per minute for each model of a tenant (wire §7)."""
    seed: int = 0
    """Decides which requests a fault with a probability hits."""
    pace: Pace = msgspec.field(default_factory=Pace)
