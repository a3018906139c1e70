"""The command line as its users meet it: verbs, exit codes, stdout and stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bitspike.cli import VERBS, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "bitspike", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """The command in this process, without benchmark data: exit code, stdout and stderr."""
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_help_names_every_verb_and_gives_an_example() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"\n  {verb} " in done.stdout for verb in VERBS)
    assert "example: bitspike " in done.stdout
    assert done.stderr == ""


def test_no_verb_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: bitspike" in capsys.readouterr().out


def test_help_and_version_do_not_import_torch() -> None:
    code = (
        "import sys; from bitspike.cli import main\n"
        "assert main(['--version']) == 0 and main(['--help']) == 0\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("bitspike ")


@pytest.mark.parametrize(
    "words",
    [
        ["recipes"],
        ["recipes", "--json"],
        ["doctor"],
        ["train", "--help"],
        ["train", "hm2bp-mnist-cnn", "--help"],
    ],
    ids=" ".join,
)
def test_what_trains_nothing_starts_quickly(words: list[str]) -> None:
    """By what is not imported: PyTorch alone takes more than a second."""
    code = (
        f"import sys; from bitspike.cli import main\nassert main({words!r}) == 0\n"
        "heavy = {'torch', 'matplotlib', 'sklearn', 'scipy', 'jaxtyping', 'jinja2', 'PIL'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_verb_suggests_the_nearest() -> None:
    done = run("trian")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "did you mean train?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: bitspike {verb}" in shown
    assert f"example: bitspike {verb}" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_an_unknown_option(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--no-such-option"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err


@pytest.mark.parametrize("verb", VERBS)
def test_json_of_bad_usage_is_one_object(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--json", "--no-such-option"]) == 2
    assert list(json.loads(capsys.readouterr().out)) == ["error"]


def test_data_list_names_sizes_and_licences(here: Here) -> None:
    code, out, _ = here("data", "list", "--json")
    assert code == 0
    listed = json.loads(out)["data"]
    assert listed["digits"]["there"] is True
    assert "CC BY" in listed["mnist"]["licence"]
    assert here("data", "list")[1].splitlines()[0].split() == ["name", "there", "MB", "what", "licence"]


def test_data_verify_of_missing_files_fails_and_names_them(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, _, err = here("data", "verify", "mnist", "--data-dir", str(tmp_path))
    assert code == 1
    assert "train-images-idx3-ubyte: not there" in err


def test_data_verify_accepts_the_published_files(data_dir: Path, here: Here) -> None:
    code, out, err = here("data", "verify", "mnist", "--json", "--data-dir", str(data_dir))
    assert code == 0, err
    assert set(json.loads(out)["verified"]["mnist"].values()) == {"SHA-256 as published"}


def test_unknown_data_and_a_folder_that_is_not_there_are_bad_input(tmp_path: Path, here: Here) -> None:
    code, _, err = here("data", "get", "mnits")
    assert code == 2
    assert "'mnits' is unknown" in err
    code, _, err = here("data", "verify", "mnist", "--data-dir", str(tmp_path / "absent"))
    assert code == 2
    assert "no folder" in err


def test_doctor_says_whether_the_native_module_is_there(here: Here) -> None:
    code, out, err = here("doctor", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["native"]["there"] == (found["native"]["backend"] == "native")
    assert found["torch_threads"] is None  # not asked
    assert found["data"]["there"][0] == "digits"
    code, out, _ = here("doctor")
    assert code == 0
    assert "instruction sets" in out
    assert "bitspike doctor --torch says" in out


def test_doctor_asks_torch_where_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--torch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["torch_threads"] >= 1
    assert main(["doctor", "--torch"]) == 0
    assert "bitspike doctor --torch" not in capsys.readouterr().out


def test_doctor_explains_a_missing_native_module() -> None:
    code = (
        "import sys; sys.modules['bitspike._native'] = None\n"
        "from bitspike.cli import main; sys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    native = json.loads(done.stdout)["native"]
    assert native["there"] is False
    assert native["backend"] == "reference"
    assert "compiler" in native["mend"]


def test_a_bug_is_short_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("spring broke")

    monkeypatch.setattr("bitspike.cli.doctor._native", broken)
    assert main(["doctor"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "RuntimeError: spring broke" in shown.err
    assert "Traceback" not in shown.err
    assert main(["doctor", "--traceback"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bitspike.cli.doctor._native", interrupted)
    assert main(["doctor", "--json"]) == 130
    assert json.loads(capsys.readouterr().out) == {"error": "interrupted"}


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_other_ends_are_taken_as_ctrl_c_is(
    name: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number, cleaned = getattr(signal, name), []

    def ended() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except KeyboardInterrupt:
            os.kill(os.getpid(), number)  # a second one does not disturb the end of the run
            time.sleep(0.01)
            cleaned.append(True)
            raise

    before = signal.getsignal(number)
    monkeypatch.setattr("bitspike.cli.doctor._native", ended)
    assert main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == {"error": f"ended by {name}"}
    assert cleaned
    assert signal.getsignal(number) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_nohup_stays_in_force(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(
        "bitspike.cli.doctor._native", lambda: os.kill(os.getpid(), signal.SIGHUP) or {"there": True}
    )
    try:
        assert main(["doctor", "--json"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_reader_that_leaves_early_is_no_error_message() -> None:
    command = f"set -o pipefail; {sys.executable} -m bitspike data list | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "cp932"])
def test_what_stdout_cannot_encode_is_an_escape(encoding: str) -> None:
    code = "import sys, bitspike.cli as c; c.HELP = 'µs'; x = c.main(['--help']); print(sys.stdout.errors); sys.exit(x)"
    surroundings = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=surroundings)
    assert done.returncode == 0
    assert done.stdout.split() == [rb"\xb5s", b"strict"]


def test_bench_runs_one_or_all_and_lists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def quick() -> list[dict[str, object]]:
        """How quick it is."""
        return [{"subject": "this", "microseconds": 1.5}, {"subject": "that", "microseconds": 3.0}]

    monkeypatch.setattr("bitspike.bench.BENCHMARKS", {"quick": quick})
    assert main(["bench", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"benchmarks": {"quick": "How quick it is."}}
    for name in ("quick", "all"):
        assert main(["bench", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["results"]["quick"][1]["microseconds"] == 3.0
    assert main(["bench", "quick"]) == 0
    assert capsys.readouterr().out.split()[:3] == ["quick", "subject", "microseconds"]
    assert main(["bench", "quikc"]) == 2
    assert "did you mean quick?" in capsys.readouterr().err
