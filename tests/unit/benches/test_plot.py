"""The plots of docs/performance.md: what a reader's program makes of them, and where a value lies."""

import xml.etree.ElementTree as ET

import pytest

from benches.plot import Plot, Series, svg

SPACE = "{http://www.w3.org/2000/svg}"
OURS = Series("ours", [(10, [4.0, 5.0, 9.0]), (100, [6.0]), (1000, [8.0])])
FLOOR = Series("the <floor>", [(10, [2.0]), (1000, [2.0])])


def drawn(*series: Series) -> ET.Element:
    return ET.fromstring(svg(Plot("A title & more", "members", "µs", series)))


def points(picture: ET.Element) -> list[list[tuple[float, float]]]:
    lines = picture.iter(f"{SPACE}polyline")
    return [[tuple(map(float, point.split(","))) for point in line.attrib["points"].split()] for line in lines]  # type: ignore[misc]


def test_it_is_xml_whatever_the_names() -> None:
    texts = [text.text for text in drawn(OURS, FLOOR).iter(f"{SPACE}text")]
    assert {"A title & more", "members", "µs", "ours", "the <floor>"} <= set(texts)


def test_medians_are_joined_and_decades_are_equally_far_apart() -> None:
    ours, floor = points(drawn(OURS, FLOOR))
    assert ours[1][0] - ours[0][0] == pytest.approx(ours[2][0] - ours[1][0], abs=0.2)
    assert len(floor) == 2
    # Up is more: 5 lies as far above 2 as 8 above 5, and the yardstick is flat.
    assert floor[0][1] - ours[0][1] == pytest.approx(ours[0][1] - ours[2][1], abs=0.2)
    assert floor[0][1] == floor[1][1]


def test_everything_lies_inside_the_picture() -> None:
    picture = drawn(OURS, FLOOR)
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    for x, y in (point for line in points(picture) for point in line):
        assert 0 < x < width
        assert 0 < y < height


def test_dark_has_colours_of_its_own() -> None:
    style = drawn(OURS).findtext(f"{SPACE}style") or ""
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    for kind in ("text", ".title", ".grid", ".axis", ".s0", ".s1", ".s2"):
        assert f"{kind} {{" in light
        assert f"{kind} {{" in dark


@pytest.mark.parametrize("series", [Series("nothing", []), Series("zero", [(0, [1.0])])])
def test_what_a_logarithm_cannot_show_is_refused(series: Series) -> None:
    with pytest.raises(ValueError, match="A title"):
        drawn(series)


def test_one_point_is_drawn() -> None:
    assert len(points(drawn(Series("one", [(7, [3.0])])))[0]) == 1
