"""Laws of the running code that can be seen in its text."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tools.source import Module, Tree

STARTERS = ("create_task", "ensure_future")
OUTSIDE_A_KIT = ("roomkit.kernel.runtime.supervisor", "roomkit_plugins.testing")
"""The supervisor itself, and what only tests run."""

OWN_LOGGERS = ("roomkit.abc.log", "roomkit_plugins.wire.request_log", "roomkit_plugins.testing")
"""Where the loggers are made, what filters a library's logger and writes nothing, and what only tests run."""
LOGGERS = ("_log", "log", "logger")
LOG_CALLS = ("debug", "info", "warning", "error", "critical", "exception", "log")

LONGEST_FUNCTION = 80

RUNNING = ("asyncio", "random", "threading", "time")
DEFAULTS_OF_CONTRACTS = {
    "roomkit.abc.clock.SystemClock": "the clock of every kit that is given none",
    "roomkit.abc.voice.callbacks.BackendCallbacks": "registering and emitting, the same for every backend",
    "roomkit.abc.text_stream._Pieces": "plain strings as a TextStream, for the default of deliver_stream",
    "roomkit.abc.services.homes.Home": "a live thing of this worker, with the event of its loss",
}
"""What `roomkit.abc` implements itself, each with its reason."""
_MOVE = "move it to roomkit.authoring, or list it in DEFAULTS_OF_CONTRACTS with the reason"


DOORS = {
    "roomkit_plugins.agents.delegation": "a method of the kit",
    "roomkit_plugins.agents.desk": "what brings delegated results from one room of the kit to another",
    "roomkit_plugins.agents.handler": "what hands conversations over for a program",
    "roomkit_plugins.agents.installing": "how a program puts a strategy to work on its kit",
    "roomkit_plugins.agents.verification": "what verifies people for a program, over its rooms",
    "roomkit_plugins.server": "a server that a program starts for its kit, or mounts",
    "roomkit_plugins.websocket.serve": "a server that a program starts for its kit",
    "roomkit_plugins.websocket.session": "one client of it",
    "roomkit_plugins.websocket.sessions": "the clients of a web framework",
    "roomkit_plugins.websocket.transport": "how a session writes",
}
"""Modules of plugins that are handed a kit by the program, each with its reason."""

OPERATORS = "roomkit_plugins.cli"
"""Commands for operators, who work on a store."""

BEHIND_THE_KIT = {"store", "hook_engine", "lock_manager", "realtime"}
"""What a kit shows to programs and tools, and no plugin may write to or decide by."""


def tasks_are_supervised(tree: Tree) -> Iterator[str]:
    """Tasks are started through the kit, or with a comment `# supervised:` on who waits for them."""
    for module in tree.sources:
        if module.name.startswith(OUTSIDE_A_KIT):
            continue
        for node in ast.walk(module.syntax):
            if call := _starts_a_task(node):
                line = getattr(node, "lineno", 1)
                if "# supervised:" not in module.lines[line - 1]:
                    yield f"{tree.place(module, line)}: {call} outside the kit's supervisor"


def plugins_use_their_services(tree: Tree) -> Iterator[str]:
    """A channel, provider, source or store has its services; a door has the kit's public side; none more."""
    for plugin in tree.plugins:
        for module in plugin.modules:
            if not module.name.startswith((*OUTSIDE_A_KIT, OPERATORS)):
                yield from _reaches_into_the_kit(tree, module, plugin.module)


def _reaches_into_the_kit(tree: Tree, module: Module, plugin: str | None) -> Iterator[str]:
    is_door = any(f"{module.name}.".startswith(f"{door}.") for door in (*DOORS, f"{plugin}.plugin"))
    for node in ast.walk(module.syntax):
        if not isinstance(node, ast.Attribute):
            continue
        place = tree.place(module, node.lineno)
        if node.attr.startswith("_") and _named(node.value, "services", "_services"):
            yield f"{place}: services.{node.attr} is the kernel's own; extend roomkit.abc.services"
        elif _named(node.value, "kit", "_kit") and (node.attr in BEHIND_THE_KIT or node.attr.startswith("_")):
            yield f"{place}: kit.{node.attr} is behind the contract; use services.rooms, timers or values"
        elif _named(node.value, "kit", "_kit") and not is_door:
            yield f"{place}: kit.{node.attr} in a module that is no door; use the services of `bind`"


def _named(node: ast.expr, *names: str) -> bool:
    """Return whether an expression is one of those names, or an attribute of that name."""
    return (node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")) in names


def collections_are_bounded(tree: Tree) -> Iterator[str]:
    """A queue, a deque and a cache are given a bound, or say in a comment `# bound:` what limits them."""
    for module in tree.sources:
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.Call) and (what := _unbounded(node)):
                lines = module.lines[node.lineno - 1 : node.end_lineno]
                if not any("# bound:" in line for line in lines):
                    place = tree.place(module, node.lineno)
                    yield f"{place}: {what} has no bound; give it one, or say `# bound: why`"


