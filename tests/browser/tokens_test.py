"""The map and the text of a prompt: what is kept of it."""

import h5py
import numpy as np
import pytest

from tests.browser.conftest import NEEDLE
from tests.browser.pages import Report

TENTH = 5  # of the default budgets: 10 %
SAMPLE = "samples/0000/prompt/layers"

HOSTILE = "</script><img src=x onerror=window.hacked=1>"

LOOKED_AT = """
  const { meta, state } = report;
  const shades = () => all(".text span").map((word) => word.style.background).join();
  const rows = () => Object.fromEntries(all(".statistics tr").map((row) => [row.cells[0].innerText, row.cells[1].innerText]));
  const seen = { width: document.querySelector(".map canvas").width, words: all(".text span").map(textOf) };
  seen.one = rows();
  seen.words_of_needle = all("#token-facts span").map((word) => [word.firstChild.data, word.querySelector("sub").innerText]);
  seen.policy = meta.policies[state.first].name;
  seen.answer = text(".answer");
  const alone = shades();
  await choose("token-mode", "both");
  seen.two = rows();
  seen.other = meta.policies[state.second].name;
  seen.isShadedAnew = shades() !== alone;
  await choose("token-mode", "one");
  await choose("token-layer", 2);
  await choose("token-head", 1);
  seen.one_set = rows();
  seen.hint = text(".map .hint");
  return seen;
"""


@pytest.fixture(scope="module")
def looked_at(chromium, needle: Report) -> dict:
    return chromium.visit(needle.page, LOOKED_AT)


@pytest.fixture(scope="module")
def kept(needle: Report):
    """Of a policy at 10 %: whether a set keeps a token, [layers, KV heads, tokens]."""
    with h5py.File(needle.results.with_suffix(".sets.h5")) as sets:
        layers = sorted(sets[SAMPLE])
        yield lambda policy: np.array([sets[f"{SAMPLE}/{layer}/retained/{policy}"][TENTH] for layer in layers])


@pytest.fixture(scope="module")
def prompt() -> dict:
    with h5py.File(NEEDLE) as trace:
        sample = trace["samples/0000"]
        spans = zip(sample["spans/name"].asstr(), sample["spans/begin"], sample["spans/end"])
        return {"texts": list(sample["token_texts"].asstr()), "spans": {name: (a, b) for name, a, b in spans}}


def shown(share: float) -> str:
    return "100 %" if share >= 0.9995 else f"{100 * share:.{0 if share >= 0.0995 else 1}f} %"


def test_the_map_is_as_wide_as_the_prompt_and_every_token_is_a_word(looked_at, kept, prompt):
    n = kept("snapkv").shape[2]
    assert looked_at["width"] == len(looked_at["words"]) == n
    words = [word.replace("\n", "") for word in looked_at["words"]]
    assert words == [text.replace("\n", "") for text in prompt["texts"][:n]]
    assert looked_at["answer"].split() == "".join(prompt["texts"][n:]).replace("<|im_end|>", " <|im_end|>").split()


def test_shares_beside_the_text_are_those_of_the_saved_sets(looked_at, kept, prompt):
    sets = kept(looked_at["policy"])
    assert looked_at["one"]["all tokens"] == shown(sets.mean())
    for name in ("needle", "question"):
        begin, end = prompt["spans"][name]
        assert looked_at["one"][name] == shown(sets[:, :, begin:end].mean())
    assert looked_at["one"]["last 64"] == shown(sets[:, :, -64:].mean())
    share = sets.mean(axis=(0, 1))
    assert looked_at["one"]["in every set"].split()[0] == str(np.count_nonzero(share > 0.999))
    assert looked_at["one"]["in no set"].split()[0] == str(np.count_nonzero(share == 0))
    assert looked_at["one_set"]["needle"] == shown(sets[2, 1, slice(*prompt["spans"]["needle"])].mean())


def test_every_word_of_the_needle_has_the_number_of_sets_that_keep_it(looked_at, kept, prompt):
    begin, end = prompt["spans"]["needle"]
    counts = kept(looked_at["policy"])[:, :, begin:end].sum(axis=(0, 1))
    words = [text.strip() or "⏎" for text in prompt["texts"][begin:end]]
    assert looked_at["words_of_needle"] == [[word, str(count)] for word, count in zip(words, counts)]


def test_two_policies_stand_against_each_other(looked_at, kept, prompt):
    shares = [kept(looked_at[each]) for each in ("policy", "other")]
    begin, end = prompt["spans"]["needle"]
    assert looked_at["two"]["needle"] == " ".join(shown(each[:, :, begin:end].mean()) for each in shares)
    a, b = (each.mean(axis=(0, 1)) for each in shares)
    assert looked_at["two"]["in common"] == shown(np.minimum(a, b).sum() / np.maximum(a, b).sum())
    assert looked_at["isShadedAnew"]


