"""What README, CONTRIBUTING and documentation say and draw is there: links, files, numbers of the picture, versions."""

from __future__ import annotations

import configparser
import hashlib
import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("egs/**/*.md"), *ROOT.glob("sqcodec/models/*/CARD.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        if not re.match(r"\w+:", target):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_files_that_contributors_read_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = re.findall(r"`((?:sqcodec|recipes|tests|scripts)/[\w/.]*)`", text)
    assert len(named) > 25
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_picture_shows_what_was_measured() -> None:
    text = (ROOT / "docs/images/quality.toml").read_text("utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest in (ROOT / "docs/images/quality.svg").read_text("utf-8"), "python scripts/draw_quality.py redraws it"
    measured = tomllib.loads(text)["measured"]
    rows = [
        [cell.strip(" *`") for cell in line.split("|")[1:-1]]
        for line in (ROOT / measured["source"]).read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    for system in measured["systems"]:
        row = next(row for row in rows if row[0] == system["row"])  # the current table comes first
        assert row[2:4] == [f"{system['kbps']:.2f}", f"{system['pesq']:.2f} ± {system['half']:.2f}"], system["name"]


def test_versions_agree() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    version = setup["metadata"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert (ROOT / "CHANGELOG.md").read_text("utf-8").startswith(f"# Changelog\n\n## {version}")
