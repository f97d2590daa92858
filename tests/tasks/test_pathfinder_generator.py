"""Pathfinder's generator: stamps, growth rules, labels, published statistics, reproducibility."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lra_tasks import pathfinder_growth as growth
from lra_tasks.errors import TaskError
from lra_tasks.pathfinder_generator import PRESETS, benchmark, generate, generate_with_paths
from lra_tasks.pathfinder_stamps import build_tables, render_marker, render_paddle

# Short paths in a large window, which rarely touch: for reading the connectivity off the picture.
SPARSE = replace(PRESETS[128], contour_length=4, distractors=0)


@pytest.fixture(scope="module")
def tables():
    return {size: build_tables(parameters) for size, parameters in PRESETS.items()}


def pad_paste(window, stamp, y, x):
    """The stamp centred on (y, x) of an empty window, by cropping a larger one."""
    reach = stamp.shape[0] // 2
    frame = 4 * max(window, reach)
    large = np.zeros((window + 2 * frame, window + 2 * frame), np.float32)
    top, left = y + frame - reach, x + frame - reach
    large[top : top + stamp.shape[0], left : left + stamp.shape[1]] = stamp
    return large[frame:-frame, frame:-frame]


def lanczos(image, side):
    """Scale a square image down with the Lanczos-3 kernel, cut and renormalised at the edges, in whole levels."""
    scale = len(image) / side
    centres = (np.arange(side) + 0.5) * scale
    distance = (np.arange(len(image)) + 0.5 - centres[:, None]) / scale
    kernel = np.where(abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    kernel /= kernel.sum(axis=1, keepdims=True)
    rows = np.rint(image @ kernel.T).clip(0, 255)  # the picture between the two passes has 8 bits, too
    return np.rint(kernel @ rows).clip(0, 255)


# --- stamps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "margin"), [(32, 1), (128, 2), (128, 3)])
@pytest.mark.parametrize("degree", [-180, -90, 0, 90])
def test_paddle_is_a_scaled_down_line_and_its_mask_a_dilated_one(size, margin, degree):
    p = PRESETS[size]
    half = p.paddle_length + int(np.ceil(p.paddle_thickness)) + margin
    centre, end, width = 2 * half, 2 * half + 2 * p.paddle_length, round(2 * p.paddle_thickness)
    canvas = np.zeros((4 * half + 1, 4 * half + 1))
    canvas[centre - width // 2 : centre + width // 2 + 1, centre : end + 1] = 255
    canvas = np.rot90(canvas, -degree // 90)  # y points down: 90 degrees is downwards
    y, x = np.indices(canvas.shape)
    lit = np.argwhere(canvas)
    near = (((y[..., None] - lit[:, 0]) ** 2 + (x[..., None] - lit[:, 1]) ** 2) <= (2 * margin) ** 2).any(axis=-1)

    line, mask = render_paddle(p, margin, np.deg2rad(degree))
    for stamp, drawn in ((line, canvas), (mask, near * 255.0)):
        expected = lanczos(drawn, 2 * half + 1)
        assert stamp.shape == expected.shape
        assert abs(stamp * 255 - expected).max() < 1.1  # coefficients in fixed point may tip a rounding


@pytest.mark.parametrize("size", [16, 32, 128])
def test_markers_equal_a_rendering_on_the_whole_window_everywhere(size, tables):
    near_edges = [*range(12), *range(size - 12, size)] if size > 24 else [*range(size)]
    random = np.random.default_rng(0)
    places = [(0, 0), (0, size - 1), (size - 1, 0), (size - 1, size - 1), (size // 2, size // 2)]
    places += [(int(y), int(x)) for y, x in random.choice(near_edges, (30, 2))]
    for y, x in places:
        image = np.zeros((size, size), np.float32)
        growth._paste_marker(image, tables[size], y, x)
        np.testing.assert_array_equal(image, render_marker(PRESETS[size], size, y, x))


def test_marker_is_a_disc_of_its_radius():
    marker = render_marker(PRESETS[128], 128, 40, 60)
    y, x = np.indices(marker.shape)
    distance = np.hypot(y - 40, x - 60)
    assert (marker[distance <= 2] > 0.95).all()
    assert (marker[distance >= 5] < 0.05).all()


def test_paste_keeps_the_maximum_and_cuts_at_the_edges():
    random = np.random.default_rng(1)
    stamp, before = random.random((9, 9), np.float32), random.random((20, 20), np.float32)
    for y, x in [(10, 10), (0, 0), (19, 3), (2, 19), (-3, 8), (23, 23), (-9, 5)]:
        image = before.copy()
        growth._paste(image, stamp, y, x, 1.5)
        np.testing.assert_array_equal(image, np.maximum(before, pad_paste(20, stamp * np.float32(1.5), y, x)))


# --- growth ---------------------------------------------------------------------------------------------------------


def grow(parameters, tables, seed):
    """Targets grown until they fit: margin index, taken planes, paths (2, length, 3)."""
    settings = growth.settings_of(parameters, 10_000)
    size = parameters.window
    m = seed % len(parameters.margins)
    taken = np.empty((2, size, size), np.float32)
    targets = np.empty((2, parameters.contour_length, 3), np.int64)
    random = np.array([seed], np.uint64)
    for _ in range(10_000):
        if growth._grow_targets(tables, settings, m, taken, targets, random):
            return m, taken, targets, random
    raise AssertionError("no place found")


@pytest.mark.parametrize("size", [16, 32, 128])
def test_targets_keep_clear_of_what_is_taken(size, tables):
    p, t = PRESETS[size], tables[size]
    for seed in range(6):
        m, taken, targets, _ = grow(p, t, seed)
        masks = [[pad_paste(size, t.mask[m, d], y, x) for d, y, x in path] for path in targets]
        mask = np.ones((size, size), np.float32)
        mask[1:-1, 1:-1] = 0
        for k in range(1, p.contour_length):
            for s in range(2):
                assert (mask.astype(float) + masks[s][k]).max() < 1.8
                mask = np.maximum(mask, masks[s][k - 1])
        mask = np.maximum(mask, masks[1][-1])
        np.testing.assert_array_equal(taken[0], mask)
        # Kept up to date with dilated stamps, which must give the same as dilating the whole.
        disc = render_disc(p.margins[m])
        np.testing.assert_array_equal(taken[1], ndimage.grey_dilation(mask, footprint=disc, mode="constant"))


def render_disc(radius):
    y, x = np.indices((2 * radius + 1, 2 * radius + 1)) - radius
    return np.hypot(y, x) <= radius


@pytest.mark.parametrize("size", [16, 32, 128])
def test_paths_follow_the_geometry(size):
    p = PRESETS[size]
    drawn = generate_with_paths(p, 3, 0, 40)
    tails, heads = drawn.paths[:, :, 0], drawn.paths[:, :, 1:]
    assert heads.min() >= 0
    assert heads.max() < size
    apart = np.hypot(*(tails[:, 0] - tails[:, 1]).T.astype(float))
    assert abs(apart - p.seed_distance).max() < 1  # both coordinates are rounded
    margin = drawn.margins.astype(int)[:, None, None]
    assert set(np.unique(margin)) == set(p.margins)
    # From head to head: on to the next pivot by L + 2m at most, from there to its circle by L + m; pixels are whole.
    steps = np.hypot(*np.moveaxis(np.diff(heads.astype(float), axis=2), -1, 0))
    assert (steps <= 2 * p.paddle_length + 3 * margin + 3).all()
    assert (steps >= p.paddle_length).all()


def free_pixels(mask, core):
    """Where the core of a first paddle, cut at the edges, covers nothing above 0.3."""
    free = np.zeros(mask.shape, bool)
    for y, x in np.ndindex(mask.shape):
        rows, columns = core[:, 0] + y, core[:, 1] + x
        inside = (rows >= 0) & (rows < len(mask)) & (columns >= 0) & (columns < len(mask))
        free[y, x] = (mask[rows[inside], columns[inside]] <= 0.3).all()
    return free


@pytest.mark.parametrize("crowded", [False, True], ids=["guessed", "listed"])
def test_first_tail_of_a_distractor_is_uniform_over_the_free_pixels(crowded, tables):
    t = tables[32]
    degree = int(np.flatnonzero(t.startable[0])[5])
    core = t.core[0, degree, : t.core_size[0, degree]]
    _, taken, _, random = grow(PRESETS[32], t, 4)
    if crowded:
        places = np.argwhere(free_pixels(taken[0], core))[::40]
        taken[0] = 1
        for place in places:
            taken[0][tuple((core + place).T)] = 0
    free = free_pixels(taken[0], core)
    k = free.sum()
    assert (k < 20) == crowded
    counts = np.zeros((32, 32))
    for _ in range(100 * k):
        found, y, x = growth._free_tail(t, 0, taken, degree, random)
        assert found
        counts[y, x] += 1
    assert counts[~free].sum() == 0
    # Chi-square with k − 1 degrees of freedom: five standard deviations above its mean.
    assert ((counts[free] - 100) ** 2 / 100).sum() < k - 1 + 5 * np.sqrt(2 * k)


def test_no_free_pixel_for_a_first_tail(tables):
    taken = np.ones((2, 32, 32), np.float32)
    assert growth._free_tail(tables[32], 0, taken, 45, np.zeros(1, np.uint64)) == (False, 0, 0)


@pytest.mark.parametrize("size", [32, 128])
def test_first_tail_of_path_1_is_uniform_over_the_free_pixels(size, tables):
    t, border = tables[size], 2 * PRESETS[size].seed_distance
    mask = np.ones((size, size), np.float32)
    mask[border : size - border, border : size - border] = 0
    random = np.zeros(1, np.uint64)
    for degree in np.flatnonzero(t.startable[0])[:: len(t.startable[0]) // 6]:
        free = free_pixels(mask, t.core[0, degree, : t.core_size[0, degree]])
        found = set()
        for _ in range(8 * free.sum()):
            ok, y, x = growth._central_tail(t, 0, size, border, int(degree), random)
            assert ok
            assert free[y, x]
            found.add((y, x))
        # Of k pixels each is missed with probability e^-8.
        assert len(found) > 0.99 * free.sum() - 1


# --- labels ---------------------------------------------------------------------------------------------------------


def marker_centres(image):
    """Centres of the two brightest discs; Path-X's dashes reach 0.9 of a marker at most."""
    parts, n = ndimage.label(image > 240)
    return np.array(ndimage.center_of_mass(image > 240, parts, range(1, n + 1)))


