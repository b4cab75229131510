"""nginx's files, as the image would fill them in."""

from __future__ import annotations

from pathlib import Path

from perf.proxy import render, template_values


def test_nginx_runs_from_our_own_templates(tmp_path: Path) -> None:
    """Every variable has a value, and logs stay in the directory."""
    main = render(tmp_path, template_values(tmp_path, ["127.0.0.1:1"], https=2, http=3))
    texts = [main.read_text(), *(part.read_text() for part in (tmp_path / "conf.d").iterdir())]

    assert (4, False, False) == (
        len(texts), any("${" in text for text in texts), any("/dev/std" in text for text in texts),
    )  # fmt: skip
