"""Runs a notebook's cells in a fresh kernel, and leaves nothing in it that differs by chance."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from minivl.errors import ResourceError, UserError

WIDGET = "application/vnd.jupyter.widget-view+json"
LEFT_OUT = ("MINIVL_STRICT", "MINIVL_CHECK_REPORT", "MPLBACKEND", "COLUMNS", "LINES")
"""Variables of the caller that would change what a lesson prints or draws."""

Progress = Callable[[int, int], None]


class KernelDied(ResourceError):
    """The kernel ended before the notebook did: out of memory, or a crash in a library."""

    def __init__(self, cell: int, last_words: str):
        more = f": {last_words}" if last_words else ""
        super().__init__(
            f"the kernel died in cell {cell}{more}", "is there enough memory? run `minivl doctor`"
        )
        self.cell = cell


class Interrupt:
    """Ctrl-C during a run: it must end the run, where nbclient would report a dead kernel."""

    came = False

    def listen(self, **_: Any) -> None:
        """From here on Ctrl-C cancels the task that runs the notebook."""
        task = asyncio.current_task()

        def stop() -> None:
            self.came = True
            task.cancel()

        with contextlib.suppress(NotImplementedError, RuntimeError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop)


def run(
    notebook: Any,
    folder: Path,
    variables: Mapping[str, str],
    progress: Progress = lambda done, total: None,
    *,
    seconds: int = 600,
) -> None:
    """Run all cells of a notebook in place, with this Python, in a kernel that works in `folder`.

    `progress(cells begun, cells in all)` is called before each cell. A cell that takes longer than
    `seconds` is interrupted. Where a cell fails, the error becomes an output and the next cell
    runs. Raises KernelDied, UserError if no kernel starts, and KeyboardInterrupt on Ctrl-C, when
    the kernel is gone.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    begun, interrupt, manager = 0, Interrupt(), _kernel_manager()

    def begin(cell_index: int, **_: Any) -> None:
        nonlocal begun
        begun = cell_index + 1
        progress(begun, len(notebook.cells))

    client = NotebookClient(
        notebook,
        km=manager,
        timeout=seconds,
        interrupt_on_timeout=True,
        allow_errors=True,
        store_widget_state=False,
        record_timing=False,
        on_notebook_start=interrupt.listen,
        on_cell_start=begin,
    )
    client.owns_km = True  # else the kernel would outlive the run
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    environment |= {"PYTHONHASHSEED": "0", **variables}
    with tempfile.TemporaryFile() as log:
        try:
            asyncio.run(client.async_execute(cwd=str(folder), env=environment, stderr=log))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        except DeadKernelError as error:
            if interrupt.came:
                raise KeyboardInterrupt from None
            raise KernelDied(begun, _last_line(log)) from error
        except RuntimeError as error:
            if begun:
                raise
            # nbclient forgets the manager of a kernel that did not start, yet asks it at exit.
            client.km = manager
            raise UserError(
                f"no Jupyter kernel starts: {_last_line(log) or error}", "run `minivl doctor`"
            ) from error


def _kernel_manager() -> Any:
    """A kernel of the Python that runs this, whatever kernels a person has installed."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython())


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def tidy(notebook: Any, metadata: Mapping[str, Any]) -> None:
    """Take out of a notebook that was run what another run would write differently."""
    from nbformat import from_dict

    notebook.metadata = from_dict(dict(metadata))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = joined([output for output in cell.outputs if still_shows(output)])


def still_shows(output: Any) -> bool:
    """Whether anything is left of an output without its widget, whose ids are random."""
    data = output.get("data", {})
    return data.pop(WIDGET, None) is None or bool(set(data) - {"text/plain"})


def joined(outputs: list[Any]) -> list[Any]:
    """Pieces of the same stream as one: where a stream is cut depends on timing."""
    kept: list[Any] = []
    for output in outputs:
        before = kept[-1] if kept else {}
        if output.output_type == "stream" and before.get("name") == output.name:
            before["text"] += output.text
        else:
            kept.append(output)
    return kept
