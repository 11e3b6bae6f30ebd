"""What a fresh machine relies on: pins that agree, floors that hold, a front door that is light."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minivl"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["build"]]


def numbers(version):
    return tuple(int(part) for part in re.findall(r"\d+", version))


def lock_lines():
    return (ROOT / "requirements.lock").read_text().splitlines()


def locked():
    """name -> every version pinned for some Python or system."""
    pins = {}
    for line in lock_lines():
        name, version = line.split(" ;")[0].split("==")
        pins.setdefault(name, []).append(version)
    return pins


def name_and_floor(requirement):
    return re.fullmatch(r"([A-Za-z0-9._-]+)(?:>=([\d.]+))?", requirement).groups()


@pytest.mark.parametrize("requirement", DIRECT)
def test_lock_pins_each_dependency_at_or_above_its_floor(requirement):
    name, floor = name_and_floor(requirement)
    assert len(locked()[name]) == 1
    assert not floor or numbers(locked()[name][0]) >= numbers(floor)


def test_lock_holds_pins_only():
    for line in lock_lines():
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[a-z0-9.]+( ; .+)?", line), line


def test_lock_asks_for_linux_gpu_packages_on_linux_only():
    gpu = [line for line in lock_lines() if re.match(r"(nvidia|cuda|triton)", line)]
    assert gpu and all("sys_platform == 'linux'" in line for line in gpu)


def test_torch_is_the_pinned_release():
    assert locked()["torch"][0].startswith("2.15.")
    assert "torch>=2.11" in PROJECT["dependencies"]


def test_conda_environment_agrees_with_project_and_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(d for d in conda if isinstance(d, str) and d.startswith("python"))
    assert numbers(python) >= numbers(PROJECT["requires-python"])
    pip = next(d["pip"] for d in conda if isinstance(d, dict))
    assert pip[-1] == "--editable ."
    pinned = dict(line.split("==") for line in pip[:-1])
    assert pinned == {name: locked()[name][0] for name, _ in map(name_and_floor, DIRECT)}


def repository_files():
    try:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        return [ROOT / name for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        return [p for top in (PACKAGE, ROOT / "tests") for p in top.rglob("*") if p.is_file()]


def test_repository_names_no_machine_and_no_registry():
    # Spelled in halves, so that this file does not match itself.
    halves = [
        ("/ro", "ot/"), ("/wo", "rk/"), ("/op", "t/"), ("/tmp/", "plan"), ("/Us", "ers/"),
        ("/ho", "me/"), ("pypi", ".org"), ("pythonhosted", ".org"), ("registry.npmjs", ".org"),
        ("download.pytorch", ".org"), ("deb.debian", ".org"), ("--index", "-url"),
        ("--ha", "sh=sha256"),
    ]  # fmt: skip
    forbidden = re.compile("|".join(re.escape(a + b) for a, b in halves).encode())
    for path in repository_files():
        if path.is_file() and path.suffix not in (".webp", ".png", ".gz", ".xz", ".safetensors"):
            found = forbidden.search(path.read_bytes())
            assert not found, f"{path.relative_to(ROOT)}: {found[0]}"


FLOORS = {
    "errors": 0,
    "nn": 1,
    "objectives": 1,
    "models": 2,
    "data": 3,
    "training": 4,
    "evaluation": 4,
    "visualize": 4,
    "weights": 4,
    "recipes": 5,
    "course": 6,
    "commands": 7,
    "cli": 8,
    "__main__": 9,
}


def modules():
    """All but the lessons: they are what people run, and stand above everything."""
    lessons = PACKAGE / "course" / "lessons"
    return sorted(path for path in PACKAGE.rglob("*.py") if lessons not in path.parents)


def imports(path, *, top_level_only=False):
    """Full names of the modules that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "minivl":
                yield from (f"minivl.{alias.name}" for alias in node.names)
            else:
                yield node.module


def part(module):
    """minivl.data.text -> data; of the package itself: its __init__."""
    return (module.split(".") + ["__init__"])[1]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own == "__init__":
        assert not [m for m in imports(path) if m.startswith("minivl")]
        return
    for module in imports(path):
        above = part(module) if module.split(".")[0] == "minivl" else "__init__"
        if above in (own, "__init__", "__version__"):
            continue
        assert FLOORS[above] < FLOORS[own], f"{own} imports {module}, which stands beside or above"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_inside_functions_only(path):
    heavy = {"torchvision", "transformers", "jupyterlab", "matplotlib.pyplot"}
    found = {name for name in imports(path, top_level_only=True)}
    assert not {n for n in found if n in heavy or n.split(".")[0] in heavy}


def test_blocks_and_ideas_need_torch_and_einops_only():
    allowed = set(sys.stdlib_module_names) | {"torch", "einops", "minivl"}
    for path in [*(PACKAGE / "nn").glob("*.py"), *(PACKAGE / "objectives").glob("*.py")]:
        others = {name.split(".")[0] for name in imports(path)} - allowed
        assert others <= ({"scipy"} if path.stem == "detection" else set()), path


