"""The pages of `docs` whose examples are run, that of the Python API above all, and the notebook under `examples/`."""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

import gen3d

ROOT = Path(__file__).parents[1]
API = (ROOT / "docs" / "api.md").read_text("utf-8")
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def test_every_public_name_is_documented_and_exists() -> None:
    for name in gen3d.__all__:
        assert getattr(gen3d, name) is not None
        assert re.search(rf"gen3d\.{name}\b", API), f"docs/api.md does not show gen3d.{name}"


@pytest.mark.parametrize(("page", "least"), [("api.md", 20), ("prompts.md", 5)])
def test_the_examples_of_a_page_give_what_it_says(
    page: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / page).read_text("utf-8")
    test = doctest.DocTestParser().get_doctest(text.replace("```", ""), {}, page, None, 0)
    assert len(test.examples) >= least
    runner, said = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL), io.StringIO()
    runner.run(test, out=said.write)
    assert runner.summarize(verbose=False).failed == 0, said.getvalue()


def executed(cells: list[str]) -> list[Any]:
    """The values of the cells' last expressions, in one namespace, as a notebook gives them."""
    namespace: dict[str, Any] = {}
    values = []
    for cell in cells:
        body = ast.parse(cell).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "cell", "exec"), namespace)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace) if last else None  # type: ignore[attr-defined]
        values.append(value)
    return values


def test_the_notebook_makes_shows_saves_and_reloads_an_asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert sum(len(cell.strip().splitlines()) for cell in cells) <= 10
    with contextlib.redirect_stdout(io.StringIO()):
        shown = executed(cells)
    pictures = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert len(pictures) == 2
    assert all("data:image/png;base64," in picture for picture in pictures)
    assert {"mesh.glb", "splats.ply", "turntable.mp4"} <= {path.name for path in (tmp_path / "chair").iterdir()}


def test_a_second_asset_loads_no_model_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from gen3d.priors.shape_prior import ShapePrior

    loads = []
    original = ShapePrior.load
    monkeypatch.setattr(ShapePrior, "load", staticmethod(lambda folder=None: loads.append(1) or original(folder)))
    settings = ["optimization.steps=1", "splats.count=200", "prior.candidates=1", "field_views.views=2"]
    pipe = gen3d.Pipeline(preset="draft", settings=settings)
    first, second = (pipe.generate(prompt, seed=1) for prompt in ("a red chair", "a blue sofa"))
    assert len(loads) == 1
    assert not (first.splats.means == second.splats.means).all()
    again = pipe.generate("a red chair", seed=1)
    assert (again.splats.means == first.splats.means).all()
