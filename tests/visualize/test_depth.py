from minivl.visualize.depth import stream_sizes


def test_one_line_an_order_from_before_the_first_block(texts, check_legible):
    sizes = {"pre-norm": [1.0, 1.5, 2.5, 1.0], "post-norm": [1.0, 1.0, 1.0]}
    figure = stream_sizes(sizes)
    check_legible(figure)
    (axes,) = figure.axes
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0, 1, 2, 3], [0, 1, 2]]
    assert [line.get_ydata().tolist() for line in axes.lines] == list(sizes.values())
    assert {"pre-norm", "post-norm"} <= set(texts(figure))
    assert "pre-norm goes from 1 to 1" in figure.caption.alt


def test_nothing_to_draw():
    stream_sizes({}).draw_without_rendering()
