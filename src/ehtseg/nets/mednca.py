"""Med-NCA: one small rule, applied to every pixel many times, at a coarse and at the full scale.

Source: Kalkhof et al., Med-NCA, IPMI 2023, and its published code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

N_IMAGE = 3  # channels that hold the image and never change
REMEMBERED_STEPS = 8  # training recomputes what lies between: a fraction of the memory


@dataclass(frozen=True, slots=True)
class MedNCAPlan:
    """The paper's size (its "70k" weights); the authors' example has 16 channels.

    `factor` is the edge of a coarse pixel, in pixels; a step carries a message one pixel far.
    """

    channels: int = 32
    hidden: int = 128
    steps: int = 64
    factor: int = 4
    rest_share: float = 0.5  # of the cells, at every step


class MedNCA(nn.Module):
    """images_B3HW in [0, 1] (multiples of `multiple`) -> logits_B1HW.

    Which cells rest at which step is drawn: in training anew, otherwise from `seed`, the same for
    every image, so that a picture has one answer, whatever stands beside it in the batch.

    In training the fine automaton works on one window of each image, as large as the coarse image,
    as published; elsewhere the logits are the coarse ones (the original has no loss there).
    """

    def __init__(self, plan: MedNCAPlan) -> None:
        super().__init__()
        self.plan, self.seed = plan, 0
        self.multiple = 2 * plan.factor  # mirrored borders need two coarse pixels
        self.coarse = Automaton(plan.channels, plan.hidden)
        self.fine = Automaton(plan.channels, plan.hidden)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        plan = self.plan
        source = None if self.training else torch.Generator().manual_seed(self.seed)
        small = functional.interpolate(images_B3HW, scale_factor=1 / plan.factor, mode="area")
        blank = small.new_zeros(len(small), plan.channels - N_IMAGE, *small.shape[-2:])
        state = self.coarse(torch.cat([small, blank], 1), self._awake(small, source))
        state = functional.interpolate(state, scale_factor=plan.factor, mode="nearest")
        state = torch.cat([images_B3HW, state[:, N_IMAGE:]], 1)
        if not self.training:
            return logits_of(self.fine(state, self._awake(state, source)))
        logits, windows = logits_of(state).clone(), _windows(state, plan.factor)
        cut = torch.cat([state[window] for window in windows])
        refined = logits_of(self.fine(cut, self._awake(cut, source)))
        for window, answer in zip(windows, refined, strict=True):
            logits[window] = answer
        return logits

    def _awake(self, state_BCHW: Tensor, source: torch.Generator | None) -> Tensor:
        """awake_TB1HW: 1 where a cell moves at a step, 0 where it rests; B is 1 with a source."""
        n_images = 1 if source else len(state_BCHW)
        shape = (self.plan.steps, n_images, 1, *state_BCHW.shape[-2:])
        awake = torch.rand(shape, generator=source, device="cpu") > self.plan.rest_share
        return awake.to(state_BCHW.device, state_BCHW.dtype)


class Automaton(nn.Module):
    """state_BCHW, awake_TB1HW -> state_BCHW after T steps; the image channels stay fixed.

    The last kernel is zero at the start of training: the automaton begins by doing nothing.
    """

    moving: Tensor

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.look_a = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.look_b = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.think = nn.Conv2d(3 * channels, hidden, 1)
        self.act = nn.Parameter(torch.zeros(channels, hidden, 1, 1))
        moving = (torch.arange(channels) >= N_IMAGE).float().view(-1, 1, 1)
        self.register_buffer("moving", moving, persistent=False)

    def forward(self, state_BCHW: Tensor, awake_TB1HW: Tensor) -> Tensor:
        for first in range(0, len(awake_TB1HW), REMEMBERED_STEPS):
            awake = awake_TB1HW[first : first + REMEMBERED_STEPS]
            if torch.is_grad_enabled():
                state_BCHW = checkpoint(
                    self._run, state_BCHW, awake, use_reentrant=False, preserve_rng_state=False
                )
            else:
                state_BCHW = self._run(state_BCHW, awake)
        return state_BCHW

    def _run(self, state_BCHW: Tensor, awake_TB1HW: Tensor) -> Tensor:
        for awake in awake_TB1HW:
            seen = torch.cat([state_BCHW, self.look_a(state_BCHW), self.look_b(state_BCHW)], 1)
            change = functional.conv2d(functional.relu(self.think(seen)), self.act)
            state_BCHW = state_BCHW + change * awake * self.moving
        return state_BCHW


def logits_of(state_BCHW: Tensor) -> Tensor:
    """The channel right after the image."""
    return state_BCHW[:, N_IMAGE : N_IMAGE + 1]


def _windows(state_BCHW: Tensor, factor: int) -> list[tuple[slice, ...]]:
    """For each image of a batch the slices of a window of 1 / factor of its height and width."""
    n_images, _, height, width = state_BCHW.shape
    tops = torch.randint(height - height // factor + 1, (n_images,)).tolist()
    lefts = torch.randint(width - width // factor + 1, (n_images,)).tolist()
    return [
        (
            slice(i, i + 1),
            slice(None),
            slice(top, top + height // factor),
            slice(left, left + width // factor),
        )
        for i, (top, left) in enumerate(zip(tops, lefts, strict=True))
    ]


@torch.no_grad()
def spread(net: nn.Module, images_BCHW: Tensor, n_runs: int = 10) -> tuple[Tensor, Tensor]:
    """Mean logits_B1HW and the standard deviation of the probability, over runs of a Med-NCA.

    The first is the paper's ensemble, the second an uncertainty map in 0 ... 0.5. `net`, in
    inference mode, may hold the Med-NCA inside; `n_runs` is 2 or more.
    """
    body = next(module for module in net.modules() if isinstance(module, MedNCA))
    before = body.seed
    runs: list[Tensor] = []
    try:
        for seed in range(n_runs):
            body.seed = seed
            runs.append(net(images_BCHW).float())
    finally:
        body.seed = before
    logits_NB1HW = torch.stack(runs)
    return logits_NB1HW.mean(0), logits_NB1HW.sigmoid().std(0)
