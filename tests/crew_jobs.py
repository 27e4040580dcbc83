"""Jobs for other processes, in a module that is quickly imported: used by test_study_run.py."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ehtseg.records import UserError


def deadly(task: str) -> str:
    """Some tasks kill the process that does them."""
    if task == "deadly":
        os._exit(9)
    if task == "slow":
        time.sleep(2)
    return task


def raise_one(_: Path) -> None:
    """A fault that a user can mend."""
    raise UserError("expected", "got", "cure")
