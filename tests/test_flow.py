"""Motion against truth from outside: a finite-element simulation, and the authors' own tracking."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from functools import cache

import cv2
import numpy as np
import pytest
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from conftest import shared
from ehtseg.measuring import flow, posts, reference
from ehtseg.measuring.flow import Motion, Tracker, measure_flow
from ehtseg.measuring.shapes import Axis, tissue_axis
from ehtseg.records import Array, UserError

BEAT = 25  # frames of one simulated beat, from rest to rest


@cache
def pictures(folder: str, kind: str = "images") -> list[Array]:
    files = sorted(shared(f"data/{folder}/{kind}").glob("*.png"))
    return [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]


def noisy(image: Array, share: float, rng: np.random.Generator) -> Array:
    return np.clip(np.round(image + rng.normal(0, share * 255, image.shape)), 0, 255).astype("u1")


def twitches(x: Array, bounds: list[tuple[int, int]]) -> Array:
    """Amplitude and width at half of it (frames) of each beat, above the lower quarter's median."""
    found = []
    for first, last in bounds:
        s = x[first:last] - np.median(np.sort(x)[: len(x) // 4])
        half, above = s.max() / 2, np.flatnonzero(s > s.max() / 2)
        i, j = above[0], above[-1]
        up = i - (s[i] - half) / (s[i] - s[i - 1])
        down = j + (s[j] - half) / (s[j] - s[j + 1])
        found.append((s.max(), down - up))
    return np.array(found)


# --- small pure functions ---------------------------------------------------------------------


def grid_reference(angle: float = 0.0, length: float = 100.0) -> reference.Reference:
    cells = np.stack(np.meshgrid(np.arange(101), np.arange(41)), -1).reshape(-1, 2)
    nothing = np.zeros((41, 101), np.uint8)
    window = reference.Window(10, 20, 101, 41, 1.0)
    return reference.Reference(window, nothing, nothing, cells, Axis(0, 0, angle, length), (60, 40))


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2])
def test_shortening_of_a_uniform_strain_is_strain_times_length_wherever_it_stands(angle):
    ref = grid_reference(angle, 100.0)
    along = np.array([np.cos(angle), np.sin(angle)])
    u = -0.05 * (ref.points @ along)[:, None] * along + (7.0, -3.0)
    assert flow.shortening(u[None].astype("f4"), ref) == pytest.approx([5.0], rel=1e-4)


def test_mean_displacement_is_counted_from_the_resting_place():
    u = np.array([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]], np.float32)
    assert flow.mean_displacement(u, np.zeros((1, 2))) == pytest.approx([2.5, 1.0])
    assert flow.mean_displacement(u, np.array([[0, 0], [1, 0]])) == pytest.approx([2.5, 0.0])


@pytest.mark.parametrize("angle", [0.0, 0.3, -1.2, 1.5])
def test_direction_of_shortening_is_found_from_motion_alone(angle):
    points = grid_reference().points
    along = np.array([np.cos(angle), np.sin(angle)])
    u = -0.08 * (points @ along)[:, None] * along + 0.01 * points + 5.0
    assert flow.shortening_direction(u, points) == pytest.approx(angle, abs=1e-6)


def test_a_levelled_picture_has_the_brightness_of_the_other():
    rng = np.random.default_rng(0)
    like = rng.integers(80, 160, (50, 60)).astype(np.uint8)
    darker = np.round(like * 0.6 + 5).astype(np.uint8)
    inside = np.ones_like(like)
    assert np.abs(reference.levelled(darker, like, inside).astype(int) - like).max() <= 2
    flat = np.full_like(like, 7)
    assert reference.levelled(flat, like, inside) == pytest.approx(like.mean(), abs=1)


def test_a_window_reaches_beyond_the_picture_with_its_last_pixels():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    window = reference.Window(1, 1, 2, 2, 1.0)
    assert window.cut(image).tolist() == [[5, 6], [9, 10]]
    assert window.cut(image, (2, 1)).tolist() == [[11, 11], [11, 11]]
    assert window.cut(image, (-2, -1)).tolist() == [[0, 0], [4, 4]]


def test_the_rim_is_thinner_where_half_of_the_region_would_be_lost():
    thick, thin = np.zeros((200, 300), bool), np.zeros((60, 300), bool)
    thick[50:150, 50:250], thin[20:40, 20:280] = True, True
    kept = reference.without_rim(thick, 12)
    assert kept[62:138, 62:238].all()
    assert kept.sum() == 76 * 176
    assert reference.without_rim(thin, 12).sum() >= thin.sum() / 2


