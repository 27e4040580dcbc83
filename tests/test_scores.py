"""Overlap scores against reference libraries and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import (
    DiceMetric,
    MeanIoU,
)
from torchmetrics.functional.classification import binary_jaccard_index, binary_stat_scores

from ehtseg.learning.scores import (
    EMPTY_RULE,
    THRESHOLDS,
    Counts,
    best_threshold,
    counts_at,
    counts_of,
    dice,
    iou,
    mean_at,
    per_image,
    per_recording,
    pooled,
    score_images,
)
from ehtseg.records import UserError

SHAPE = (12, 17)
masks = arrays(np.bool_, SHAPE)
probabilities = arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32, allow_subnormal=False))
counts = st.builds(Counts, *[st.integers(0, 10**6)] * 4)


def noisy_pair(seed: int, shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """A blob and a noisy probability map of it."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / min(shape)
    distance = np.hypot(y - 0.5, x - generator.uniform(0.4, 0.8)) - generator.uniform(0.2, 0.45)
    logits = -8 * distance + generator.normal(0, 1.5, shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), distance < 0


@given(counts)
def test_identity_of_iou_and_dice_in_every_unit(unit):
    assert iou(unit) == pytest.approx(dice(unit) / (2 - dice(unit)), abs=1e-12)


@given(
    probabilities, masks, st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=5)
)
@settings(max_examples=50, deadline=None)
def test_one_pass_equals_thresholding_one_by_one(probability, truth, thresholds):
    together = counts_at(probability, truth, thresholds)
    for threshold, found in zip(thresholds, together, strict=True):
        assert found == counts_of(probability >= np.float32(threshold), truth)


@given(masks, masks)
@settings(max_examples=30, deadline=None)
def test_counts_equal_torchmetrics_and_smp(prediction, truth):
    ours = counts_of(prediction, truth)
    preds, target = torch.from_numpy(prediction), torch.from_numpy(truth)
    tp, fp, tn, fn, _ = binary_stat_scores(preds.int(), target.int()).tolist()
    assert ours == Counts(tp, fp, fn, tn)
    stats = smp.metrics.get_stats(
        preds[None, None].long(), target[None, None].long(), mode="binary"
    )
    assert ours == Counts(*(int(value) for value in stats))


def test_means_equal_monai_torchmetrics_and_smp_where_no_mask_is_empty():
    pairs = [noisy_pair(seed) for seed in range(6)]
    scored = score_images([(p, m, str(k), "r") for k, (p, m) in enumerate(pairs)], [0.5])
    hard = torch.stack([torch.from_numpy(p >= 0.5) for p, _ in pairs])[:, None]
    truth = torch.stack([torch.from_numpy(m) for _, m in pairs])[:, None]
    for metric, score in ((DiceMetric(), dice), (MeanIoU(), iou)):
        metric(hard, truth)
        assert mean_at(scored, 0.5, score) == pytest.approx(float(metric.aggregate()), abs=1e-6)
    stats = smp.metrics.get_stats(hard.long(), truth.long(), mode="binary")
    by_smp = smp.metrics.iou_score(*stats, reduction="micro")
    assert pooled(scored, iou)[0] == pytest.approx(float(by_smp), abs=1e-6)
    by_torchmetrics = binary_jaccard_index(hard.int(), truth.int())
    assert pooled(scored, iou)[0] == pytest.approx(float(by_torchmetrics), abs=1e-6)


def test_per_image_per_recording_and_pooled_are_three_numbers():
    big, small = np.ones((10, 10), bool), np.zeros((10, 10), bool)
    small[0, :2] = True
    half = small.copy()
    half[0, 1] = False
    scored = score_images(
        [(big, big, "0", "a"), (big, big, "1", "a"), (half, small, "2", "b")], [0.5]
    )
    assert per_image(scored)[:, 0] == pytest.approx([1, 1, 2 / 3])
    assert {k: v[0] for k, v in per_recording(scored).items()} == pytest.approx(
        {"a": 1, "b": 2 / 3}
    )
    assert mean_at(scored, 0.5) == pytest.approx(8 / 9)
    assert pooled(scored)[0] == pytest.approx(2 * 201 / (2 * 201 + 1))