def test_marked_ends_in_the_picture_are_those_that_the_label_says():
    drawn = generate_with_paths(PRESETS[128], 5, 0, 60)
    assert 10 < drawn.labels.sum() < 50
    checked = 0
    for image, label, paths, ends in zip(drawn.images, drawn.labels, drawn.paths, drawn.ends, strict=True):
        centres = marker_centres(image)
        if len(centres) != 2:  # the markers overlap
            continue
        checked += 1
        # Which path begins, and which one ends, at a marker.
        near = [[min(np.hypot(*(c - paths[s, k])) for c in centres) < 0.6 for k in (0, -1)] for s in range(2)]
        begins, finishes = ([s for s in range(2) if near[s][k]] for k in range(2))
        assert len(begins) == len(finishes) == 1
        assert (begins == finishes) == bool(label)
        np.testing.assert_array_equal(ends, [paths[begins[0], 0], paths[finishes[0], -1]])
    assert checked > 50


def test_labels_agree_with_connectivity_read_off_the_picture_alone():
    images, labels = generate(SPARSE, 6, 0, 300)
    usable = []
    for image, label in zip(images, labels, strict=True):
        # Closing the gaps between dashes joins each path into one part where the paths stay away from each other.
        parts, n = ndimage.label(ndimage.binary_dilation(image > 100, render_disc(4)))
        centres = marker_centres(image)
        if n == 2 and len(centres) == 2:
            first, second = (parts[tuple(np.rint(c).astype(int))] for c in centres)
            usable.append((first == second) == bool(label))
    assert len(usable) > 100
    # A part may still hold an end of one path and the start of another; chance alone would agree on half.
    assert np.mean(usable) > 0.97