def test_points_of_a_shrunk_window_stand_at_the_same_places():
    region = np.zeros((900, 1400), bool)
    region[200:700, 100:1300] = True
    image = np.zeros((900, 1400), np.uint8)
    made = reference.make_reference(region, [image] * 3, tissue_axis(region))
    assert made.window.scale < 0.5
    assert made.picture.size <= reference.MOST_PX * 1.01
    assert made.points.mean(0) == pytest.approx((699.5, 449.5), abs=6)
    assert len(made.cells) <= reference.MOST_POINTS * 1.1


def test_points_of_an_enlarged_window_stand_at_the_same_places():
    region = np.zeros((90, 140), bool)
    region[20:70, 10:130] = True
    image = np.zeros((90, 140), np.uint8)
    made = reference.make_reference(region, [image] * 3, tissue_axis(region))
    assert made.window.scale > 2
    assert made.picture.size <= reference.MOST_PX * 1.01
    assert made.points.mean(0) == pytest.approx((69.5, 44.5), abs=0.5)
    assert np.ptp(made.points, axis=0) == pytest.approx((109, 39), abs=3)  # a thinner rim
    post = reference.make_reference(region, [image] * 3, tissue_axis(region), edge_px=0)
    assert post.window.scale == 1


def test_one_spoilt_mask_does_not_move_the_window_but_a_jump_of_the_stage_does():
    here, there, spoilt = (np.zeros((80, 200), bool) for _ in range(3))
    here[20:60, 20:80], there[20:60, 60:120], spoilt[0:5, 190:] = True, True, True
    empty = np.zeros_like(here)
    masks = [here] * 10 + [spoilt, empty] + [here] * 10 + [there] * 12
    shifts = flow.window_shifts(masks, reference.centre_of(here))
    assert shifts == [(0, 0)] * 22 + [(40, 0)] * 12
    assert flow.window_shifts([empty] * 3, (5.0, 5.0)) == [(0, 0)] * 3


def test_segments_lose_no_frame_and_hold_few_in_memory():
    pulled = 0

    def frames() -> Iterator[tuple[Array, Array]]:
        nonlocal pulled
        for number in range(1000):
            pulled += 1
            yield np.full((4, 4), number % 256, np.uint8), np.ones((4, 4), bool)

    seen, ahead = 0, 0
    for images, masks in flow.segments(frames(), 100):
        assert len(images) == len(masks)
        assert [int(image[0, 0]) for image in images] == [
            n % 256 for n in range(seen, seen + len(images))
        ]
        ahead = max(ahead, pulled - seen)
        seen += len(images)
    assert seen == 1000
    assert ahead <= 150


# --- synth_fea: known displacement of 2378 points ------------------------------------------------


@cache
def fea_truth() -> Array:
    """True positions (51, 2378, 2) px."""
    file = shared("data/synth_fea/ground_truth/square_region.npz")
    return np.asarray(np.load(file)["pos_xy_px"])


def follow_fea(noise: float) -> tuple[Motion, list[Array], list[Array]]:
    rng = np.random.default_rng(11)
    images = pictures("synth_fea")
    images = [noisy(image, noise, rng) for image in images] if noise else images
    masks = [mask > 0 for mask in pictures("synth_fea", "masks")]
    motion = Tracker(flow.shortening).follow(images, masks)
    assert motion is not None
    return motion, images, masks


@pytest.mark.parametrize(("noise", "limit_px"), [(0.0, 0.06), (0.02, 0.10)])
def test_flow_reproduces_the_simulated_displacement_of_every_point(noise, limit_px):
    motion, images, masks = follow_fea(noise)
    ref, truth = motion.reference, fea_truth()
    depth = cv2.distanceTransform(masks[0].astype("u1"), cv2.DIST_L2, 5)
    start = truth[motion.rest].mean(0)
    inside = cv2.remap(depth, *start.T.astype("f4"), cv2.INTER_LINEAR).ravel() >= 3
    scale = ref.window.scale
    x, y = ((start[inside] - (ref.window.x, ref.window.y) + 0.5) * scale - 0.5).T.astype("f4")
    errors = []
    for frame in range(1, 51):
        field = reference.flow_field(ref, ref.see(images[frame]))
        u = cv2.remap(field, x, y, cv2.INTER_LINEAR).reshape(-1, 2) / scale
        errors.append(np.linalg.norm(u - (truth[frame] - start)[inside], axis=1).mean())
    assert inside.sum() > 1800
    assert np.mean(errors) <= limit_px


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_amplitude_and_duration_of_the_flow_traces_are_within_two_percent(noise):
    motion, _, _ = follow_fea(noise)
    truth, bounds = fea_truth(), [(4, 26), (28, 51)]
    start = truth[motion.rest].mean(0)
    field = LinearNDInterpolator(start, np.moveaxis(truth - start, 0, 1))
    u = np.moveaxis(field(motion.reference.points), 1, 0).astype("f4")
    assert np.isfinite(u).all()
    frames = flow.flow_frames(motion)
    pairs = {
        "contraction_px": flow.shortening(u, motion.reference),
        "displacement_px": flow.mean_displacement(u, np.zeros((1, 2))),
    }
    for name, true in pairs.items():
        found = np.array([getattr(frame, name) for frame in frames])
        ratio = twitches(found, bounds) / twitches(true, bounds)
        assert np.abs(ratio - 1).max() <= 0.02, name


