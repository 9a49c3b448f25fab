"""The reference lists every public name with its docstring, loads nothing and names no folder of this machine."""

import html
import inspect
import re
import socket
import sys
from pathlib import Path
from types import ModuleType

import pytest

import workbench as wb
from workbench.headless.reference import write_reference

HELD = {name: getattr(wb, name) for name in wb.__all__}
ROOMS = {name: value for name, value in HELD.items() if isinstance(value, ModuleType)}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The text of each page by its path in the folder."""

    def refuse(*arguments, **options):
        raise AssertionError("the reference asked for a network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        first = write_reference(tmp_path_factory.mktemp("reference"))
    folder = first.parent
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.*")}


def test_there_is_a_page_for_the_package_and_each_of_its_rooms(pages):
    assert pages.keys() == {"workbench.html", "search.js", *(f"workbench/{name}.html" for name in ROOMS)}
    assert all(f'href="workbench/{name}.html"' in pages["workbench.html"] for name in ROOMS)


def test_every_public_name_stands_there_with_its_docstring(pages):
    held = {"workbench.html": {name: value for name, value in HELD.items() if name not in ROOMS}}
    for room in ROOMS.values():
        held[f"{room.__name__.replace('.', '/')}.html"] = {name: getattr(room, name) for name in room.__all__}
    for page, names in held.items():
        text = html.unescape(re.sub(r"<[^>]+>", "", pages[page]))
        for name, value in names.items():
            assert f'id="{name}"' in pages[page], f"{name} on {page}"
            if inspect.isfunction(value) or inspect.isclass(value):
                words = re.search(r"[\w ,]{4,}", re.sub(r"[`*]", "", value.__doc__ or ""))
                assert words, f"{name} has no docstring"
                assert words[0].strip() in text, name


def test_nothing_is_loaded_and_no_folder_of_this_machine_is_named(pages):
    here = [str(Path(wb.__file__).parents[1]), sys.prefix]
    for name, text in pages.items():
        assert not re.search(r"""(?:src=|<link[^>]*href=|url\(|@import )["']?(?:https?:)?//""", text), name
        assert not [folder for folder in here if folder in text], name