def contracts_have_no_logic(tree: Tree) -> Iterator[str]:
    """`roomkit.abc` declares: it implements none of its contracts, starts nothing and waits for nothing."""
    modules = [module for module in tree.core if module.name.startswith("roomkit.abc.")]
    classes = {node: module for module in modules for node in _classes(module)}
    contracts = {node.name for node in classes if _is_contract(node)}
    for node, module in classes.items():
        is_default = f"{module.name}.{node.name}" in DEFAULTS_OF_CONTRACTS
        if contracts & _bases(node) and not _is_contract(node) and not is_default:
            yield f"{tree.place(module, node.lineno)}: {node.name} implements a contract; {_MOVE}"
    defaults = {name.rpartition(".")[0] for name in DEFAULTS_OF_CONTRACTS}
    for module in modules:
        for used in module.imports:
            if used.module in RUNNING and module.name not in defaults:
                yield f"{tree.place(module, used.line)} imports {used.module}; {_MOVE}"


def _classes(module: Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(module.syntax) if isinstance(node, ast.ClassDef)]


def _is_contract(node: ast.ClassDef) -> bool:
    return "ABC" in _bases(node) or any("@abstractmethod" in ast.unparse(method) for method in node.body)


def _bases(node: ast.ClassDef) -> set[str]:
    return {base.id for base in node.bases if isinstance(base, ast.Name)}


def logs_are_discreet(tree: Tree) -> Iterator[str]:
    """Every logger comes from `roomkit.abc.log`, which escapes foreign text and withholds foreign errors."""
    for module in tree.sources:
        if module.name.startswith(OWN_LOGGERS):
            continue
        for node in ast.walk(module.syntax):
            if problem := _indiscreet(node):
                yield f"{tree.place(module, getattr(node, 'lineno', 1))}: {problem}"


def _indiscreet(node: ast.AST) -> str | None:
    if call := _logs_raw(node):
        return f"{call} writes raw text from outside; use roomkit.abc.log.get_logger"
    if isinstance(node, ast.Call) and _formats_for_the_log(node):
        return "a log call formats by itself; pass values and errors as arguments"
    return None


def _logs_raw(node: ast.AST) -> str | None:
    match node:
        case ast.Attribute(attr="getLogger" | "lastResort" | "LoggerAdapter", value=ast.Name(id="logging")):
            return f"logging.{node.attr}"
        case ast.Call(func=ast.Attribute(attr=level, value=ast.Name(id="logging"))) if level in LOG_CALLS:
            return f"logging.{level}"
        case ast.Attribute(attr=name, value=ast.Name(id="traceback")) if name.startswith("print_"):
            return f"traceback.{name}"
        case ast.ImportFrom(module="logging", names=names):
            return next((f"logging.{one.name}" for one in names if one.name == "getLogger"), None)
    return None


def _formats_for_the_log(call: ast.Call) -> bool:
    """Whether a text is made before the logger can see what an error says in it."""
    match call:
        case ast.Call(func=ast.Attribute(attr=level, value=log)) if level in LOG_CALLS:
            named = getattr(log, "id", None) or getattr(log, "attr", None)
            return named in LOGGERS and any(_makes_text(argument) for argument in call.args)
    return False


def _makes_text(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.BinOp(op=ast.Mod() | ast.Add()):
            return True
        case ast.Call(func=ast.Name(id="str" | "repr")) | ast.Call(func=ast.Attribute(attr="format")):
            return True
    return False


def _starts_a_task(node: ast.AST) -> str | None:
    match node:
        case ast.Call(func=ast.Attribute(attr="create_task", value=ast.Name(id="asyncio" | "loop"))):
            return "create_task"
        case ast.Call(func=ast.Attribute(attr="ensure_future")):
            return "ensure_future"
        case ast.ImportFrom(module="asyncio", names=names):
            return next((alias.name for alias in names if alias.name in STARTERS), None)
    return None


def _unbounded(call: ast.Call) -> str | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    match name:
        case "deque" if "maxlen" not in given and len(call.args) < 2:
            return name
        case "Queue" | "LifoQueue" | "PriorityQueue" if "maxsize" not in given and not call.args:
            return name
        case "lru_cache" if isinstance(size := given.get("maxsize"), ast.Constant) and size.value is None:
            return name
        case "SimpleQueue" | "cache":
            return name
    return None


def functions_are_short(tree: Tree) -> Iterator[str]:
    """No function of the core is longer than 80 lines without its docstring: its reader sees it whole."""
    for module in tree.core:
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
                if lines > LONGEST_FUNCTION:
                    yield (
                        f"{tree.place(module, node.lineno)} {node.name} has {lines} lines, more than "
                        f"{LONGEST_FUNCTION}: give its steps names"
                    )


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if not (isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)):
        return 0
    return (first.end_lineno or first.lineno) - first.lineno + 1
