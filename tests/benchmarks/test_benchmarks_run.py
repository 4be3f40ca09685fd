"""The benchmarks run; how fast they are is theirs to say."""

from __future__ import annotations

import gc
import json

import pytest

from benchmarks.__main__ import SCENARIOS, main


@pytest.fixture(scope="module", autouse=True)
def frozen_again():
    """Freeze what the run's tests are made of, as it was: a scenario ends by unfreezing all there is."""
    yield
    gc.collect()
    gc.freeze()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_runs_and_is_shown_in_the_table_and_in_json(name, tmp_path, capsys):
    """`--quick` takes it once through the whole of it."""
    report = tmp_path / "report.json"
    assert main(["--quick", "--json", str(report), name]) == 0
    found = json.loads(report.read_text())
    assert list(found["scenarios"]) == [name]
    figures = found["scenarios"][name]["figures"]
    table = capsys.readouterr().out
    assert figures
    assert [figure["name"] for figure in figures if figure["name"] not in table] == []
