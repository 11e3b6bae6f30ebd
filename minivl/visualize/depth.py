"""How large a token's state becomes on its way through the blocks of a transformer."""

from collections.abc import Mapping, Sequence

from minivl.visualize.style import CYCLE, Caption, Picture, styled

HOW_TO_READ = (
    "The root mean square over all numbers of all tokens. A line that rises belongs to a stack "
    "whose blocks add to their input without a norm between; a level one is normed after each "
    "block. The last point is after one more norm, at the end of the stack."
)


@styled
def stream_sizes(sizes: Mapping[str, Sequence[float]]) -> Picture:
    """One line an entry: title -> size before block 1, after block 1, 2, ..., after a last norm."""
    figure = Picture(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for (title, values), colour in zip(sizes.items(), CYCLE, strict=False):
        axes.plot(range(len(values)), values, marker="o", markersize=5, color=colour, label=title)
    axes.set(xlabel="blocks passed", ylabel="size of the states")
    axes.set_ylim(0, 1.18 * max((max(values) for values in sizes.values() if values), default=1.0))
    longest = max(map(len, sizes.values()), default=1)
    axes.set_xticks([*range(0, longest - 2, 2), longest - 1])
    axes.set_xticklabels([*map(str, range(0, longest - 2, 2)), "norm"])
    if sizes:
        axes.legend(loc="upper left", ncols=2)
    told = "; ".join(
        f"{title} goes from {values[0]:.2g} to {values[-1]:.2g}"
        for title, values in sizes.items()
        if values
    )
    figure.caption = Caption(
        "Size of the states through the blocks", f"Lines: {told}.", HOW_TO_READ
    )
    return figure
