"""What a user would run instead: U-Net of segmentation_models.pytorch, with equal weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ehtseg.nets.build import Net
from ehtseg.nets.weights_file import flat
from ehtseg.seeing.engines import cpu_bf16

SMP_NAMES = {"resnet50": "resnet50", "vgg16": "vgg16"}
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
Scale = tuple[np.ndarray, np.ndarray]
Loop = Callable[[list[np.ndarray]], np.ndarray]  # frames (H, W) uint8 -> logits (N, H, W)


def twin(net: Net) -> nn.Module:
    """smp's U-Net with the weights, strides and epsilons of a network of ours.

    The one difference is VGG-16's skip at full resolution, which smp lacks: its kernels are set to
    zero in `net`, in place, so that both compute the same.
    """
    body, reference = net.body, smp.Unet(SMP_NAMES[net.card["arch"]], encoder_weights=None)
    encoder = {flat(name): tensor for name, tensor in body.encoder.body.state_dict().items()}
    reference.encoder.load_state_dict({n: encoder[flat(n)] for n in reference.encoder.state_dict()})
    strides = {flat(n): m.stride for n, m in body.encoder.body.named_modules() if _is_conv(m)}
    norms = {flat(n): m.eps for n, m in body.encoder.body.named_modules() if _is_norm(m)}
    for name, module in reference.encoder.named_modules():
        if _is_conv(module):
            module.stride = strides[flat(name)]
        elif _is_norm(module):
            module.eps = norms[flat(name)]
    last = body.decoder[-1].merge[0].weight
    there = reference.decoder.blocks[-1].conv1[0].weight.shape[1]
    ours = [body.center, body.decoder, body.head]
    theirs = [reference.decoder.center, reference.decoder.blocks, reference.segmentation_head]
    with torch.no_grad():
        last[:, there:] = 0
        own = [t for part in ours for t in part.state_dict().values()]
        other = [t for part in theirs for t in part.state_dict().values()]
        for source, target in zip(own, other, strict=True):
            target.copy_(source[:, : target.shape[1]] if source.ndim == 4 else source)
    return reference.eval()


def plain_loop(model: nn.Module, batch: int, tuned: bool, scale: Scale = (MEAN, STD)) -> Loop:
    """Frames through smp as its users write it; `tuned` adds bf16 and channels_last."""
    form = torch.channels_last if tuned else torch.contiguous_format
    model = model.to(memory_format=form)

    def loop(frames: list[np.ndarray]) -> np.ndarray:
        found = []
        precision = _precision(tuned)
        with torch.inference_mode(), precision:
            for start in range(0, len(frames), batch):
                images = as_input(frames[start : start + batch], scale).to(memory_format=form)
                found.append(model(images)[:, 0].float().numpy())
        return np.concatenate(found)

    return loop


def as_input(frames: list[np.ndarray], scale: Scale = (MEAN, STD)) -> torch.Tensor:
    """Grey frames (H, W) as images_B3HW, normalised by mean and SD of the channels."""
    stack = np.stack([cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB) for frame in frames])
    normalised = (stack.astype(np.float32) / 255 - scale[0]) / scale[1]
    return torch.from_numpy(normalised.transpose(0, 3, 1, 2).copy())


def video_script(model: nn.Module, video: Path, size: int, out: Path, tuned: bool) -> int:
    """One frame at a time: read, resize, predict, draw, write; returns the number of frames."""
    loop = plain_loop(model, 1, tuned)
    capture, writer, count = cv2.VideoCapture(str(video)), None, 0
    fps = capture.get(cv2.CAP_PROP_FPS) or 30
    while True:
        there, frame = capture.read()
        if not there:
            break
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        logits = loop([cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA)])[0]
        probability = torch.sigmoid(torch.from_numpy(logits)).numpy()
        mask = cv2.resize(probability, frame.shape[1::-1]) >= 0.5
        frame[mask] = (0.7 * frame[mask] + 0.3 * np.array([0, 94, 213])).astype(np.uint8)
        if writer is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(out), code, fps, frame.shape[1::-1])
        writer.write(frame)
        count += 1
    if writer is not None:
        writer.release()
    return count


def training_steps(
    model: nn.Module, pairs: list[tuple[Path, Path]], size: int, batch: int, tuned: bool
) -> Iterator[float]:
    """A plain training loop that reads its images in every step; yields each loss."""
    form = torch.channels_last if tuned else torch.contiguous_format
    model = model.train().to(memory_format=form)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=5e-4)
    rng = np.random.default_rng(0)
    while True:
        chosen = [pairs[i] for i in rng.permutation(len(pairs))[:batch]]
        images = as_input([_read(image, size, cv2.INTER_AREA) for image, _ in chosen])
        masks = np.stack([_read(mask, size, cv2.INTER_NEAREST) > 127 for _, mask in chosen])
        optimiser.zero_grad()
        precision = _precision(tuned)
        with precision:
            logits = model(images.to(memory_format=form))[:, 0]
            target = torch.from_numpy(masks.astype(np.float32))
            loss = binary_cross_entropy_with_logits(logits.float(), target)
        loss.backward()
        optimiser.step()
        yield float(loss.detach())


def _precision(tuned: bool) -> AbstractContextManager[object]:
    """bf16 where it was asked for and the processor has it; emulated, it would be far slower."""
    return torch.autocast("cpu", torch.bfloat16) if tuned and cpu_bf16() else nullcontext()


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d)


def _is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d)


def _read(path: Path, size: int, how: int) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(image, (size, size), interpolation=how)