def test_threshold_is_passed_by_equality():
    probability = np.array([[0.5, 0.4999]], np.float32)
    assert counts_at(probability, np.array([[True, True]]), [0.5])[0] == Counts(1, 0, 1, 0)
    ninth = np.array([[0.9]], np.float32)  # below the float64 0.9, and yet it was meant
    assert counts_at(ninth, np.array([[True]]), [0.9])[0].tp == 1


def test_best_threshold_is_the_one_that_separates():
    truth = np.zeros((4, 10), bool)
    truth[:, 5:] = True
    probability = np.where(truth, 0.31, 0.11).astype(np.float32)
    scored = score_images([(probability, truth, "a", "r")])
    assert best_threshold(scored) == 0.31  # of the plateau 0.12 to 0.31, the nearest to 0.5
    wide = np.where(truth, 0.99, 0.01).astype(np.float32)
    assert best_threshold(score_images([(wide, truth, "a", "r")])) == 0.5
    tie = score_images([(wide, truth, "a", "r")], [0.7, 0.3])
    assert best_threshold(tie) == 0.3


def test_a_chance_tip_of_the_plateau_is_not_chosen():
    truth = np.zeros((100, 400), bool)
    truth[:50] = True
    probability = np.where(truth, 0.95, 0.05).astype(np.float32)
    probability[60, 0] = 0.6  # one pixel of 40,000 makes 0.61 to 0.95 best by 2.5e-5
    scored = score_images([(probability, truth, "a", "r")])
    assert THRESHOLDS[int(per_image(scored)[0].argmax())] > 0.6
    assert best_threshold(scored) == 0.5


# silent wrong numbers of other tools, each loud or right here


def test_empty_truth_with_false_positives_scores_0():
    truth, empty = np.ones((8, 8), bool), np.zeros((8, 8), bool)
    full = np.ones((8, 8), np.float32)
    scored = score_images([(full, truth, "a", "r"), (full, empty, "b", "r")], [0.5])
    assert per_image(scored)[:, 0].tolist() == [1.0, 0.0]
    assert mean_at(scored, 0.5) == 0.5
    pair = torch.ones(2, 1, 8, 8), torch.from_numpy(np.stack([truth, empty]))[:, None]
    metric = DiceMetric()
    metric(*pair)
    assert float(metric.aggregate()) == 1.0  # the reference library leaves the bad frame out


def test_empty_rule():
    truth, empty = np.eye(4, dtype=bool), np.zeros((4, 4), bool)
    for score in (dice, iou):
        assert score(counts_of(empty, empty)) == 1.0
        assert score(counts_of(truth, empty)) == score(counts_of(empty, truth)) == 0.0
    assert "overlap is 1" in EMPTY_RULE
    assert "overlap is 0" in EMPTY_RULE


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_mask_of_0_and_255_is_refused(dtype):
    probability, truth = noisy_pair(0)
    with pytest.raises(UserError, match=r"frame_7\.png, got .* with the values 0, 255"):
        score_images([(probability, (truth * 255).astype(dtype), "frame_7.png", "r")])


def test_logits_are_refused():
    probability, truth = noisy_pair(0)
    logits = np.log(probability / (1 - probability))
    with pytest.raises(UserError, match="Turn logits into probabilities"):
        score_images([(logits, truth, "a", "r")], [0.5])


def test_prediction_of_0_and_255_and_nan_are_refused():
    probability, truth = noisy_pair(0)
    with pytest.raises(UserError, match="uint8 from 0 to 255"):
        score_images([(truth.astype(np.uint8) * 255, truth, "a", "r")], [0.5])
    probability[3, 3] = np.nan
    with pytest.raises(UserError, match="diverged"):
        score_images([(probability, truth, "a", "r")], [0.5])


def test_shapes_that_would_broadcast_are_refused():
    probability, truth = noisy_pair(0)
    with pytest.raises(UserError, match="one shape"):
        score_images([(probability[:1], truth, "a", "r")], [0.5])
    with pytest.raises(UserError, match="one shape"):
        score_images([(probability[None], truth[None], "a", "r")], [0.5])


def test_scores_do_not_depend_on_order_or_on_asking_twice():
    pairs = [(*noisy_pair(seed), str(seed), "r") for seed in range(4)]
    forward, backward = score_images(pairs), score_images(pairs[::-1])
    np.testing.assert_array_equal(per_image(forward), per_image(backward)[::-1])
    np.testing.assert_array_equal(pooled(forward), pooled(backward))
    assert mean_at(forward, 0.5) == mean_at(forward, 0.5)
