"""What the plugin tells RoomKit about itself."""

from __future__ import annotations

import subprocess
import sys

from roomkit.plugins import ComponentKind, build_components, default_manager, load_config
from roomkit_plugins.mcp import MCPToolProvider

FILE = """
[agents.front]
plugin = "ai"
provider = { plugin = "mock" }
tool_providers = [
    { plugin = "mcp", url = "http://127.0.0.1:9/mcp", prefix = "a_" },
    { plugin = "mcp", command = ["python", "server.py"] },
]
"""


async def test_an_agent_with_servers_is_built_from_a_file(tmp_path):
    path = tmp_path / "roomkit.toml"
    path.write_text(FILE)
    parts = await build_components(load_config(path), default_manager())
    names = [each.name for each in parts.agents["front"].tool_providers]
    assert names == ["mcp:http://127.0.0.1:9/mcp", "mcp:python"]


def test_it_is_found_by_its_name():
    assert default_manager().get(ComponentKind.TOOLS, "mcp") is MCPToolProvider


def test_constructing_one_imports_no_sdk():
    """It is imported when a connection is made, off the loop."""
    use = "from roomkit import MCPToolProvider; MCPToolProvider('http://x/mcp')"
    code = f"{use}; import sys; assert 'mcp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
