"""The course: write one function, see it checked, train with it.

A notebook needs five names:

    info_nce = check(info_nce)      a verdict; your function if it passed, else minivl's own
    hint(info_nce)                  the next of three hints
    with plugged(info_nce): ...     minivl trains with your function
    progress()                      what you have done so far
    size()                          "test", "tiny" or "base": how large this machine may train
"""

from minivl.course.checking import check, hint, progress
from minivl.course.plug import plugged
from minivl.course.sizes import size

__all__ = ["check", "hint", "plugged", "progress", "size"]
