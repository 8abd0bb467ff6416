"""`@kvreplay.scorer` and its kin: functions of Python as parts of policies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ..common.errors import UsageError
from .parameters import Parameter, parameters_of
from .part import Part, remember
from .source_version import version_of

Needs = str | Iterable[str]
Kept = int | float | str
Decorated = Part | Callable[[Callable], Part]

_LARGEST = {"sinks": None, "recent": None, "first_share": 0.5, "recent_share": 1.0}
_NEED = re.compile(r"queries(:(?P<window>\w+))?|output_projection|block_cosine")


def scorer(
    name: str | Callable | None = None,
    *,
    at_budget: bool = False,
    needs: Needs = (),
    heads: str = "kv",
    sinks: Kept = 0,
    recent: Kept = 0,
    first_share: Kept = 0,
    recent_share: Kept = 0,
    looks_ahead: bool = False,
    random: bool = False,
    paper: str = "",
    version: str = "",
) -> Decorated:
    """Makes a scorer of a function (view, **parameters) -> scores [n_kv_heads, n_tokens], higher = keep.

        @kvreplay.scorer("recent-norm", needs="queries:window", sinks=4)
        def recent_norm(view, window=64):
            paid = view.attention_sums(window)  # [n_q_heads, n_tokens], of the engine, shared with SnapKV
            return paid.reshape(view.n_kv_heads, -1, view.n_tokens).mean(1)

        kvreplay.replay("trace.h5", [recent_norm, "recent-norm:window=16+ada", "snapkv"], [0.1])

    The function is called for each layer of each case, from the engine's threads, one at a time. It gets a View
    (`help(kvreplay.View)`), whose arrays share the recorded memory; it returns an array of NumPy, a tensor, or what
    NumPy makes an array of. NaN is refused. What it raises arrives as it is, with a note of the place.

    name: in policies; default: the function's, with dashes
    at_budget: as `kvreplay.scorer_at` has it
    needs: what it reads besides keys and values: "queries" (all of the prompt), "queries:64", "queries:window" (as many
        as its parameter `window`), "output_projection", "block_cosine"; several in a list. A trace without is refused,
        or the case left out, as for every policy
    heads: whose retained sets it makes: "kv", or "query": scores [n_q_heads, n_tokens]
    sinks, recent: first and newest tokens that are kept whatever their score; first_share, recent_share: shares of every
        budget for them. A number, or the name of a parameter
    looks_ahead: it is an oracle, and gets the evaluation queries
    random: it depends on view.seed
    version: to be changed when something changes that the function calls: replays are told apart by a digest of this, of
        its source, and of the plain values that it closes over

    Keyword arguments with defaults are its parameters: int, float, bool, or a text with its choices in the annotation,
    Literal["avg", "max"].

    Throws UsageError for names and arguments of no use."""
    kept = {"sinks": sinks, "recent": recent, "first_share": first_share, "recent_share": recent_share}
    if heads not in ("kv", "query"):
        raise UsageError(f'heads: expected "kv" or "query", found {heads!r}')
    settings = {"heads": heads, "protected": kept, "looks_ahead": looks_ahead, "random": random, "paper": paper}
    positional = ("view", "budget") if at_budget else ("view",)
    return _decorated("scorer", positional, name, needs, version, settings | {"at_budget": at_budget})


def scorer_at(name: str | Callable | None = None, **settings: object) -> Decorated:
    """A scorer whose scores depend on the budget: a function (view, budget, **parameters), called for each.

    budget: `.tokens` kept per head; `.kept` and `.removed`, the shares that were asked for
    settings: those of `kvreplay.scorer`"""
    return scorer(name, at_budget=True, **settings)


def modifier(
    name: str | Callable | None = None,
    *,
    at_budget: bool = False,
    needs: Needs = (),
    paper: str = "",
    version: str = "",
) -> Decorated:
    """Makes a modifier, SCORER+NAME, of a function (view, scores, **parameters) -> scores of the same shape.

    scores: float32 [n_kv_heads or n_q_heads, n_tokens], a copy that the function may change and return
    at_budget: the function is (view, scores, budget, **parameters), and called for each budget

    The rest is as for `kvreplay.scorer`. Modifiers work inside of this process alone: no shard of another machine has
    them."""
    positional = ("view", "scores", "budget") if at_budget else ("view", "scores")
    return _decorated("modifier", positional, name, needs, version, {"at_budget": at_budget, "paper": paper})


def allocator(
    name: str | Callable | None = None,
    *,
    level: str = "heads",
    survey: Callable | None = None,
    approximate: bool = False,
    needs: Needs = (),
    looks_ahead: bool = False,
    paper: str = "",
    version: str = "",
) -> Decorated:
    """Makes an allocator, SCORER+NAME, of a function that says how many tokens each head keeps.

    level: what it splits.
        "heads": a layer's budget over its heads. A function (view, layer, **parameters) -> whole numbers
            [n_budgets, n_heads]
        "both": the budget over all heads of all layers. A function (layers, **parameters) -> such an array for each
            layer, of layers that are up for eviction
        "layers": the budget over layers; an allocator of heads may follow. A function (layers, **parameters) ->
            [n_budgets] tokens per head for each layer
    layer: `help(kvreplay.Layer)`; `.tokens` [n_budgets] is what each head keeps on average, `.protected` [n_budgets] what
        it keeps whatever the scores, `.scores(budget)` the rest of each head's scores, largest first
    survey: with "both" and "layers", a function (view, layer) -> numbers, which the allocator finds in `layer.noted`
    approximate: totals may miss the budget; else they are checked

    The rest is as for `kvreplay.scorer`. Allocators work inside of this process alone."""
    if level not in ("heads", "layers", "both"):
        raise UsageError(f'level: expected "heads", "layers" or "both", found {level!r}')
    if survey is not None and level == "heads":
        raise UsageError("survey: an allocator of heads sees its layer by itself")
    settings = {
        "level": level,
        "survey": survey,
        "approximate": approximate,
        "looks_ahead": looks_ahead,
        "paper": paper,
    }
    positional = ("view", "layer") if level == "heads" else ("layers",)
    return _decorated("allocator", positional, name, needs, version, settings)


def _decorated(
    kind: str, positional: tuple[str, ...], name: str | Callable | None, needs: Needs, version: str, settings: dict
) -> Decorated:
    def make(function: Callable) -> Part:
        called = getattr(function, "__name__", type(function).__name__).strip("<>").replace("_", "-")
        own = name if isinstance(name, str) else called
        parameters = parameters_of(function, positional, f"{kind} '{own}'")
        lacks = _needs(needs, parameters, own)
        _check_kept(settings.get("protected", {}), parameters, own)
        told_apart = [
            version,
            kind,
            lacks,
            sorted((key, repr(each)) for key, each in settings.items() if key != "survey"),
        ]
        if settings.get("survey") is not None:
            told_apart.append(version_of(settings["survey"]))
        return remember(
            Part(
                kind=kind,
                name=own,
                function=function,
                parameters=parameters,
                version=version_of(function, *told_apart),
                summary=(function.__doc__ or "").strip().split("\n")[0] or f"a {kind} written in Python",
                needs=lacks,
                **settings,
            )
        )

    return make(name) if callable(name) else make


def _needs(needs: Needs, parameters: tuple[Parameter, ...], name: str) -> tuple[tuple[str, int | str | None], ...]:
    found = []
    for word in [needs] if isinstance(needs, str) else needs:
        need = _NEED.fullmatch(word)
        if need is None:
            raise UsageError(
                f"'{name}': needs {word!r}: expected queries, queries:NUMBER, queries:PARAMETER, output_projection or "
                "block_cosine"
            )
        window = need["window"]
        if window is not None and not window.isdigit():
            _parameter(window, ("count",), parameters, name)
        what = word.partition(":")[0]
        found.append((what, int(window) if window is not None and window.isdigit() else window))
    return tuple(found)


def _check_kept(kept: dict[str, Kept], parameters: tuple[Parameter, ...], name: str) -> None:
    for what, value in kept.items():
        largest = _LARGEST[what]
        if isinstance(value, str):
            _parameter(value, ("count",) if largest is None else ("count", "real"), parameters, name)
        elif value < 0 or (largest is not None and value > largest) or (largest is None and value != int(value)):
            raise UsageError(
                f"'{name}': {what}={value!r}: expected {'a number of tokens' if largest is None else f'0 to {largest:g}'}"
            )


def _parameter(wanted: str, kinds: tuple[str, ...], parameters: tuple[Parameter, ...], name: str) -> None:
    if not any(each.name == wanted and each.kind in kinds for each in parameters):
        raise UsageError(
            f"'{name}': it has no parameter '{wanted}' that is a number of {'tokens' if kinds == ('count',) else 'any kind'}"
        )
