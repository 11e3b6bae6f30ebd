"""Pixels against a slow, obvious compositor; boxes and masks are exact."""

from dataclasses import replace

import numpy as np

from minivl.data.render import OPAQUE, opaque_box
from minivl.data.scenes import scene


def test_pictures_repeat_exactly(source):
    drawn = scene(source.world("train"), 1, 11)
    one, two = source.renderer.image(drawn), source.renderer.image(drawn)
    assert one.dtype == np.uint8 and one.shape == (96, 96, 3)
    assert (one == two).all()


def test_compositing_equals_the_slow_loop(source):
    for index in range(6):
        drawn = scene(source.world("train"), 1, index)
        renderer = source.renderer
        expected = renderer.background(replace(drawn, things=())).astype(float)
        for thing in drawn.things:
            x, y, w, h = thing.box
            colour, alpha = renderer._sprite(thing.vendor, thing.concept, w, h)
            for i in range(h):
                for j in range(w):
                    a = alpha[i, j, 0] / 255
                    expected[y + i, x + j] = colour[i, j] + (1 - a) * expected[y + i, x + j]
        assert np.abs(expected.clip(0, 255) - renderer.image(drawn)).max() <= 0.51


def test_background_is_untouched_outside_boxes(source):
    for index in range(20):
        drawn = scene(source.world("train"), 2, index)
        outside = np.ones((96, 96), bool)
        for thing in drawn.things:
            x, y, w, h = thing.box
            outside[y : y + h, x : x + w] = False
        background = source.renderer.background(drawn)
        assert (source.renderer.image(drawn)[outside] == background[outside]).all()


def test_boxes_are_tight_around_masks(source):
    """A visible drawing touches all four sides of its box, to a pixel of anti-aliasing."""
    loose = 0
    for index in range(60):
        drawn = scene(source.world("train"), 3, index)
        for mask, thing in zip(source.renderer.masks(drawn), drawn.things, strict=True):
            ys, xs = np.nonzero(mask)
            x, y, w, h = thing.box
            assert mask.sum() == (source.renderer.alpha(thing) >= OPAQUE).sum() > 0
            assert xs.min() >= x and xs.max() < x + w and ys.min() >= y and ys.max() < y + h
            slack = max(xs.min() - x, x + w - 1 - xs.max(), ys.min() - y, y + h - 1 - ys.max())
            loose += slack > 1
    assert loose <= 3


def test_twins_show_the_same_drawings(source):
    world = replace(source.world("train"), objects=(2, 2), twin_share=1.0)
    for k in range(10):
        one, two = scene(world, 4, 2 * k), scene(world, 4, 2 * k + 1)
        for a, b in zip(one.things, reversed(two.things), strict=True):
            assert (source.renderer.alpha(a) == source.renderer.alpha(b)).all()


def test_opaque_box_by_hand():
    cell = np.zeros((8, 8, 4), np.uint8)
    assert opaque_box(cell) == (0, 0, 8, 8)
    cell[2:5, 1:7, 3] = 255
    cell[0, 0, 3] = 100
    assert opaque_box(cell) == (1, 2, 7, 5)


def test_light_changes_the_photograph_about_mid_grey_and_leaves_drawings(source):
    drawn = scene(source.world("validation"), 4, 0)
    plain = source.renderer.background(drawn).astype(float)
    lit = source.renderer.background(replace(drawn, light=(2.0, 1.0, 0.5, 10.0))).astype(float)
    expected = ((plain - 128) * [2.0, 1.0, 0.5] + 138).clip(0, 255)
    assert np.abs(lit - expected).max() < 1
    again = source.renderer.background(drawn)
    assert (again == plain).all()
    inside = source.renderer.masks(drawn)[0]
    opaque = inside & (source.renderer.alpha(drawn.things[0]).max() == 255)
    one = source.renderer.image(drawn).astype(int)
    two = source.renderer.image(replace(drawn, light=(2.0, 1.0, 0.5, 10.0))).astype(int)
    assert (np.abs(one - two).max(-1)[opaque] == 0).mean() > 0.5
