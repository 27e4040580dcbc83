"""Video files: every frame in order, at its true time, with what the file says of itself."""

from __future__ import annotations

import json
import tracemalloc
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conftest import shared
from ehtseg.reading.calibration import Claim, decide_fps, decide_um_per_px, describe_times
from ehtseg.reading.finding import find_videos
from ehtseg.reading.stamps import stamp_of
from ehtseg.reading.video import open_video
from ehtseg.records import UserError
from recordings import cut_off, number_of, numbered, write_video

KINDS = [
    ("a.avi", "rawvideo", "gray"),
    ("a.avi", "mjpeg", "yuvj420p"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("a.avi", "libx264", "yuv420p"),  # AVI stores no times for its reordered frames
    ("a.mp4", "libx264", "yuv420p"),
    ("a.mp4", "libx265", "yuv420p10le"),
    ("a.mov", "prores_ks", "yuv422p10le"),
    ("a.mkv", "libx264", "yuv444p"),
    ("a.mkv", "ffv1", "gray"),
    ("a.mkv", "ffv1", "bgr0"),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), KINDS)
def test_every_kind_gives_all_frames_in_order_at_their_times(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    options = {"bf": "3", "x264-params": "b-adapt=0", "x265-params": "log-level=none"}
    own = options if codec.startswith("lib") else None
    video = open_video(write_video(tmp_path / name, numbered(50), codec, pix_fmt, options=own))
    frames = list(video.frames())
    assert [number_of(f.image) for f in frames] == [i % 12 for i in range(50)]
    assert [f.index for f in frames] == list(range(50))
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(50)])
    assert {(f.image.shape, f.image.dtype.name) for f in frames} == {((48, 64), "uint8")}
    assert (video.n_frames, video.height, video.width, video.fps) == (50, 48, 64, 25)
    assert [note for note in video.notes if "playback" not in note] == []
    assert video.um_per_px is None


def test_lossless_eight_bit_frames_come_as_they_are(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "a.mkv", numbered(9)))
    assert video.scaling.source == "8-bit as it is"
    for frame, truth in zip(video.frames(), numbered(9), strict=True):
        np.testing.assert_array_equal(frame.image, truth)


def test_frames_start_anew_each_time_also_side_by_side(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "a.avi", numbered(20), "mpeg4", "yuv420p"))
    assert [number_of(f.image) for f in islice(video.frames(), 5)] == [0, 1, 2, 3, 4]
    pairs = list(zip(video.frames(), video.frames(), strict=True))
    assert len(pairs) == 20
    assert all((a.image == b.image).all() and a.time_s == b.time_s for a, b in pairs)


