"""What README.md and docs/ say in Python runs; the files and verbs they name exist."""

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_verb_and_recipe_named_exists(page):
    from bitspike.cli import VERBS
    from bitspike.recipes import RECIPES

    for block in re.findall(r"```(?:console|sh|bash)\n(.*?)```", page.read_text(), re.S):
        for verb, argument in re.findall(r"(?<![\w.])bitspike ([a-z]+)(?: +([a-z0-9-]+))?", block):
            assert verb in VERBS, verb
            if verb == "train" and argument and not argument.startswith("-"):
                assert argument in RECIPES, argument


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES[1:] if "```python" in page.read_text()],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_python_of_docs_runs(page, tmp_path, monkeypatch):
    """The blocks of a page one after the other, in a module of their own and an empty folder."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("page_of_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)
    assert blocks
    for block in blocks:
        exec(compile(block, str(page), "exec"), module.__dict__)


def test_the_python_of_readme_runs(tmp_path):
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S))
    model = ROOT / "tests" / "vectors"
    packed = sorted(model.glob("*.bitspike"))[0]
    before = f"import numpy as np, shutil\nshutil.copy({str(packed)!r}, 'model.bitspike')\nimport bitspike\n"
    before += "images = np.zeros((3, *bitspike.load('model.bitspike').contents.input_shape), np.uint8)\n"
    after = "\nassert labels.shape == (3,) and probabilities.shape[0] == 3\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", before + code + after], cwd=tmp_path, env=environment)
    assert done.returncode == 0