def test_labels_are_a_fair_coin():
    labels = generate(replace(PRESETS[16], contour_length=3), 7, 0, 10_000)[1]
    assert abs(labels.mean() - 0.5) < 4 * 0.5 / np.sqrt(10_000)
    assert abs(np.corrcoef(labels[:-1], labels[1:])[0, 1]) < 0.04


# --- published statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "count", "reference_count", "published"),
    [
        # Mean and standard deviation of the pixels, share of zeros, distractors placed: (figure, half its last digit).
        (32, 3000, 500, [(20.3, 0.05), (51, 0.5), (0.66, 0.005), (1.2, 0.05)]),
        (128, 240, 30, [(8.0, 0.05), (36, 0.5), (0.86, 0.005), (7.9, 0.05)]),
    ],
)
def test_statistics_of_the_published_generator(size, count, reference_count, published):
    drawn = generate_with_paths(PRESETS[size], 8, 0, count)
    pixels = drawn.images.reshape(count, -1).astype(float)
    # The root of the mean of this is the standard deviation over all pixels.
    variance = ((pixels - pixels.mean()) ** 2).mean(axis=1)
    deviation = np.sqrt(variance.mean()) + (variance - variance.mean()) / (2 * np.sqrt(variance.mean()))
    measured = [pixels.mean(axis=1), deviation, (pixels == 0).mean(axis=1), drawn.distractors.astype(float)]
    for values, (figure, rounding) in zip(measured, published, strict=True):
        error = values.std() * np.sqrt(1 / count + 1 / reference_count)
        assert abs(values.mean() - figure) < rounding + 4 * error