def test_sixteen_bits_are_scaled_once_for_the_recording(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    deep = [rng.integers(1000 + 100 * i, 9000, (40, 40), np.uint16) for i in range(40)]
    video = open_video(write_video(tmp_path / "a.mkv", deep, pix_fmt="gray16le"))
    spread = np.stack(deep)[np.linspace(0, 39, 32, dtype=int)]
    low, high = np.percentile(spread, [0.5, 99.5])
    assert (video.scaling.low, video.scaling.high) == (low, high)
    assert "32 frames" in video.scaling.source
    for frame, raw in zip(video.frames(), deep, strict=True):
        truth = np.rint(np.clip((raw - low) / (high - low), 0, 1) * 255)
        np.testing.assert_array_equal(frame.image, truth)


def test_deep_video_reports_its_first_pass(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mkv", [f.astype(np.uint16) for f in numbered(9)], "ffv1", "gray16le"
    )
    ticks: list[tuple[int, int | None]] = []
    open_video(path, progress=lambda done, total: ticks.append((done, total)))
    assert ticks[-1] == (9, 9)


def test_colour_is_kept_as_rgb_and_grey_film_is_grey(tmp_path: Path) -> None:
    rgb = [np.stack([f, f // 2, f // 4], axis=-1) for f in numbered(5)]
    video = open_video(write_video(tmp_path / "rgb.mkv", rgb, pix_fmt="bgr0"))
    np.testing.assert_array_equal(next(video.frames()).image, rgb[0])
    neutral = [np.stack([f, f, f], axis=-1) for f in numbered(5)]
    video = open_video(write_video(tmp_path / "grey.mkv", neutral, pix_fmt="bgr0"))
    np.testing.assert_array_equal(next(video.frames()).image, numbered(5)[0])


def test_colour_that_comes_late_is_told(tmp_path: Path) -> None:
    frames = [np.stack([f, f, f], axis=-1) for f in numbered(20)]
    for frame in frames[15:]:
        frame[10:14, 10:14] = (255, 0, 0)
    video = open_video(write_video(tmp_path / "a.mkv", frames, pix_fmt="bgr0"))
    assert not any("colour" in note for note in video.notes)
    assert {f.image.ndim for f in video.frames()} == {2}
    assert "5 of 20 frames have colour" in video.notes[-1]


def test_times_are_the_files_own_and_gaps_are_told(tmp_path: Path) -> None:
    times = [1000, 1040, 1080, 1200, 1240, 1240, 1320, 1360, 1400]
    path = write_video(tmp_path / "a.mkv", numbered(9), times_ms=times)
    video = open_video(path)
    assert [f.time_s for f in video.frames()] == pytest.approx([(t - 1000) / 1000 for t in times])
    assert video.fps == 25
    told = " ".join(video.notes)
    assert "1 of 9 (first: frame 5)" in told
    assert "2 gaps of about 3 frames in all (the longest, 0.12 s, before frame 3)" in told


@pytest.mark.parametrize("fps", [10.0, None])
def test_whole_seconds_beside_images_are_no_times(tmp_path: Path, fps: float | None) -> None:
    names = [f"{i:02}.png" for i in range(12)]
    for name, frame in zip(names, numbered(12), strict=True):
        Image.fromarray(frame).save(tmp_path / name)
    frames = [{"file": name, "time_s": i // 10} for i, name in enumerate(names)]
    known = {"frames": frames, "fps": fps}
    (tmp_path / "meta.json").write_text(json.dumps(known))
    video = open_video(tmp_path)
    times = [frame.time_s for frame in video.frames()]
    assert video.fps == fps
    assert times == (pytest.approx([i / 10 for i in range(12)]) if fps else [None] * 12)


def test_a_rate_of_the_user_overrules_and_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", numbered(6), times_ms=[0, 40, 80, 200, 240, 280])
    video = open_video(path, fps=50, um_per_px=4)
    assert [f.time_s for f in video.frames()] == pytest.approx([i / 50 for i in range(6)])
    assert (video.fps, video.fps_source, video.um_per_px) == (50, "the user", 4)
    told = " ".join(video.notes)
    assert "50 fps by the user, 25 by the file's header; 50 is used" in told
    assert "Times are frame number / 50" in told


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.mp4", "mpeg4")])
def test_a_video_files_rate_is_said_to_be_that_of_playback_unless_the_user_gives_it(
    tmp_path: Path, name: str, codec: str
) -> None:
    path = write_video(tmp_path / name, numbered(6), codec, "yuv420p")
    said = "The frame rate, 25 fps, is that of the file's playback"
    assert [said in note for note in open_video(path).notes] == [True]
    assert not any("playback" in note for note in open_video(path, fps=50).notes)


def test_a_header_that_contradicts_the_time_stamps_loses(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", numbered(9), times_ms=[100 * i for i in range(9)])
    video = open_video(path)
    assert video.fps == 10
    assert "10 fps by the time stamps of 9 frames, 25 by the file's header" in video.notes[0]


def test_a_variable_rate_is_told_and_rounded_times_are_not() -> None:
    uneven = np.cumsum([0, 0.03, 0.05, 0.03, 0.04, 0.045, 0.03])
    assert "from 0.03 to 0.05 s" in describe_times(uneven, 0.001)[0]
    rounded = np.round(np.arange(90) / 30, 3)  # 33, 34, 33 ms: a steady 30 fps
    assert describe_times(rounded, 0.001) == ()
    assert decide_fps(None, [], rounded).value == pytest.approx(30, rel=1e-3)
    assert describe_times(np.zeros(3), 0.0) == ("All time stamps are equal.",)


@given(st.floats(1, 500), st.integers(3, 300))
def test_a_steady_rate_is_found_from_time_stamps(fps: float, count: int) -> None:
    times_s = np.arange(count) / fps
    assert describe_times(times_s, 0.0) == ()
    assert decide_fps(None, [], times_s).value == pytest.approx(fps, rel=1e-5)


def test_a_fact_has_no_default() -> None:
    unknown = decide_fps(None, [], None)
    assert (unknown.value, unknown.source) == (None, "neither in the file nor given")
    assert decide_um_per_px(None, []).value is None
    assert decide_fps(30, [Claim(29.97, "the header")], None).notes == ()
    with pytest.raises(UserError, match="positive frame rate"):
        decide_fps(0, [], None)
    with pytest.raises(UserError, match="positive pixel size"):
        decide_um_per_px(float("nan"), [])


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.avi", "rawvideo", "gray"), ("a.avi", "mjpeg", "yuvj420p"), ("a.mkv", "ffv1", "gray")],
)
def test_a_cut_off_video_is_read_up_to_there_and_says_so(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    whole = write_video(tmp_path / name, numbered(60), codec, pix_fmt)
    video = open_video(cut_off(whole, 0.7))
    frames = list(video.frames())
    assert 30 < len(frames) < 45
    assert [number_of(f.image) for f in frames] == [i % 12 for i in range(len(frames))]
    assert video.n_frames == len(frames)
    assert "promises" in video.notes[0]
    half = [f.image for f in frames if number_of(f.image) == 5]
    assert all(np.ptp(image[:, 4:24]) < 10 for image in half)  # no frame is half decoded


def test_damage_that_only_decoding_shows_is_told_after_it(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.avi", numbered(60), "png", "gray")
    data = bytearray(whole.read_bytes())
    middle = data.index(b"IDAT", len(data) // 2)
    data[middle : middle + 12] = bytes(12)
    whole.write_bytes(data)
    video = open_video(whole, fps=25)
    assert video.notes == ()
    count = len(list(video.frames()))
    assert 0 < count < 60
    assert video.n_frames == count
    assert any(str(count) in note for note in video.notes)


def write_text(path: Path) -> None:
    path.write_text("index, time\n" * 50)


def write_picture(path: Path) -> None:
    Image.new("L", (32, 32)).save(path, "PNG")


def write_playlist(path: Path) -> None:
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")


def write_no_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def write_headless(path: Path) -> None:
    whole = write_video(path.with_name(f"whole{path.suffix}"), numbered(30), "mpeg4", "yuv420p")
    cut_off(whole, 0.5).rename(path)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("text.avi", write_text, "plain text"),
        ("picture.mp4", write_picture, "a PNG picture"),
        ("list.mkv", write_playlist, "plain text"),
        ("empty.avi", Path.touch, "an empty file"),
        ("none.avi", write_no_frames, "no frame"),
        ("none.mp4", write_no_frames, "no picture track"),
        ("none.mkv", write_no_frames, "perhaps damaged"),
        ("cut.mp4", write_headless, "perhaps damaged, cut off"),
        ("notes.docx", write_text, "Supported are .avi, .mkv, .mov, .mp4, .tif, .tiff"),
        ("single.png", write_picture, "Name the folder"),
        ("text.tif", write_text, "not a TIFF"),
    ],
)
def test_what_is_no_video_is_refused_by_name(tmp_path: Path, name: str, write, said: str) -> None:
    write(tmp_path / name)
    with pytest.raises(UserError, match=name) as refused:
        open_video(tmp_path / name)
    assert said in str(refused.value)


@pytest.mark.parametrize("name", ["A1:film.avi", "09-30:05 film.mkv", "file:.mp4", "50% #1.mov"])
def test_any_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    file = write_video(tmp_path / f"plain{Path(name).suffix}", numbered(3), "mjpeg", "yuvj420p")
    file.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(open_video(name).frames())) == 3


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4", ".mov"])
def test_a_title_that_is_no_utf8_stops_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Mxller, 4 xm"
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for frame in numbered(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    latin = path.read_bytes().replace(b"Mxller, 4 xm", "Müller, 4 µm".encode("latin-1"))
    path.write_bytes(latin)
    assert len(list(open_video(path).frames())) == 3
    assert stamp_of(path) is None


@pytest.mark.parametrize("shape", [Fraction(1), Fraction(16, 15)])
def test_pixels_that_are_no_squares_are_told(tmp_path: Path, shape: Fraction) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape
        for frame in numbered(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    told = " ".join(open_video(tmp_path / "a.mp4").notes)
    assert ("pixels 1.067 times as wide as high" in told) == (shape != 1)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file: .*gone\.avi"):
        open_video(tmp_path / "gone.avi")


def test_a_video_under_another_videos_suffix_is_read_and_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered(5), "mpeg4", "yuv420p").rename(
        tmp_path / "a.avi"
    )
    video = open_video(path)
    assert "named .avi but is a QuickTime / MOV file" in video.notes[0]
    assert len(list(video.frames())) == 5


def test_a_video_whose_size_changes_is_refused_there(tmp_path: Path) -> None:
    wide = write_video(tmp_path / "wide.mkv", numbered(10), "mjpeg", "yuvj420p")
    small = write_video(tmp_path / "small.mkv", numbered(3, 32, 32), "mjpeg", "yuvj420p")
    path = str(tmp_path / "both.mkv")
    with av.open(str(wide)) as first, av.open(str(small)) as second, av.open(path, "w") as both:
        stream = both.add_stream_from_template(first.streams.video[0])
        packets = [p for part in (first, second) for p in part.demux() if p.size]
        for index, packet in enumerate(packets):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = 40 * index
            both.mux(packet)
    frames = open_video(path).frames()
    assert len(list(islice(frames, 10))) == 10
    with pytest.raises(UserError, match=r"64 x 48 px.*32 x 32 px in frame 10"):
        next(frames)


def test_frames_of_one_value_are_counted(tmp_path: Path) -> None:
    flat = np.full((48, 64), 7, np.uint8)
    video = open_video(write_video(tmp_path / "a.mkv", [*numbered(5), flat, flat]), fps=25)
    assert len(list(video.frames())) == 7
    assert video.notes == ("2 of 7 frames are of one value each.",)
    list(video.frames())
    assert len(video.notes) == 1, "a second pass tells nothing twice"
    video = open_video(
        write_video(tmp_path / "b.mkv", [flat.astype(np.uint16)] * 4, pix_fmt="gray16le")
    )
    assert {int(f.image.max()) for f in video.frames()} == {0}
    assert "All 4 frames are of one value" in video.notes[-1]


def test_streaming_holds_few_frames_at_a_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", numbered(60, 256, 256))
    video = open_video(path)
    tracemalloc.start()
    for _ in video.frames():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 256 * 256, "more than a few frames of 64 KiB were held"


def test_find_videos_expands_files_folders_and_globs(tmp_path: Path) -> None:
    for name in ("clip10.avi", "clip9.avi", "clip1.mkv"):
        write_video(tmp_path / name, numbered(2))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.avi").mkdir()
    (tmp_path / "rec" / "images").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "rec" / "images" / "0.png")

    def names(*paths: str | Path) -> list[str]:
        return [path.name for path in find_videos(paths)]

    assert names(tmp_path) == ["clip1.mkv", "clip9.avi", "clip10.avi"]
    assert names(tmp_path / "clip*.avi") == ["clip9.avi", "clip10.avi"]
    assert names(tmp_path / "*") == ["clip1.mkv", "clip9.avi", "clip10.avi", "rec"]
    assert names(tmp_path / "rec", tmp_path / "rec" / "images") == ["rec"]
    assert names(tmp_path / "clip9.avi", tmp_path / "clip*") == [
        "clip9.avi",
        "clip1.mkv",
        "clip10.avi",
    ]


def test_find_videos_refuses_what_is_unclear(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for path, said in [
        (tmp_path / "none", "videos or images in the folder"),
        (tmp_path / "*.avi", "got no file"),
        (tmp_path / "*.txt", "got 1 other files"),
        (tmp_path / "notes.txt", "unknown suffix “.txt”"),
        (tmp_path / "gone.avi", "no such file"),
    ]:
        with pytest.raises(UserError, match="Expected") as refused:
            find_videos([path])
        assert said in str(refused.value)
    with pytest.raises(UserError, match="at least one video"):
        find_videos([])


def test_a_folder_of_videos_and_images_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", numbered(2))
    Image.new("L", (8, 8)).save(tmp_path / "thumb.png")
    with pytest.raises(UserError, match=r"1 videos and 1 images.*a\.avi|\*\.avi"):
        find_videos([tmp_path])


def test_a_real_recording_is_read_with_what_its_meta_json_says() -> None:
    video = open_video(shared("data/eht_d1t3"))
    frames = list(islice(video.frames(), 31))
    assert (video.n_frames, video.height, video.width) == (200, 512, 512)
    assert (video.fps, video.um_per_px) == (30, 4.0)
    assert "meta.json" in video.fps_source
    assert video.is_grey
    assert frames[30].time_s == pytest.approx(1.0)
    stored = np.asarray(Image.open(shared("data/eht_d1t3/images/0030.png")))
    np.testing.assert_array_equal(frames[30].image, stored)
