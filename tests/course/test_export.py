"""The solved lessons as an HTML page (template classic): every figure is there, in words too."""

import re
from pathlib import Path

import nbformat
import pytest

SOLUTIONS = sorted((Path(__file__).parents[2] / "solutions").glob("*.ipynb"))
PAGE_S_OWN = ("cdnjs.cloudflare.com/ajax/libs/", "unpkg.com/@jupyter-widgets/", "cdn.jsdelivr.net/")
"""Where nbconvert's template itself looks for formulas and widgets."""


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_export(path):
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    figures = [o for o in outputs if "image/png" in o.get("data", {})]
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)
    assert len(figures) >= 5
    assert page.count("data:image/png;base64") >= len(figures)
    words = re.findall(r'<img alt="([^"]*)"', page)
    assert len(words) == page.count("<img ")
    assert not [one for one in words if not one or one.startswith("No description")]
    for figure in figures:
        assert figure.metadata["image/png"]["alt"], "a figure without words for it"
    fetched = re.findall(r'<(?:img|script|link|iframe)[^>]*(?:src|href)="(https?://[^"]+)"', page)
    assert not [url for url in fetched if not any(own in url for own in PAGE_S_OWN)]
    assert 'class="jp-OutputArea-output jp-mod-error' not in page
