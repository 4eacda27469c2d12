"""The wheel holds all that a user needs: installed by itself, it makes a workspace."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CARRIED = (
    "adapters/label_studio/label-studio.lock",
    "demo/support-inbox.yaml",
    "demo/digits.yaml",
    "demo/messages/payments.jsonl",
    "py.typed",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it, and the libraries of this environment, but not this checkout."""
    home = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(home / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, cwd=home)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True)
    python = home / "venv" / "bin" / "python"
    (wheel,) = (home / "dist").glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # Lines of a .pth file are added to the path as they are: an editable install behind them is not followed.
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home / "venv"


def output(installed: Path, *arguments: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HITL_", "PYTHON"))} | {
        "GIT_AUTHOR_NAME": "Ana",
        "GIT_AUTHOR_EMAIL": "ana@example.com",
        "GIT_COMMITTER_NAME": "Ana",
        "GIT_COMMITTER_EMAIL": "ana@example.com",
        # dvc comes from this environment, as a script.
        "PATH": os.pathsep.join([str(installed / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    return subprocess.run(arguments, check=True, capture_output=True, text=True, cwd=cwd, env=environment).stdout


def test_the_wheel_makes_a_whole_workspace_from_anywhere(installed: Path, tmp_path: Path) -> None:
    output(installed, "hitl-bridge", "init", "ws", "--task", "text-classification", "--labels", "a,b", cwd=tmp_path)
    workspace = tmp_path / "ws"
    pages = sorted(path.name for path in (ROOT / "label_configs").glob("text-classification.*.xml"))
    assert sorted(path.name for path in (workspace / "label_configs").glob("*.xml")) == pages
    for name in ("dvc.yaml", "params.yaml", "checks/must-pass.yaml"):
        assert (workspace / name).read_bytes() == (ROOT / name).read_bytes()
    assert "label_studio:" in (workspace / "hitl.yaml").read_text()
    assert '"items": {}' in output(installed, "hitl-bridge", "-C", str(workspace), "status", "--json", cwd=tmp_path)


def test_the_installed_package_is_not_this_checkout_and_carries_its_files(installed: Path, tmp_path: Path) -> None:
    python = str(installed / "bin" / "python")
    package = Path(
        output(installed, python, "-c", "import hitl_bridge; print(hitl_bridge.__file__)", cwd=tmp_path).strip()
    ).parent
    assert package.is_relative_to(installed)
    for name in CARRIED:
        assert (package / name).is_file(), name
    template = package / "workspace_template"
    assert {path.name for path in template.iterdir()} == {"checks", "dvc.yaml", "hitl.yaml", "label_configs", "params.yaml"}
    assert {path.name for path in (template / "label_configs").glob("*.xml")} == {
        path.name for path in (ROOT / "label_configs").glob("*.xml")
    }
