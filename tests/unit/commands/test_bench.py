"""``advsim bench``: the benchmarks by name."""

from pathlib import Path

import pytest

from advsim.cli import main
from advsim.commands import bench


def put(checkout, monkeypatch, script):
    """A checkout with one benchmark."""
    (checkout / "pyproject.toml").write_text("")
    (checkout / "benchmarks").mkdir()
    (checkout / "benchmarks" / "mine.py").write_text(script)
    monkeypatch.setattr(bench, "_FOLDER", checkout / "benchmarks")


def test_all_benchmarks_are_listed_with_what_they_measure(capsys):
    assert main(["bench"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.split()[0] for line in lines}
    there = {path.stem for path in (Path(__file__).parents[3] / "benchmarks").glob("*.py")}
    assert names == there - {"rating_relations"}  # is only read by another
    assert all(len(line.split()) > 4 for line in lines)


def test_a_benchmark_gets_its_arguments_and_gives_its_exit_code(tmp_path, monkeypatch, capfd):
    put(
        tmp_path,
        monkeypatch,
        '"""Mine."""\nimport sys\nif __name__ == "__main__":\n    print(sys.argv[1:])\n    sys.exit(5)\n',
    )
    assert main(["bench", "mine", "run", "--pushes", "3", "-o", "a=b"]) == 5
    assert capfd.readouterr().out == "['run', '--pushes', '3', '-o', 'a=b']\n"


@pytest.mark.parametrize(
    ("make", "says"), [(True, "got 'other', expected one of mine"), (False, "no benchmarks there")]
)
def test_what_is_not_there_is_a_clear_error(tmp_path, monkeypatch, capsys, make, says):
    put(tmp_path, monkeypatch, "# __main__" if make else "")
    assert main(["bench", "other"]) == 2
    assert says in capsys.readouterr().err
