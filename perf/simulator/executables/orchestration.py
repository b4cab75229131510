"""The orchestration deployment: listed and discoverable; its sub-paths are not served yet."""

from __future__ import annotations

from perf.simulator.errors import ai_api
from perf.simulator.executables.base import Executable

EXECUTABLE = Executable("orchestration", routes={}, error_shape=ai_api)
