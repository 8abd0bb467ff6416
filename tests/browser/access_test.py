"""Who has no mouse, sees little contrast, has a small screen or hears the page can work a report too."""

import pytest

SIZES = {"wide": 1440, "middle": 820, "narrow": 360}


@pytest.fixture(scope="module")
def audited(chromium, either):
    return chromium.visit(
        either.page,
        """return {
             unlabelled: unlabelled(),
             unreachable: unreachable(),
             pointerOnly: pointerOnly(),
             controls: controls().length,
           };""",
    )


def test_every_control_and_drawing_has_a_label(audited):
    assert audited["controls"] > 30
    assert audited["unlabelled"] == []


def test_tab_reaches_every_control_and_shows_where_it_is(audited):
    assert audited["unreachable"] == []


def test_nothing_is_for_the_pointer_alone(audited):
    """Rows and drawings may be clicked; a button in them, or the slider, does the same."""
    assert audited["pointerOnly"] == []


@pytest.mark.parametrize("width", SIZES.values(), ids=SIZES)
def test_a_page_of_any_width_shows_all_of_itself(chromium, either, width):
    seen = chromium.visit(
        either.page,
        """
        const nameWidth = document.querySelector("#ranking td.name").clientWidth;
        return { width: innerWidth, overflow: overflow(), cutOff: cutOff(), nameWidth };
        """,
        width=width,
    )
    assert seen["width"] == width
    assert seen["overflow"] <= 0
    assert seen["cutOff"] == []
    assert seen["nameWidth"] > 80, "names of policies are squeezed"


# Colours of texts in the style sheet, also those that a page without retained sets does not use.
COLOURS = ["ink", "muted", "faint", "pale", "accent", *(f"pin{i}" for i in range(6)), "needle", "question"]


@pytest.fixture(scope="module", params=["light", "dark"])
def contrasts(request, chromium, either):
    return chromium.visit(
        either.page,
        f"""
        for (const details of all("details")) details.open = true;
        const wrong = pale();
        await choose("heat-metric", "kept_fraction");
        await type("find", "nothing at all");
        wrong.push(...pale());
        const swatch = document.body.appendChild(document.createElement("i"));
        const colour = (value) => {{
          swatch.style.color = value;
          return rgba(getComputedStyle(swatch).color);
        }};
        const page = colour("var(--page)");
        const ratios = {COLOURS!r}.map((name) => [name, contrast(colour(`var(--${{name}})`), page)]);
        for (const name of ["keep", "other"]) ratios.push([name, contrast(colour(`rgb(var(--${{name}}))`), page)]);
        ratios.push(["warn", contrast(colour("var(--warn)"), colour("var(--warn-bg)"))]);
        return {{ wrong, ratios, theme: document.documentElement.dataset.theme }};
        """,
        address=f"?theme={request.param}",
    )


def test_every_text_has_the_contrast_of_wcag_aa(contrasts):
    assert contrasts["wrong"] == []


def test_every_colour_of_texts_has_the_contrast_of_wcag_aa_on_the_page(contrasts):
    assert [each for each in contrasts["ratios"] if each[1] < 4.5] == []