def test_a_square_piece_of_tissue_gets_its_axis_from_its_motion():
    motion, _, _ = follow_fea(0.0)
    assert abs(motion.reference.axis.angle_rad) < 0.25  # it shortens in x, by 9 %


# --- a whole tissue, its texture real and its motion simulated -----------------------------------


def grid(width: int, height: int) -> Array:
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype("f4")


@cache
def fea_beat(x0: int, y0: int, width: int, height: int) -> Array:
    """Simulated displacement of each pixel in one beat, (25, height, width, 2), px."""
    data = np.load(shared("data/synth_fea/ground_truth/whole_slice.npz"))
    places = data["slice_xy_mm"] / 0.004 + data["shift_xy_px"] + (3, 33)  # over eht_d1t3's tissue
    moves = np.moveaxis(data["disp_xyz_mm"][:BEAT, :2], 2, 0) / 0.004
    coarse = grid(width // 4 + 1, height // 4 + 1) * 4 + (x0, y0)
    known = np.moveaxis(NearestNDInterpolator(places, moves)(coarse), 2, 0).astype("f4")
    scale = np.array([[4, 0, 0], [0, 4, 0]], float)
    edge, smooth = cv2.BORDER_REPLICATE, [cv2.GaussianBlur(one, (0, 0), 2) for one in known]
    return np.array([cv2.warpAffine(s, scale, (width, height), borderMode=edge) for s in smooth])


@cache
def fea_way_back(box: tuple[int, int, int, int]) -> Array:
    """The displacement that has led to each pixel, (25, height, width, 2)."""
    here, found = grid(*box[2:]), []
    for forth in fea_beat(*box):
        back = forth
        for _ in range(12):  # the strain is below 0.2, so that each round mends most of the rest
            back = at(forth, here - back)
        found.append(back)
    return np.array(found)


def at(field_HW2: Array, places_HW2: Array) -> Array:
    linear, edge = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    return cv2.remap(field_HW2, places_HW2, None, linear, borderMode=edge)


def movie(
    frames: int, box: tuple[int, int, int, int], drift_px: float, noise: float = 0.02
) -> Iterator[tuple[Array, Array]]:
    """Beats of the simulated motion, while the stage drifts by `drift_px` and the lamp fades."""
    rng = np.random.default_rng(5)
    texture = pictures("eht_d1t3")[0].astype("f4") * 0.8
    mask = pictures("eht_d1t3", "masks")[0]
    backs, here, corner = fea_way_back(box), grid(*box[2:]), np.float32(box[:2])
    for number in range(frames):
        done = number / frames
        before = here - np.float32((drift_px * 0.8 * done, drift_px * 0.6 * done))
        way = before - at(backs[number % BEAT], before) + corner
        lamp = 1 - 0.2 * done + 0.05 * np.sin(9 * done)
        image = cv2.remap(texture, way, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        yield noisy(image * lamp, noise, rng), cv2.remap(mask, way, None, cv2.INTER_LINEAR) > 127


def test_contraction_of_a_whole_tissue_is_right_at_five_percent_noise():
    box = (0, 120, 512, 290)
    frames = list(movie(BEAT, box, 0.0, noise=0.05))
    motion = Tracker(flow.shortening).follow(*map(list, zip(*frames, strict=True)))
    assert motion is not None
    x, y = motion.reference.points.T.astype("f4")
    u = [cv2.remap(one, x[None], y[None], cv2.INTER_LINEAR)[0] for one in fea_beat(*box)]
    true, bounds = flow.shortening(np.array(u), motion.reference), [(3, 24)]
    assert np.abs(twitches(motion.amount, bounds) / twitches(true, bounds) - 1).max() <= 0.02


def assert_rest_stays(frames: int, minute: int, drift_px: float, segment: int) -> None:
    box = (110, 180, 290, 160)
    found = list(measure_flow(movie(frames, box, drift_px), segment_frames=segment))
    assert len(found) == frames
    assert found[-1].reference >= 1  # it was renewed on the way
    rest = np.isin(np.arange(minute) % BEAT, [2, 3, 4, 5, 6, 20, 21, 22, 23, 24])
    for name in ("contraction_px", "displacement_px"):
        x = np.array([getattr(frame, name) for frame in found])
        first, last = x[:minute], x[-minute:]
        assert abs(last[rest].mean() - first[rest].mean()) < 0.1, name
        assert np.ptp(last) == pytest.approx(np.ptp(first), rel=0.03), name
    shift = np.array([(frame.shift_x_px, frame.shift_y_px) for frame in found])
    moved = shift[-minute:].mean(0) - shift[:minute].mean(0)
    way = drift_px * (1 - minute / frames)
    assert moved == pytest.approx((0.8 * way, 0.6 * way), abs=0.1)


@pytest.mark.slow
def test_rest_stays_where_it_is_while_stage_and_lamp_drift():
    assert_rest_stays(frames=300, minute=50, drift_px=6.0, segment=50)


@pytest.mark.slow
def test_rest_stays_where_it_is_for_ten_minutes():
    assert_rest_stays(frames=18_000, minute=1_800, drift_px=5.0, segment=300)


def test_a_real_tissue_contracts_most_in_the_frames_that_its_authors_found():
    masks = [mask > 0 for mask in pictures("demo_d1t3_256", "masks")]
    frames = list(measure_flow(zip(pictures("demo_d1t3_256"), masks, strict=True)))
    x = np.array([frame.contraction_px for frame in frames])
    peaks = np.array([np.argmax(x[:28]), 28 + np.argmax(x[28:])])
    assert np.abs(peaks - (16, 40)).max() <= 1
    assert min(frame.match for frame in frames) > 0.9


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_real_tissue_contracts_alike_however_small_its_picture(share):
    """At a quarter of the size it moves by less than a pixel, and is 25 px thick."""
    found = []
    for size in (1.0, share):
        sizes = {"dsize": None, "fx": size, "fy": size, "interpolation": cv2.INTER_AREA}
        images = [cv2.resize(image, **sizes) for image in pictures("eht_d1t3")[:75]]
        masks = [cv2.resize(mask, **sizes) > 127 for mask in pictures("eht_d1t3", "masks")[:75]]
        frames = measure_flow(zip(images, masks, strict=True))
        x = np.array([frame.contraction_px for frame in frames]) / size
        found.append(twitches(x, [(6, 28), (30, 52)]))
    assert found[1] == pytest.approx(found[0], rel=0.03)


def test_nothing_is_measured_before_there_is_tissue_and_all_frames_are_answered():
    image, empty = np.zeros((100, 120), np.uint8), np.zeros((100, 120), bool)
    speck, *scattered = (empty.copy() for _ in range(4))
    speck[3:6, 3:6] = True
    for number, mask in enumerate(scattered):
        mask[30 * number : 30 * number + 30] = True  # no place is tissue in half of the frames
    for masks in ([empty] * 7, [speck] * 7, [*scattered, empty] * 3):
        found = list(measure_flow([(image, mask) for mask in masks]))
        assert len(found) == len(masks)
        assert all(np.isnan(frame.contraction_px) and frame.reference == -1 for frame in found)


@pytest.mark.parametrize(("frames", "shape"), [(1, (32, 48)), (3, (20, 300)), (10, (120, 90))])
def test_few_frames_and_small_pictures_are_measured_too(frames, shape):
    rng = np.random.default_rng(3)
    image = np.clip(rng.normal(128, 50, shape), 0, 255).astype("u1")
    mask = np.zeros(shape, bool)
    mask[4:-4, 4:-4] = True
    found = list(measure_flow([(image, mask)] * frames))
    assert len(found) == frames
    assert all(abs(frame.contraction_px) < 1e-3 for frame in found)


def test_a_still_colour_video_shows_no_motion():
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.normal(128, 90, (120, 160)), (0, 0), 1.5)
    image = np.repeat(np.clip(image, 0, 255).astype("u1")[..., None], 3, axis=2)
    mask = np.zeros((120, 160), bool)
    mask[30:90, 20:140] = True
    found = list(measure_flow([(image, mask)] * 12))
    assert max(abs(frame.contraction_px) for frame in found) < 1e-3
    assert max(frame.displacement_px for frame in found) < 1e-3
    assert min(frame.match for frame in found) > 0.99


# --- posts against the authors' own tracking -----------------------------------------------------


@cache
def tracked_posts() -> list[posts.PostFrame]:
    marked = posts.two_posts(pictures("eht_d1t3", "pillars")[0])
    return list(posts.track_posts(pictures("eht_d1t3")[:150], marked))


def published(name: str) -> Array:
    folder = "data/reference_results/microbundlepillartrack_tutorial_d1t3"
    return np.loadtxt(shared(f"{folder}/{name}.txt"))


@pytest.mark.parametrize(("post", "sign"), [(1, 1), (2, -1)])
def test_posts_move_as_their_authors_tracked_them(post, sign):
    x, y = (published(f"pillar{post}_{name}").mean(0) for name in ("col", "row"))
    theirs = {"x": x - x[0], "length": np.hypot(x - x[0], y - y[0])}
    frames = tracked_posts()
    mx, my = (np.array([getattr(f, f"post{post}_{c}_px") for f in frames]) for c in "xy")
    ours = {"x": mx - mx[0], "length": np.hypot(mx - mx[0], my - my[0])}
    deflection = np.array([getattr(f, f"post{post}_deflection_px") for f in frames])
    for name, trace in ours.items():
        assert np.corrcoef(trace, theirs[name])[0, 1] >= 0.999, name
    assert np.corrcoef(deflection, sign * theirs["x"])[0, 1] >= 0.999
    peaks = published(f"pillar{post}_beat_peaks").astype(int)
    bounds = [(peak - 12, min(peak + 12, 150)) for peak in peaks]
    found = [first + int(np.argmax(deflection[first:last])) for first, last in bounds]
    assert np.abs(np.array(found) - peaks).max() <= 1
    widths = published(f"pillar{post}_t50_beat_width_info")[0]
    assert twitches(ours["length"], bounds)[:, 1] == pytest.approx(widths, rel=0.05)
    like = twitches(sign * theirs["x"], bounds)[:, 1]
    assert twitches(deflection, bounds)[:, 1] == pytest.approx(like, rel=0.05)


def test_stage_drift_does_not_shorten_the_distance_between_posts():
    image = pictures("eht_d1t3")[0]
    marked = posts.two_posts(pictures("eht_d1t3", "pillars")[0])
    ways = [grid(512, 512) - np.float32((0.1 * k, 0)) for k in range(24)]
    moved = [cv2.remap(image, way, None, cv2.INTER_CUBIC) for way in ways]
    found = list(posts.track_posts(moved, marked))
    shortening = np.array([frame.post_shortening_px for frame in found])
    bent = np.array([frame.post1_deflection_px for frame in found])
    assert bent[-1] - bent[0] == pytest.approx(2.3, abs=0.1)
    assert np.ptp(shortening) < 0.1


def test_posts_are_found_in_labels_pieces_and_boxes():
    labels = np.zeros((60, 100), np.uint8)
    labels[20:30, 70:80], labels[20:30, 10:20] = 128, 255
    for marked in (labels, (labels > 0).astype(np.uint8) * 255):
        left, right = posts.two_posts(marked)
        assert reference.centre_of(left) == (14.5, 24.5)
        assert reference.centre_of(right) == (74.5, 24.5)
    assert (posts.box_mask((60, 100), (10, 20, 10, 10)) == left).all()
    upper, lower = posts.two_posts(np.ascontiguousarray(labels.T))
    assert (left == upper.T).all()
    assert (right == lower.T).all()
    labels[50:, 40:50] = 7
    with pytest.raises(UserError, match="got 3"):
        posts.two_posts(labels)


@pytest.mark.slow
def test_an_hour_of_video_takes_less_than_half_an_hour_of_two_cores():
    images, masks = pictures("eht_d1t3"), [m > 0 for m in pictures("eht_d1t3", "masks")]
    pairs = zip(itertools.cycle(images), itertools.cycle(masks), strict=True)
    wall, busy = time.perf_counter(), time.process_time()
    found = list(measure_flow(itertools.islice(pairs, 1200)))
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    assert len(found) == 1200
    assert busy / 1200 < 0.030  # of the 33 ms that two cores have for a frame
