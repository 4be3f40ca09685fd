"""The version range of a plugin, compared with what `packaging` makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion
from packaging.version import Version as Reference

from roomkit.plugins.versions import core_specifiers, parse, satisfies

numbers = st.integers(0, 3)
releases = st.lists(numbers, min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
suffixes = st.one_of(
    st.just(""),
    st.builds("{}{}".format, st.sampled_from(["a", "b", "rc", ".post", ".dev"]), numbers),
    st.builds("rc{}.dev{}".format, numbers, numbers),
    st.builds(".post{}.dev{}".format, numbers, numbers),
)
versions = st.builds("{}{}".format, releases, suffixes)
clauses = st.one_of(
    st.builds("{}{}".format, st.sampled_from([">=", "<", "<=", ">", "==", "!=", "~="]), versions),
    st.builds("{}{}.*".format, st.sampled_from(["==", "!="]), releases),
)


@given(left=versions, right=versions)
def test_versions_compare_as_packaging_compares_them(left: str, right: str) -> None:
    assert (parse(left) < parse(right)) is (Reference(left) < Reference(right))
    assert (parse(left) == parse(right)) is (Reference(left) == Reference(right))


@given(version=versions, specifiers=st.lists(clauses, min_size=1, max_size=3).map(",".join))
def test_ranges_hold_what_packaging_says_they_hold(version: str, specifiers: str) -> None:
    try:
        expected = SpecifierSet(specifiers).contains(version, prereleases=True)
    except InvalidSpecifier:
        with pytest.raises(ValueError, match=r"is not a version|at least two numbers"):
            satisfies(version, specifiers)
    else:
        assert satisfies(version, specifiers) is expected


@given(version=st.text(max_size=12), specifiers=st.text(max_size=12))
def test_nonsense_is_a_value_error(version: str, specifiers: str) -> None:
    try:
        satisfies(version, specifiers)
    except ValueError as error:
        assert str(error)


@given(version=st.text("0123456789.abrcdevpost-_", max_size=12))
def test_what_is_a_version_is_a_version_for_packaging(version: str) -> None:
    """Nothing is read as a version that is not one."""
    try:
        parse(version)
    except ValueError:
        return
    try:
        Reference(version)
    except InvalidVersion:
        pytest.fail(f"{version!r} is not a version")


@pytest.mark.parametrize(
    ("requirement", "specifiers"),
    [
        ("roomkit-core>=0.1,<0.2", ">=0.1,<0.2"),
        ("roomkit_core (>=0.1)", ">=0.1"),
        ("RoomKit.Core[x] >=1 ; python_version > '3'", ">=1"),
        ("roomkit-core", ""),
        ("roomkit-core>=9; extra == 'later'", None),
        ("roomkit-corevette>=1", None),
        ("httpx", None),
    ],
)
def test_the_requirement_on_the_core_is_found(requirement: str, specifiers: str | None) -> None:
    """Every spelling that metadata may use is understood; an optional requirement does not count."""
    assert core_specifiers(["httpx>=1", requirement]) == specifiers
