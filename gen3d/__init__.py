"""gen3d turns a sentence into a 3D asset by optimising a differentiable representation.

>>> import gen3d
>>> asset = gen3d.generate("a wooden chair", preset="draft", seed=3)  # doctest: +SKIP
>>> asset.save("chair")  # doctest: +SKIP

`docs/api.md` shows everything that is named in `__all__`. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gen3d.assets.asset import Asset as Asset
    from gen3d.assets.convert import ConvertOptions as ConvertOptions
    from gen3d.assets.convert import convert as convert
    from gen3d.assets.convert import render as render
    from gen3d.assets.load import load as load
    from gen3d.config.load import list_configs as list_configs
    from gen3d.config.load import load_config as load_config
    from gen3d.config.schema import RunConfig as RunConfig
    from gen3d.errors import Gen3DError as Gen3DError
    from gen3d.errors import UsageError as UsageError
    from gen3d.geometry.cameras import Cameras as Cameras
    from gen3d.geometry.cameras import orbit as orbit
    from gen3d.geometry.cameras import turntable as turntable
    from gen3d.pipeline.events import PhaseBegan as PhaseBegan
    from gen3d.pipeline.events import Said as Said
    from gen3d.pipeline.events import StepEvent as StepEvent
    from gen3d.pipeline.pipeline import Finished as Finished
    from gen3d.pipeline.pipeline import Pipeline as Pipeline
    from gen3d.pipeline.pipeline import generate as generate
    from gen3d.retrieval.search import Hit as Hit
    from gen3d.retrieval.search import SearchResult as SearchResult
    from gen3d.retrieval.search import classify as classify
    from gen3d.retrieval.search import search as search

_HOMES = {
    "Asset": "gen3d.assets.asset",
    "Cameras": "gen3d.geometry.cameras",
    "ConvertOptions": "gen3d.assets.convert",
    "Finished": "gen3d.pipeline.pipeline",
    "Gen3DError": "gen3d.errors",
    "Hit": "gen3d.retrieval.search",
    "PhaseBegan": "gen3d.pipeline.events",
    "Pipeline": "gen3d.pipeline.pipeline",
    "RunConfig": "gen3d.config.schema",
    "Said": "gen3d.pipeline.events",
    "SearchResult": "gen3d.retrieval.search",
    "StepEvent": "gen3d.pipeline.events",
    "UsageError": "gen3d.errors",
    "classify": "gen3d.retrieval.search",
    "convert": "gen3d.assets.convert",
    "generate": "gen3d.pipeline.pipeline",
    "list_configs": "gen3d.config.load",
    "load": "gen3d.assets.load",
    "load_config": "gen3d.config.load",
    "orbit": "gen3d.geometry.cameras",
    "render": "gen3d.assets.convert",
    "search": "gen3d.retrieval.search",
    "turntable": "gen3d.geometry.cameras",
}
"""Where each public name lives; it is imported when it is first used."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'gen3d' has no attribute '{name}'")
    from gen3d.runtime.process import prepare

    prepare()
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