@pytest.mark.parametrize("size", [16, 32, 128])
def test_images_are_stretched_to_the_whole_range(size):
    images, labels = generate(PRESETS[size], 9, 0, 20)
    assert images.shape == (20, size, size)
    assert images.dtype == labels.dtype == np.uint8
    assert (images.min(axis=(1, 2)) == 0).all()
    assert (images.max(axis=(1, 2)) == 255).all()


# --- reproducibility and errors -------------------------------------------------------------------------------------


def test_an_image_depends_on_seed_and_index_alone():
    p = PRESETS[32]
    whole = generate_with_paths(p, 10, 0, 90, workers=1)
    for workers in (0, 2, 5):
        for one, other in zip(whole, generate_with_paths(p, 10, 0, 90, workers=workers), strict=True):
            np.testing.assert_array_equal(one, other)
    pieces = [generate(p, 10, start, count, workers=2) for start, count in ((0, 1), (1, 36), (37, 0), (37, 53))]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in pieces]), whole.images)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in pieces]), whole.labels)
    assert len(np.unique(whole.images.reshape(90, -1), axis=0)) == 90
    assert (generate(p, 11, 0, 90)[0] != whole.images).any(axis=(1, 2)).all()


def test_progress_counts_every_image():
    done = []
    generate(PRESETS[16], 0, 0, 50, progress=done.append)
    assert sum(done) == 50
    assert len(done) > 1


def test_benchmark_is_a_rate():
    assert benchmark(PRESETS[16], 10) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 28}, "too small for a seed distance of 7: make it larger than 28"),
        ({"contour_length": 1}, "at least 2 paddles"),
        ({"paddle_thickness": 0.7}, "choose a positive multiple of 1/2"),
        ({"margins": ()}, "must be at least 1 pixel"),
    ],
)
def test_parameters_that_cannot_be_drawn(change, message):
    with pytest.raises(TaskError, match=message):
        replace(PRESETS[32], **change)


def test_paths_that_do_not_fit():
    with pytest.raises(TaskError, match="no place for two paths of 60 paddles"):
        generate(replace(PRESETS[16], contour_length=60), 0, 0, 1)


@pytest.mark.parametrize("arguments", [(-1, 0, 1), (2**64, 0, 1), (0, -1, 1), (0, 0, -1)])
def test_arguments_out_of_range(arguments):
    with pytest.raises(TaskError, match="use numbers of 0 and above"):
        generate(PRESETS[16], *arguments)