def test_a_click_and_the_keyboard_find_a_token_of_the_map_in_the_text(chromium, needle):
    seen = chromium.visit(
        needle.page,
        """
        const map = document.querySelector(".map canvas");
        const box = map.getBoundingClientRect();
        const flashing = () => Number(document.querySelector(".text .flash")?.dataset.token ?? -1);
        map.dispatchEvent(new MouseEvent("click", { clientX: box.left + 0.4 * box.width, clientY: box.top + 5 }));
        const clicked = flashing();
        const scrolled = document.querySelector(".text").scrollTop;
        await new Promise((done) => setTimeout(done, 2000));
        map.focus();
        for (const name of ["ArrowRight", "ArrowRight", "ArrowDown"]) await key(name);
        const tip = text("#tip");
        await key("Enter");
        return { clicked, scrolled, tip, entered: flashing(), n: map.width };
        """,
    )
    assert abs(seen["clicked"] - 0.4 * seen["n"]) <= 1
    assert seen["scrolled"] > 100
    assert "token 2 " in seen["tip"] and "KV head 1" in seen["tip"]
    assert seen["entered"] == 2


def test_without_sets_two_commands_say_how_to_add_them(chromium, samples):
    seen = chromium.visit(samples.page, 'return { text: text("#token-body"), tools: isVisible(byId("token-tools")) };')
    replay, report = seen["text"].splitlines()[-2:]
    assert replay.startswith("kvreplay replay samples.trace.h5") and replay.endswith("--save-retained SETS")
    assert report == "kvreplay report RESULTS --retained SETS --output REPORT"
    assert not seen["tools"]


def test_a_prompt_without_texts_has_a_map_alone(chromium, workshop):
    trace = workshop.synthetic("textless")
    sets = workshop.folder / "textless.sets.h5"
    results = workshop.replay("textless", trace, "-p", "knorm,random", "-b", "0.1,1", "--save-retained", sets)
    seen = chromium.visit(
        workshop.report(results, retained=sets).page,
        'return { width: document.querySelector(".map canvas").width, text: text(".text"), words: all(".text span").length };',
    )
    assert seen == {"width": 256, "text": "This trace has no token texts; the map above shows positions.", "words": 0}


def test_what_found_no_room_is_said(chromium, workshop):
    """Half of 12 kB is for this case: five sets of 2 bytes x 2 heads x 256 tokens, of a policy in a layer each."""
    trace = workshop.synthetic("crowded")
    sets = workshop.folder / "crowded.sets.h5"
    policies = ["-p", "knorm,h2o,tova,streaming-llm,snapkv:window=8,random,oracle"]
    results = workshop.replay("crowded", trace, *policies, "-b", "0.1,1", "--save-retained", sets)
    page = workshop.report(results, "crowded", sets, "--token-bytes", "12kB").page
    seen = chromium.visit(
        page,
        """
        const { meta, state } = report;
        const hint = text(".map .hint");
        const held = meta.tokens.cases[state.tokenCase].policies;
        await choose("first", [...meta.policies.keys()].find((p) => !held.includes(p)));
        const of_another = text(".map");
        await choose("first", held[0]);
        return { hint, of_another, map: all(".map canvas").length, n: held.length };
        """,
    )
    assert "Here are the sets of 5 of 7 policies, 1 of 2 layers" in seen["hint"]
    assert "are not in this report; of this case it holds" in seen["of_another"]
    assert seen["map"] == 1


def test_a_long_prompt_shows_the_words_around_a_click(chromium, workshop):
    """Above 20,000 tokens; the texts are put into the sets, since synthetic traces have none."""
    n = 20_500
    trace = workshop.folder / "long.trace.h5"
    shape = ["--layers", "1", "--q-heads", "2", "--kv-heads", "1", "--head-dim", "8", "--prompt", str(n)]
    workshop.run("synth", "-o", trace, *shape, "--question", "32", "--decode", "8", "--last-queries-only")
    sets = workshop.folder / "long.sets.h5"
    results = workshop.replay("long", trace, "-p", "knorm,random", "-b", "0.01,1", "--save-retained", sets)
    with h5py.File(sets, "r+") as file:
        texts = [f" w{i}" for i in range(n + 8)]
        texts[3] = HOSTILE
        file["prompts/0000"].create_dataset("token_texts", data=texts, dtype=h5py.string_dtype())
    seen = chromium.visit(
        workshop.report(results, retained=sets).page,
        """
        const map = document.querySelector(".map canvas");
        const box = map.getBoundingClientRect();
        const words = () => all(".text span[data-token]").map((word) => Number(word.dataset.token));
        const first = words();
        const third = textOf(all(".text span[data-token]")[3]);
        map.dispatchEvent(new MouseEvent("click", { clientX: box.left + box.width / 2, clientY: box.top + 5 }));
        await drawn();
        return { hacked: window.hacked ?? null, third, width: map.width, first, around: words(), elements: all("*").length };
        """,
    )
    assert seen["third"] == HOSTILE and seen["hacked"] is None
    assert seen["width"] == 2000
    assert seen["first"] == list(range(512))
    assert len(seen["around"]) == 512 and abs(seen["around"][256] - n / 2) < 15
    assert seen["elements"] < 20_000
