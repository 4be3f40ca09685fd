"""An MCP server on its standard streams that can be told to end in the middle of a call."""

from __future__ import annotations

import json
import os
import sys

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("look", "end")]

for line in sys.stdin:
    request = json.loads(line)
    match request["method"]:
        case "initialize":
            about = {"name": "mortal", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
        case "tools/list":
            result = {"tools": TOOLS}
        case "tools/call" if request["params"]["name"] == "end":
            os._exit(3)
        case "tools/call":
            result = {"content": [{"type": "text", "text": "looked"}]}
        case _:
            result = None
    if "id" in request:
        known = (
            {"error": {"code": -32601, "message": "no such method"}} if result is None else {"result": result}
        )
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **known}), flush=True)  # noqa: T201 - its protocol
