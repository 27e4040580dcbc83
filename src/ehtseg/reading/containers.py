"""AVI, MP4, MOV and MKV by PyAV: decoded from the first frame to the last, never by a seek."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image, UnidentifiedImageError

from ehtseg.reading.calibration import Claim
from ehtseg.reading.raw import EarlyEndError, Raw, RawFrame, check_size
from ehtseg.records import Array, UserError

# suffix: libav's name of the format; no other format is opened, whatever the suffix says
FORMATS = {".avi": "avi", ".mkv": "matroska", ".mov": "mov", ".mp4": "mov"}
ANY_TEXT = "replace"  # titles that are no UTF-8, as cameras write them, stop nothing
_ALLOWED = {"format_whitelist": "avi,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2"}


class _Index(NamedTuple):
    packets: int  # intact ones
    n_frames: int  # packets that are to be shown
    start_s: float
    times_s: Array | None  # (T,) after the first frame, where each packet has a time stamp


def open_container(path: Path) -> Raw:
    """A video file, indexed by one pass over its packets, which decodes nothing but frame 0.

    Times are time stamps (PTS x time base) after that of the first frame.

    Raises: UserError for a file that holds no readable video.
    """
    with _opened(path) as (container, stream):
        index = _index(container, stream)
        tick_s = float(stream.time_base or 0)
        fps, shape_of_pixels = _rates(container, stream), stream.sample_aspect_ratio
        counted = index.times_s if container.format.name == "avi" else None
        notes = (*_misnamed(path, container), *_promised(container, stream, index))
    first = _first_picture(path)
    return Raw(
        path,
        first.height,
        first.width,
        _is_deep(first),
        n_frames=index.n_frames,
        read=partial(_read, path, first, counted),
        times_s=index.times_s,
        tick_s=tick_s,
        fps=fps,
        notes=(*notes, *_shown_otherwise(first, shape_of_pixels)),
    )


def url_of(path: Path) -> str:
    """A path as libav has to be told of it, which takes what stands before a colon for a protocol.

    >>> url_of(Path("A1:isoprenaline.avi"))
    'file:A1:isoprenaline.avi'
    """
    return f"file:{path}"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        container = av.open(url_of(path), options=_ALLOWED, metadata_errors=ANY_TEXT)
    except FFmpegError as error:
        raise _unreadable(path, _reason(error)) from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            raise _unreadable(path, "no picture track")
        yield container, stream


def _index(container: InputContainer, stream: VideoStream) -> _Index:
    packets, ticks = 0, []
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                break
            packets += packet.size > 0
            if packet.size and not packet.is_discard:
                ticks.append(packet.dts if packet.pts is None else packet.pts)
    except FFmpegError:
        pass  # decoding will meet the same damage, and says so
    stamps = sorted(tick for tick in ticks if tick is not None)
    if not stamps or len(stamps) < len(ticks):
        return _Index(packets, len(ticks), 0.0, None)
    times_s = np.array(stamps) * float(stream.time_base or 0)
    return _Index(packets, len(ticks), float(times_s[0]), times_s - times_s[0])


def _read(
    path: Path, first: VideoFrame, counted: Array | None, only: frozenset[int] | None
) -> Iterator[RawFrame]:
    """Frames like the first one; their own time stamps, or `counted` ones in order of time."""
    convert = VideoReformatter().reformat  # one for all frames: ten times faster than one each
    target, start = _target_format(first), first.pts
    for index, picture in enumerate(_pictures(path)):
        place, size = f"frame {index} of {path}", (picture.height, picture.width)
        check_size(place, size, first.height, first.width)
        if only is None or index in only:
            time_s = None
            if counted is not None:
                time_s = float(counted[index]) if index < len(counted) else None
            elif picture.pts is not None and start is not None and picture.time_base is not None:
                time_s = float((picture.pts - start) * picture.time_base)
            yield RawFrame(index, time_s, convert(picture, format=target).to_ndarray())
        if only is not None and index >= max(only):
            return


def _pictures(path: Path) -> Iterator[VideoFrame]:
    """Decoded frames up to the first damage. Raises: EarlyEndError there."""
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    yield from stream.decode(None)
                    raise EarlyEndError("a packet is cut off")
                yield from stream.decode(packet)
        except FFmpegError as error:
            raise EarlyEndError(_reason(error)) from error


def _first_picture(path: Path) -> VideoFrame:
    try:
        for picture in _pictures(path):
            return picture
    except EarlyEndError as damage:
        raise _unreadable(path, f"no intact frame ({damage})") from damage
    raise _unreadable(path, "no frame")


def _is_deep(picture: VideoFrame) -> bool:
    return max(component.bits for component in picture.format.components) > 8


def _target_format(picture: VideoFrame) -> str:
    if len(picture.format.components) == 1 and picture.format.name != "pal8":
        return "gray16le" if _is_deep(picture) else "gray"
    return "rgb48le" if _is_deep(picture) else "rgb24"


def _rates(container: InputContainer, stream: VideoStream) -> tuple[Claim, ...]:
    """What the header says of the frame rate. MP4 and MOV do not: their time stamps tell it."""
    rate = stream.average_rate
    if not rate or "mov" in container.format.name:
        return ()
    return (Claim(float(rate), "the file's header"),)


def _misnamed(path: Path, container: InputContainer) -> tuple[str, ...]:
    if FORMATS[path.suffix.lower()] in container.format.name.split(","):
        return ()
    return (f"The file is named {path.suffix} but is a {container.format.long_name} file.",)


def _promised(container: InputContainer, stream: VideoStream, index: _Index) -> tuple[str, ...]:
    """A sentence where the header promises more than the packets hold."""
    if stream.frames > index.packets:
        return (
            f"The header promises {stream.frames} frames, the file holds {index.packets}: "
            "it ends early, or frames were dropped while it was recorded.",
        )
    if stream.frames or len(container.streams) > 1 or index.n_frames < 2 or index.times_s is None:
        return ()
    step = float(np.median(np.diff(index.times_s)))  # from here on Matroska: it gives no number
    end = index.start_s + float(index.times_s[-1]) + step
    promised = (container.duration or 0) / av.time_base
    if promised <= end + 2 * step:
        return ()
    return (f"The header promises {promised:.4g} s, but the frames end at {end:.4g} s.",)


def _shown_otherwise(picture: VideoFrame, shape_of_pixels: Fraction | None) -> tuple[str, ...]:
    notes = []
    if shape_of_pixels and shape_of_pixels != 1:
        notes.append(
            f"The file asks to be shown with pixels {float(shape_of_pixels):.4g} times as wide as "
            "high; they are read as squares, so that lengths along and across the picture differ "
            "in scale."
        )
    if picture.rotation:
        notes.append(f"The file asks to be shown turned by {picture.rotation} degrees; it is not.")
    if picture.interlaced_frame:
        notes.append("The video is interlaced: odd and even rows are of different times.")
    return tuple(notes)


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(
        f"a video ({', '.join(sorted(FORMATS))}) that can be decoded",
        f"{reason}: {path}, {_content(path)}",
        "Copy the file again or export it again; if it plays elsewhere, convert it:  "
        f"ffmpeg -i {shlex.quote(str(path))} -c:v ffv1 converted.mkv",
    )


def _content(path: Path) -> str:
    """What the file looks like, for an error."""
    try:
        with Image.open(path) as picture:
            return f"which is a {picture.format} picture"
    except (UnidentifiedImageError, OSError):
        pass
    with path.open("rb") as file:
        head = file.read(1000)
    is_text = all(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return "which is plain text" if is_text else "perhaps damaged, cut off or of another kind"


def _reason(error: FFmpegError) -> str:
    said = error.log[-1] if error.log else error.strerror
    return " ".join(str(said).split())
