"""What the distribution as a whole promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_readmes_example_prints_what_it_says() -> None:
    text = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == printed


def test_the_readme_lists_every_module() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    package = README.parent / "src/roomkit_plugins/wire"
    modules = (path.stem for path in package.glob("[a-z]*") if path.is_dir() or path.suffix == ".py")
    assert sorted(listed) == sorted(modules)


def test_importing_the_package_imports_none_of_its_modules() -> None:
    """A plugin pays for what it uses."""
    code = (
        "import sys, roomkit_plugins.wire\n"
        "print([name for name in sys.modules if name.startswith(('roomkit_plugins.wire.', 'pydantic'))])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
