"""Ctrl-C, a reader who leaves, a full disk, few characters, a folder that is gone: a word and a code, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from hitl_bridge.cli import main
from hitl_bridge.cli.app import app
from hitl_bridge.cli.stopping import CtrlC
from hitl_bridge.cli.wording import parameters, worded
from hitl_bridge.demo.labeling import OwnLabeling
from hitl_bridge.demo.story import attended
from tests.cli.conftest import Run
from tests.forks import forked
from tests.services.bench import row, write_rows

FULL = Path("/dev/full")
"""Takes nothing, as a full disk does."""


class InputThatIsStopped:
    """Somebody presses Ctrl-C while it is read."""

    def __iter__(self) -> InputThatIsStopped:
        return self

    def __next__(self) -> bytes:
        raise KeyboardInterrupt  # as Python does on the signal, which a test's worker ignores

    read = readline = lambda self, *_: next(self)

    def close(self) -> None: ...


def ended(folder: Path, arguments: list[str], output: Path | None, encoding: str = "utf-8") -> tuple[int | None, str]:
    """A process of its own that writes into `output`, or into a pipe that nobody reads: its exit code, and what it says."""
    errors = folder / "errors"
    process = forked(_in_a_process, str(folder), arguments, str(output) if output else None, str(errors), encoding)
    process.join(60)
    return process.exitcode, errors.read_text("utf-8")


def _in_a_process(folder: str, arguments: list[str], output: str | None, errors: str, encoding: str) -> None:
    os.chdir(folder)
    sys.argv = ["hitl-bridge", *arguments]
    sys.stderr = open(errors, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    os.dup2(_nobody_reads() if output is None else os.open(output, os.O_WRONLY | os.O_CREAT), 1)
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    main()


def _nobody_reads() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_ctrl_c_says_so_and_the_next_run_does_everything(
    run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stdin:
        buffer = InputThatIsStopped()

    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", Stdin())
        ran = run("ingest", "-")
    assert (ran.code, "Stopped. What was begun is finished by running the command again." in ran.err) == (130, True)
    assert "Traceback" not in ran.err
    assert run("ingest", "in.jsonl", "--json").json["accepted"] == 2


def _reads_for_ever(folder: str) -> None:
    """`ingest -` of a pipe into which nobody writes."""
    os.dup2(os.pipe()[0], 0)
    _heeds_ctrl_c(folder)
    sys.argv = ["hitl-bridge", "-C", folder, "ingest", "-"]
    main()


def _hangs_while_it_ends(folder: str) -> None:
    """With a child process, too, and another word about it all."""
    _heeds_ctrl_c(folder)
    with CtrlC(), ExitStack() as closing:
        closing.callback(time.sleep, 60)
        closing.callback(_ready, folder, "ending")
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        _ready(folder, f"begun {child.pid}")
        time.sleep(60)


def _heeds_ctrl_c(folder: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(f"{folder}/errors", os.O_WRONLY | os.O_CREAT), 2)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _ready(folder: str, what: str) -> None:
    (Path(folder) / "ready").write_text(what, "utf-8")


def _pressed_when(process: BaseProcess, is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)


def test_ctrl_c_in_a_process_of_its_own_is_one_line_and_130(workspace: Path) -> None:
    process = forked(_reads_for_ever, str(workspace))
    store = workspace / ".hitl" / "bridge.db-wal"
    _pressed_when(process, lambda: store.exists() and store.stat().st_size > 0)
    process.join(30)
    assert process.exitcode == 130
    assert (workspace / "errors").read_text("utf-8").split("\n") == [
        "",
        "Stopped. What was begun is finished by running the command again.",
        "",
    ]


def test_ctrl_c_pressed_again_ends_at_once_what_hangs_with_its_child_processes(tmp_path: Path) -> None:
    process, ready = forked(_hangs_while_it_ends, str(tmp_path)), tmp_path / "ready"
    children: list[int] = []

    def begun() -> bool:
        children.extend(map(int, ready.read_text("utf-8").split()[1:]) if ready.exists() else ())
        return bool(children)

    _pressed_when(process, begun)
    _pressed_when(process, lambda: ready.read_text("utf-8") == "ending")
    process.join(30)
    assert (process.exitcode, (tmp_path / "errors").read_text("utf-8").count("Stopped.")) == (130, 1)
    assert not psutil.pid_exists(children[0])


class LabelStudioOfTheDemo(OwnLabeling):
    runs = True

    def stop(self) -> None:
        self.runs = False


def test_ctrl_c_ends_the_demo_s_label_studio_which_nobody_was_told_of_yet(tmp_path: Path) -> None:
    labeling = LabelStudioOfTheDemo(tmp_path, "http://127.0.0.1:9")
    with attended(labeling, tmp_path, keep=True):
        assert labeling.runs
    assert labeling.runs
    with pytest.raises(KeyboardInterrupt, match=str(tmp_path)), attended(labeling, tmp_path, keep=True):
        raise KeyboardInterrupt
    assert not labeling.runs


def test_a_reader_who_has_gone_ends_it_as_it_ends_other_programs(workspace: Path) -> None:
    assert ended(workspace, ["status"], None) == (141, "")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_told(workspace: Path) -> None:
    code, said = ended(workspace, ["status", "--json"], FULL)
    assert (code, "The output can't be written: No space left on device.\n→ " in said, "Traceback" in said) == (3, True, False)


def test_a_terminal_of_few_characters_gets_what_it_can_show_and_programs_get_everything(workspace: Path) -> None:
    write_rows(workspace / "odd.jsonl", [row("größe–語", prediction={"label": "nonsense–語"})])
    table, document = workspace / "table", workspace / "document"
    assert ended(workspace, ["ingest", "odd.jsonl"], table, encoding="ascii") == (1, "")
    assert ended(workspace, ["ingest", "odd.jsonl", "--json"], document, encoding="ascii") == (1, "")
    assert "nonsense" in table.read_text("ascii")
    assert "nonsense–語" in json.loads(document.read_text("ascii"))["problems"][0]["reason"]


def test_a_current_folder_that_is_gone_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ran = run("status")
    assert (ran.code, ran.explains_itself()) == (2, True)


def test_help_speaks_no_python(run: Run) -> None:
    shown = [(each.name, each.display_type_rich(None)) for each in parameters(worded(app))]
    assert len(shown) > 200
    assert not [each for each in shown if "<" in str(each)]
    assert not [word for word in run("plan", "--help").out.split() if word.startswith("<")]
