"""The small picture of a run."""

import base64
import io

import numpy as np
import pytest
from nbformat import from_dict
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from workbench.headless.picture import small_picture


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def picture_of(*outputs):
    notebook = new_notebook(cells=[new_code_cell("x = 1"), new_code_cell("y = 2")])
    notebook.cells[1].outputs = list(outputs)
    return small_picture(notebook)


def decoded(found):
    head, _, data = found["picture"].partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("size", "expected"), [((480, 320), (240, 160)), ((960, 320), (240, 80)), ((100, 400), (40, 160)), ((30, 20),) * 2]
)
def test_the_first_picture_is_scaled_to_fit(size, expected):
    red, blue = (Image.new("RGB", size, colour) for colour in ("red", "blue"))
    shown = [new_output("display_data", {"image/png": encoded(image), "text/plain": "words"}) for image in (red, blue)]
    image = decoded(picture_of(new_output("stream", text="no picture"), *shown))
    assert image.size == expected
    np.testing.assert_allclose(np.asarray(image.convert("RGB"))[10, 10], (255, 0, 0), atol=6)  # lossy


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_kinds_of_pictures(kind):
    data = {f"image/{kind.lower()}": encoded(Image.new("RGB", (60, 30), "green"), kind)}
    assert decoded(picture_of(new_output("display_data", data))).size == (60, 30)


def test_a_picture_with_a_palette_is_scaled_by_means():
    """As explorers send theirs: columns of black and white become grey."""
    columns = np.zeros((320, 480), np.uint8)
    columns[:, ::2] = 255
    image = Image.fromarray(columns).convert("P")
    small = np.asarray(decoded(picture_of(new_output("display_data", {"image/png": encoded(image)}))).convert("L"))
    assert small.shape == (160, 240)
    assert 96 < small[20:-20, 20:-20].min() <= small[20:-20, 20:-20].max() < 160


def test_what_is_transparent_is_white():
    image = decoded(picture_of(new_output("display_data", {"image/png": encoded(Image.new("RGBA", (40, 40)))})))
    assert np.asarray(image.convert("RGB")).min() > 250


def test_no_picture_is_larger_than_its_share_of_a_list():
    noise = np.random.default_rng(0).integers(0, 256, (800, 1200, 3), dtype=np.uint8)
    found = picture_of(new_output("display_data", {"image/png": encoded(Image.fromarray(noise))}))
    assert 0 < len(found["picture"]) <= 15_000


def test_words_are_those_of_the_output():
    data = {"image/png": encoded(Image.new("L", (9, 9)))}
    for given, metadata, expected in (
        ({"text/plain": "plain\n  words"}, {}, "plain words"),
        ({"text/plain": "plain words"}, {"alt": "said"}, "said"),
        ({}, {}, ""),
        ({"text/plain": "word " * 100}, {}, "word " * 60 + "..."),
        ({"text/plain": "x" * 1000}, {}, "x" * 300 + " ..."),
    ):
        assert picture_of(new_output("display_data", data | given, metadata=metadata))["alt"] == expected


@pytest.mark.parametrize("data", ["", "no base64", "QUJD", [1], None, {"a": 1}])
def test_what_is_no_picture_is_passed_by(data):
    broken = from_dict({"output_type": "display_data", "data": {"image/png": data}, "metadata": {}})
    fine = new_output("display_data", {"image/png": encoded(Image.new("L", (9, 9))), "text/plain": "fine"})
    assert picture_of(broken) == {"picture": "", "alt": ""}
    assert picture_of(broken, fine)["alt"] == "fine"


def test_a_picture_that_is_cut_short_is_passed_by():
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)))
    assert picture_of(new_output("display_data", {"image/png": whole[:4000]}))["picture"] == ""
