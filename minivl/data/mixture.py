"""Which stream feeds which step: one draw a step, by weight, the same on every process.

Round-robin over FLAVA's image, text and pair sets and UniT's sampling of tasks are both this:
a list of streams with weights.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal

import numpy as np

from minivl.data.stream import Stream
from minivl.errors import UserError


def draw_stream(weights: Mapping[str, float], u: float) -> str:
    """Which stream feeds a step: the first whose running total of weights exceeds u of the whole.

    weights: name -> how often, in any unit; u uniform in [0, 1). A weight of 0 is never drawn.
    FLAVA draws pairs, pictures and texts as 70 : 15 : 15 (Singh et al. 2022, appendix B.1).
    """
    totals = list(accumulate(weights.values()))
    return list(weights)[bisect_right(totals[:-1], u * totals[-1])]


class Mixture:
    """The timetable of a stage: step -> (stream, how often that stream was drawn before).

    It is computed, not remembered: the timetable of 2,000 steps begins with that of 1,000.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        seed: int,
        steps: int,
        turns: Literal["drawn", "round_robin"] = "drawn",
    ):
        """`turns`: by lot, as often as the weights say, or one stream after the other."""
        check_streams(streams)
        self.streams = list(streams)
        weights = {stream.name: stream.weight for stream in streams}
        numbers = {name: number for number, name in enumerate(weights)}
        if turns == "drawn":
            uniform = np.random.default_rng(seed).random(steps).tolist()
            chosen = [numbers[draw_stream(weights, u)] for u in uniform]
        else:
            chosen = [step % len(streams) for step in range(steps)]
        self.chosen = np.array(chosen, dtype=np.int64)  # (steps,)
        self.draws = np.zeros(steps, dtype=np.int64)  # (steps,)
        for number in range(len(streams)):
            mine = self.chosen == number
            self.draws[mine] = np.arange(mine.sum())

    def at(self, step: int) -> tuple[Stream, int]:
        """The stream that feeds a step (counted from 0), and which of its batches."""
        return self.streams[self.chosen[step]], int(self.draws[step])


def check_streams(streams: Sequence[Stream]) -> None:
    """Refuse what cannot be drawn from: no stream, equal names, no weight, no example."""
    if not streams:
        raise UserError("the stage has no stream", "give build_streams at least one Stream")
    names = [stream.name for stream in streams]
    if len(set(names)) < len(names):
        raise UserError(f"two streams share a name: {', '.join(names)}", "name each differently")
    for stream in streams:
        if not stream.weight > 0:
            raise UserError(
                f"stream {stream.name} has weight {stream.weight}", "give it a weight above 0"
            )
        if stream.batch_size < 1:
            raise UserError(
                f"stream {stream.name} has batch size {stream.batch_size}", "give it 1 or more"
            )
        if not stream.examples.endless and len(stream.examples) == 0:
            raise UserError(f"stream {stream.name} has no examples", "check where its data lies")
