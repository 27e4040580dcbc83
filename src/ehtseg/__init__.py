"""Segment beating engineered heart tissue in video, and measure how it behaves.

The verbs of the command line work the same from Python; each name below is imported when it is
first used, so that `import ehtseg` stays light.

>>> import ehtseg
>>> recipe = ehtseg.make_recipe({"net": {"name": "unet"}, "fit": {"epochs": 5}})
>>> recipe.epochs
5
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# OpenMP threads that wait for each other spin by default: with any other busy process on the same
# cores, training then runs at an eighth of its speed (docs/log.md). Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOME = {
    "UserError": "ehtseg.records",
    "Recipe": "ehtseg.recipe",
    "make_recipe": "ehtseg.recipe",
    "open_video": "ehtseg.reading.video",
    "open_dataset": "ehtseg.reading.dataset",
    "pick_frames": "ehtseg.jobs.frames",
    "check": "ehtseg.jobs.check",
    "describe": "ehtseg.nets.describe",
    "train": "ehtseg.learning.train",
    "evaluate": "ehtseg.jobs.evaluate",
    "export": "ehtseg.jobs.export",
    "adapt": "ehtseg.jobs.adapt",
    "segment": "ehtseg.jobs.segment",
    "analyse": "ehtseg.jobs.analyse",
    "open_run": "ehtseg.seeing.run_folder",
    "predict": "ehtseg.seeing.predict",
    "doctor": "ehtseg.jobs.doctor",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"ehtseg has no {name!r}; it has {', '.join(_HOME)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
