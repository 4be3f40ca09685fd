"""Whatever is installed, the scan ends, and everything in it is in a known state."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roomkit.plugins import ComponentNotFoundError, ComponentState, PluginError

junk = st.one_of(
    st.none(), st.integers(), st.text(max_size=12), st.binary(max_size=4), st.just(dict), st.just(print)
)
names = st.one_of(st.text(max_size=12), st.sampled_from(["acme", "core", "acme", "other"]))
errors = st.sampled_from(
    [None, ImportError("x"), SystemExit(2), RecursionError(), GeneratorExit(), Exception()]
)
requirements = st.lists(
    st.one_of(
        st.text(max_size=20), st.builds("roomkit-core{}".format, st.text("<>=~!,.*0123456789ab", max_size=10))
    ),
    max_size=3,
)
hooks = st.dictionaries(
    st.sampled_from(["roomkit_register", "roomkit_doctor", "roomkit_regster", "roomkit_", "name"]),
    st.sampled_from(
        [lambda: None, lambda registry: None, lambda a, b: None, lambda registry: registry.add(1, 2, 3)]
    ),
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_set_of_entry_points_is_scanned(make: Any, data: st.DataObject) -> None:
    """Bad names, bad metadata, modules that are none, hooks that are none: a state and a reason each."""
    entry_points = []
    for _ in range(data.draw(st.integers(0, 4), label="how many")):
        module = data.draw(st.one_of(junk, hooks.map(lambda found: make.module(**found))), label="module")
        distribution = make.Distribution.of(
            data.draw(names.filter(str.isprintable), label="distribution"),
            *data.draw(requirements.map(lambda lines: [line for line in lines if line.isprintable()])),
        )
        entry_points.append(
            make.EntryPoint(
                data.draw(names, label="name"),
                module,
                error=data.draw(errors, label="error"),
                dist=data.draw(st.sampled_from([distribution, None, object()]), label="metadata"),
            )
        )
    manager = make.manager(*entry_points)

    for plugin in manager.plugins():
        assert plugin.state in ComponentState
        assert plugin.reason or plugin.state is ComponentState.LOADED


@settings(deadline=None)  # the first example scans the installation
@given(kind=st.one_of(names, st.sampled_from(["sms", "store"])), name=names)
def test_any_name_gives_a_component_or_a_typed_error(kind: str, name: str) -> None:
    from roomkit.plugins import default_manager

    try:
        assert default_manager().find(kind, name).kind == kind
    except PluginError as error:
        assert isinstance(error, ComponentNotFoundError)
        assert str(error)
