"""How the plugin is found, and what it imports."""

from __future__ import annotations

import subprocess
import sys

from roomkit.plugins import DoctorReport
from roomkit_plugins.sources import plugin


def test_the_libraries_are_imported_at_the_first_connection() -> None:
    program = (
        "import sys\n"
        "from roomkit_plugins.sources import SSESource, WebSocketSource\n"
        "WebSocketSource('wss://chat.example/', 'chat')\n"
        "SSESource('https://chat.example/', 'chat')\n"
        "assert not {'websockets', 'httpx2'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)


def test_the_doctor_looks_for_the_libraries() -> None:
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert [finding.verdict for finding in report.findings] == ["ok", "ok"]
