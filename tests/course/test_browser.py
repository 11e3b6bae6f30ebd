"""A lesson in a real browser: JupyterLab runs all its cells, and its widgets answer."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LESSON = os.environ.get("MINIVL_LESSON", "05_contrastive.ipynb")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
TOKEN = "lesson"

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium: install it (Debian, Ubuntu: apt install chromium)"
    ),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no playwright"),
    pytest.mark.skipif(not (ROOT / "notebooks" / LESSON).is_file(), reason="notebooks not built"),
]

READY = """() => {
    const panel = window.jupyterapp && window.jupyterapp.shell.currentWidget;
    const kernel = panel && panel.sessionContext && panel.sessionContext.session
        && panel.sessionContext.session.kernel;
    return !!kernel && kernel.connectionStatus === 'connected' && kernel.status === 'idle';
}"""
"""The page's own idle mark shows before the kernel is connected."""

CELLS = """() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells
    .filter(cell => cell.cell_type === 'code' && cell.source.trim())
    .map(cell => [cell.execution_count, cell.outputs.map(output => output.output_type)])"""


@contextlib.contextmanager
def jupyter(folder):
    """A server of its own on a copy of the notebooks; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    places = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", "--allow-root",
        "--expose-app-in-browser", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--notebook-dir={folder / 'notebooks'}",
    ]  # fmt: skip
    environment = os.environ | places | {"MINIVL_SIZE": "test"}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2)
                break
            assert server.poll() is None, "JupyterLab ended"
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The lesson, all its cells run."""
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("lab")
    with (
        jupyter(folder) as address,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=FLAGS,
            viewport={"width": 1280, "height": 1000},
        )  # fmt: skip
        page = browser.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.strangers = []
        page.on("request", lambda r: page.strangers.append(r.url) if foreign(r.url) else None)
        page.goto(f"{address}/lab/tree/{LESSON}?token={TOKEN}&reset", timeout=60_000)
        page.wait_for_selector(".jp-Notebook", timeout=60_000)
        page.wait_for_function(READY, timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        deadline = time.monotonic() + 200
        while any(count is None for count, _ in page.evaluate(CELLS)):
            assert time.monotonic() < deadline, "the lesson did not run to its end"
            page.wait_for_timeout(500)
        page.wait_for_function(READY, timeout=60_000)
        yield page
        if where := os.environ.get("MINIVL_SCREENSHOTS"):
            photograph(page, Path(where))
        browser.close()


def foreign(url):
    """Whether a request leaves this machine."""
    return url.startswith("http") and "127.0.0.1" not in url


def photograph(page, folder):
    """Screenshots of the whole notebook, a screen each."""
    folder.mkdir(parents=True, exist_ok=True)
    panel = page.locator(".jp-WindowedPanel-outer").first
    height = panel.evaluate("panel => panel.scrollHeight")
    for number, top in enumerate(range(0, height, 850)):
        panel.evaluate(f"panel => panel.scrollTop = {top}")
        page.wait_for_timeout(400)
        page.screenshot(path=folder / f"{number:02}.png")


def test_every_cell_ran_without_an_error(page):
    cells = page.evaluate(CELLS)
    assert len(cells) > 20
    assert not [outputs for _, outputs in cells if "error" in outputs]
    assert page.faults == []


def test_nothing_leaves_the_machine(page):
    assert page.strangers == []


def test_the_slider_redraws(page):
    slider = page.locator(".jp-OutputArea .widget-slider .noUi-handle").first
    slider.scroll_into_view_if_needed()
    value = slider.get_attribute("aria-valuetext")
    picture = page.locator(".widget-output img, .jp-OutputArea-output .widget-box img").first
    before = picture.get_attribute("src")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "([element, before]) => element.src !== before", arg=[picture.element_handle(), before]
    )
    assert slider.get_attribute("aria-valuetext") != value