def loaded_after(code):
    """Names of all modules in memory after running code in a new Python."""
    script = f"import sys\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_next_to_nothing():
    loaded = loaded_after("from minivl.cli import main; assert main(['--help']) == 0")
    assert "minivl.cli" in loaded
    assert not loaded & {"torch", "torchvision", "transformers", "tyro", "numpy", "rich", "yaml"}


def test_help_answers_at_once():
    command = [sys.executable, "-m", "minivl", "--help"]
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) <= 0.6


def test_recipes_and_settings_need_no_torch():
    names = sorted(p.stem for p in (PACKAGE / "recipes").glob("*.py") if p.stem != "__init__")
    light = [name for name in names if not name.endswith("figures")]
    code = "import minivl, minivl.training.recipe, minivl.training.run, minivl.commands.fields\n"
    code += "".join(f"import minivl.recipes.{name}\n" for name in light)
    loaded = loaded_after(code + "from minivl.recipes.clip import RECIPE; RECIPE.at_size('tiny')")
    assert not loaded & {"torch", "torchvision", "transformers"}


def test_training_loads_neither_torchvision_nor_transformers():
    loaded = loaded_after("import minivl.training.engine, minivl.models.clip, minivl.data.examples")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "transformers", "matplotlib.pyplot"}


def test_readme_names_commands_and_targets_that_exist():
    from minivl.cli import COMMANDS

    readme = (ROOT / "README.md").read_text()
    code = "\n".join(re.findall(r"```.*?\n(.*?)```", readme, flags=re.S))
    commands = set(re.findall(r"^minivl ([a-z]+)", code, flags=re.M))
    assert commands and commands <= set(COMMANDS)
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^make ([a-z]+)", code, flags=re.M))
    assert {"train", "test"} <= targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.M) for target in targets)


def test_make_train_trains_what_the_readme_says():
    makefile, readme = ((ROOT / name).read_text() for name in ("Makefile", "README.md"))
    (trained,) = re.findall(r"^train:.*\n\t.*minivl train (\w+ --size \w+)", makefile, flags=re.M)
    assert trained == "flava --size tiny"
    assert f"trains {trained}" in readme and f"train {trained}" in makefile.split("help:")[1]


def test_pictures_and_files_that_the_readme_links_exist():
    readme = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", readme)
    missing = [n for n in links if "://" not in n and not (ROOT / n).exists()]
    assert not missing


@pytest.fixture
def checkout(tmp_path):
    """A folder, with a space in its name, where make finds stand-ins for uv and Python."""
    folder = tmp_path / "a folder"
    tools = tmp_path / "tools"
    tools.mkdir()
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    log = tmp_path / "log"
    uv = f"""#!/bin/sh
test "$1" = --version && exit 0
echo "$@" >> '{log}'
test -e '{tmp_path}/broken' && exit 1
test "$1" = venv && mkdir -p .venv/bin && cp '{tools}/python3.11' .venv/bin/python
exit 0
"""
    for name, text in {"uv": uv, "python3.11": "#!/bin/sh\nexit 0\n"}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    log.touch()

    def make(*arguments):
        before = log.read_text()
        path = f"{tools}:{os.environ['PATH']}"
        names = {"PATH": path, "PYTHON": str(tools / "python3.11"), "MAKEFLAGS": ""}
        done = subprocess.run(
            ["make", *arguments], cwd=folder, env=os.environ | names, capture_output=True, text=True
        )
        return done, log.read_text().removeprefix(before).splitlines()

    make.folder, make.broken = folder, tmp_path / "broken"
    return make


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


@needs_make
def test_setup_installs_the_lock_once(checkout):
    done, asked = checkout("setup")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in asked] == ["venv", "pip", "pip"]
    assert "-r requirements.lock" in asked[1] and "--no-deps" in asked[2]
    assert checkout("setup")[1] == []
    future = time.time() + 10
    os.utime(checkout.folder / "requirements.lock", (future, future))
    assert len(checkout("setup")[1]) == 2


@needs_make
def test_setup_that_was_broken_off_is_taken_up_again(checkout):
    checkout("setup", "-s")
    (checkout.folder / ".venv" / ".installed").unlink()
    checkout.broken.touch()
    assert checkout("setup")[0].returncode != 0
    checkout.broken.unlink()
    done, asked = checkout("setup")
    assert done.returncode == 0 and len(asked) == 2


@needs_make
def test_an_old_python_is_named_with_the_mend(checkout):
    old = checkout.folder / "old python"
    old.write_text('#!/bin/sh\ntest "$1" = -V && echo Python 3.9.1\ntest "$1" = -V\n')
    old.chmod(0o755)
    done, asked = checkout("setup", f"PYTHON={old}")
    assert done.returncode == 2 and asked == []
    assert "needs Python 3.11 or newer" in done.stderr and "3.9.1" in done.stderr
    assert not (checkout.folder / ".venv" / ".installed").exists()
