"""The benchmarks run; how fast they are is theirs to say."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import SCENARIOS, main


@pytest.mark.slow
def test_every_scenario_runs_and_is_told_in_the_table_and_in_json(tmp_path, capsys):
    """`--quick` takes each of them once through the whole of it."""
    report = tmp_path / "report.json"
    assert main(["--quick", "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert list(found["scenarios"]) == list(SCENARIOS)
    table = capsys.readouterr().out
    for scenario in found["scenarios"].values():
        assert scenario["figures"]
        for figure in scenario["figures"]:
            assert figure["name"] in table
