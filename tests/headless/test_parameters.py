"""The typed parameters cell and the check of values against it."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell
from notebook_maker import PARAMETERS

from workbench.headless import check_values, read_parameters


def declared(source, tag="parameters"):
    cell = new_code_cell(source)
    cell.metadata["tags"] = [tag]
    return read_parameters(new_notebook(cells=[cell]), "lesson.ipynb")


def test_types_defaults_and_help_are_read():
    found = declared(PARAMETERS)
    assert {n: p.default for n, p in found.items()} == {
        "profile": "lecture",
        "sparsity": 0.9,
        "seeds": 3,
        "name": "plain",
        "live": False,
        "limit": None,
    }
    assert [p.allowed for p in found.values()] == [
        "one of 'smoke', 'lecture', 'full'",
        "float",
        "int",
        "str",
        "true or false",
        "int or None",
    ]
    assert found["profile"].help == "how much to compute"
    assert found["sparsity"].help == "fraction removed, of the whole network"
    assert found["seeds"].help == ""
    assert declared('mode: str = (\n    "long"  # what it is\n)')["mode"].help == "what it is"


@pytest.mark.parametrize(
    ("annotation", "allowed"),
    [
        ("Optional[float]", "float or None"),
        ("None | str", "str or None"),
        ("typing.Optional[typing.Literal[1, 2]]", "one of 1, 2 or None"),
        ("Literal['a', None]", "one of 'a' or None"),
    ],
)
def test_every_spelling_of_a_type(annotation, allowed):
    assert declared(f"x: {annotation} = None")["x"].allowed == allowed


def test_a_notebook_without_the_tag_has_no_parameters():
    assert declared("x: int = 1", tag="other") == {}


@pytest.mark.parametrize("second", [new_code_cell("x: int = 2"), new_markdown_cell("Parameters"), new_raw_cell("x")])
def test_a_second_tagged_cell_is_refused(second):
    cells = [new_code_cell("x: int = 1"), second]
    for cell in cells:
        cell.metadata["tags"] = ["parameters"]
    for order in (cells, cells[::-1]):
        with pytest.raises(ValueError, match=r"lesson.ipynb: one code cell carries the tag 'parameters'; got 2 cells"):
            read_parameters(new_notebook(cells=order), "lesson.ipynb")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("sparsity", "0.95", 0.95),
        ("sparsity", "1e-3", 0.001),
        ("sparsity", "0", 0.0),
        ("seeds", "-2", -2),
        ("name", "3", "3"),
        ("live", "True", True),
        ("live", "false", False),
        ("limit", "none", None),
        ("limit", "7", 7),
        ("profile", "smoke", "smoke"),
        ("sparsity", 1, 1.0),
        ("limit", None, None),
    ],
)
def test_values_take_the_declared_type(name, text, value):
    got = check_values(declared(PARAMETERS), {name: text}, "lesson.ipynb")[name]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sparsty", "0.9", "a parameter is one of limit, live, .*; got 'sparsty'. Did you mean 'sparsity'"),
        ("sparsity", "abc", "lesson.ipynb: parameter sparsity is float; got 'abc'"),
        ("sparsity", "nan", "parameter sparsity is float; got 'nan'"),
        ("sparsity", "", "parameter sparsity is float"),
        ("sparsity", True, "parameter sparsity is float; got True"),
        ("sparsity", 10**400, "parameter sparsity is float; got 1000"),
        ("seeds", "2.5", "parameter seeds is int; got '2.5'"),
        ("seeds", 2.0, "parameter seeds is int; got 2.0"),
        ("seeds", "none", "parameter seeds is int; got 'none'"),
        ("name", 3, "parameter name is str; got 3"),
        ("live", "1", "parameter live is true or false; got '1'"),
        ("live", 1, "parameter live is true or false; got 1"),
        ("limit", "few", "parameter limit is int or None; got 'few'"),
        ("profile", "quick", "parameter profile is one of 'smoke', 'lecture', 'full'; got 'quick'"),
    ],
)
def test_wrong_names_and_values_are_named_with_what_is_allowed(name, value, message):
    with pytest.raises(ValueError, match=message):
        check_values(declared(PARAMETERS), {name: value}, "lesson.ipynb")


def test_a_number_among_choices_keeps_its_type():
    assert check_values(declared("rounds: Literal[1, 100] = 1"), {"rounds": "100"}, "x")["rounds"] == 100
    with pytest.raises(ValueError, match="one of 1, 100; got True"):
        check_values(declared("rounds: Literal[1, 100] = 1"), {"rounds": True}, "x")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 3", "got 'x = 3'"),
        ("x: int", "got 'x: int'"),
        ("x: list[int] = []", r"parameter x has a type of int, float, .*; got list\[int\]"),
        ("x: int | str = 1", r"got int \| str"),
        ("x: int = 'a'", "parameter x is int; its default is 'a'"),
        ("x: int = '1'", "parameter x is int; its default is '1'"),
        ("x: int = seed()", r"its default is seed\(\)"),
        ("x: Literal['a', 'b'] = 'c'", "one of 'a', 'b'; its default is 'c'"),
        ("for i in range(3): pass", "a line of the parameters cell is 'name: type = default'"),
        ("x: int = (", "the parameters cell is not Python"),
    ],
)
def test_a_parameters_cell_that_is_not_typed_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        declared(source)


def test_a_notebook_without_parameters_takes_none():
    with pytest.raises(ValueError, match=r"no cell tagged 'parameters'.*got profile"):
        check_values({}, {"profile": "smoke"}, "plain.ipynb")
    assert check_values({}, {}, "plain.ipynb") == {}
