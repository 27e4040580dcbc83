"""A recording and a few labelled frames of it to a network for this recording: `ehtseg adapt`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ehtseg.learning.adapt import Adapted
from ehtseg.learning.adapt import adapt as adapt_net
from ehtseg.learning.training import Tick
from ehtseg.reading.belonging import check_belonging
from ehtseg.reading.dataset import open_dataset
from ehtseg.reading.video import open_video
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.seeing.shipped import chosen_run


def adapt(
    video: Path | str,
    labels: Sequence[Path],
    out: Path,
    run: RunFolder | Path | str | None = None,
    tick: Tick = lambda _done, _total: None,
) -> Adapted:
    """Adapt a trained network (`run`, else the shipped model) to one recording, into `out`.

    `labels` are folders of 1 to 20 labelled frames of this very recording (see `check_belonging`).

    Raises: UserError for a recording, labels or a network that cannot be used, and for labels of
    another recording.
    """
    start, opened = chosen_run(run), open_video(video)
    dataset = open_dataset(labels)
    check_belonging(opened, dataset)
    return adapt_net(dataset, start, out, tick)


def told(adapted: Adapted) -> list[str]:
    """What an adaptation gave, in sentences."""
    return [*_gain(adapted), _limit(adapted)]


def _limit(adapted: Adapted) -> str:
    """From which doubt on a recording is called unfamiliar."""
    limit = adapted.run.facts.get("doubt_limit")
    if limit is None:
        return (
            "The starting network has no limit of doubt, so this one has none: it will not say "
            "that a recording is of another kind."
        )
    if limit >= 1:
        return (
            "This network doubts even frames that it finds rightly, so its doubt means nothing: "
            "it will not say that a recording is of another kind."
        )
    usual = f"; frames left out: at most {max(adapted.doubts):.2f}" if adapted.doubts else ""
    return (
        f"A recording whose frames raise a doubt above {limit:.2f} will be called unfamiliar"
        f"{usual}."
    )


def _gain(adapted: Adapted) -> list[str]:
    before, after = adapted.dice_before, adapted.dice_after
    facts = adapted.run.facts["adapted"]
    said = [f"The starting network is {facts['from']}."]
    if not adapted.folds:
        return [
            *said,
            f"One labelled frame: {facts['steps']} steps were trained, a number fixed beforehand. "
            "No frame could be left out, so the gain on other frames is unknown; on this very "
            f"frame Dice was {before:.4f} before and is {after:.4f} now. Two frames or more tell.",
        ]
    left_out = (
        f"On labelled frames left out of the training ({adapted.frames} frames, {adapted.folds} "
        "folds)"
    )
    if adapted.epochs == 0:
        best = max(adapted.dice_by_epoch)
        return [
            *said,
            f"{left_out} no adapted network was better: Dice {before:.4f} before, {best:.4f} at "
            "best after. The starting network was kept.",
        ]
    return [
        *said,
        f"{left_out} Dice was {before:.4f} before and is {after:.4f} now ({after - before:+.4f}). "
        "They are frames of the same film: they say nothing about other films.",
        f"{facts['steps']} steps were trained on all {adapted.frames} frames, as many as did best "
        f"there; threshold {adapted.run.threshold:g}, chosen there too.",
    ]
