"""RetainedPress keeps exactly what the sets say, in a live model too, and refuses other prompts.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/tools/python/kvpress_bridge/retained_press_test.py
"""

import h5py
import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache

import kvreplay as kr
from kvreplay.common.attention_hook import ATTENTION_NAME, AttentionHook
from tests.support.python.kvpress_library import needs_kvpress
from tests.support.python.recording import RecorderTest
from tests.support.python.tiny_models import save_tiny_model

POLICIES = ["snapkv:window=8", "snapkv:window=8+ada", "random+squeeze", "snapkv:window=8,group=none"]
UNIFORM, BY_HEAD, BY_LAYER, BY_QUERY_HEAD = POLICIES
BUDGETS = [0.2, 0.4]
TOLERANCE = 1e-4  # of logits of up to 5: two float32 attentions, one of them over fake keys


@needs_kvpress
class RetainedPress(RecorderTest):
    """`sets`: what a replay of `recorded`, a prompt of a tiny model in all layers, kept."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls("test_sets_of_uniform_budgets_shrink_the_cache")
        test.record()
        cls.recorded, cls.path = test.trace(), cls.folder / "sets.h5"
        kr.replay(
            cls.recorded, POLICIES, BUDGETS, compression_points="prompt", metrics="kept_fraction", retained=cls.path
        )
        cls.sets = kr.retained(cls.path)
        with h5py.File(cls.recorded) as file:
            sample = file["samples/0000"]
            cls.n_prompt = int(sample.attrs["decode_start"])
            cls.ids = torch.from_numpy(sample["token_ids"][()].astype(np.int64))[None]

    def live(self, attention: str = "sdpa", kind: str = "llama") -> torch.nn.Module:
        return AutoModelForCausalLM.from_pretrained(self.model(kind), attn_implementation=attention).eval()

    @torch.no_grad()
    def prefilled(self, model: torch.nn.Module, press: object | None = None, ids: torch.Tensor | None = None):
        cache, ids = DynamicCache(), self.ids[:, : self.n_prompt] if ids is None else ids
        if press is None:
            model.model(input_ids=ids, past_key_values=cache)
        else:
            with press(model):
                model.model(input_ids=ids, past_key_values=cache)
        return cache

    @torch.no_grad()
    def step(self, model: torch.nn.Module, cache: DynamicCache, at: int) -> torch.Tensor:
        """Logits after the token at a position, float32 [vocabulary]."""
        ids, positions = self.ids[:, at : at + 1], torch.tensor([[at]])
        return model(input_ids=ids, past_key_values=cache, position_ids=positions).logits[0, -1]

    def kept(self, policy: str, budget: float) -> np.ndarray:
        """bool [n_layers, n_heads, n_prompt]"""
        return self.sets.array(policy=policy).sel(budget=budget).values

    def press(self, policy: str, budget: float = 0.4, **settings: object):
        return kr.RetainedPress(self.sets, policy=policy, budget=budget, **settings)

    def test_sets_of_uniform_budgets_shrink_the_cache(self):
        model = self.live()
        full, cache = self.prefilled(model), self.prefilled(model, self.press(UNIFORM, trace=self.recorded))
        for layer, sets in enumerate(self.kept(UNIFORM, 0.4)):
            for head, kept in enumerate(sets):
                for kind in ("keys", "values"):
                    expected = getattr(full.layers[layer], kind)[0, head][torch.from_numpy(kept)]
                    torch.testing.assert_close(getattr(cache.layers[layer], kind)[0, head], expected, rtol=0, atol=0)

    def test_sets_of_unlike_heads_or_layers_are_masked(self):
        for policy in (BY_HEAD, BY_LAYER):
            model = self.live()
            cache = self.prefilled(model, self.press(policy))
            for layer, kept in enumerate(self.kept(policy, 0.4)):
                self.assertEqual(cache.layers[layer].keys.shape[2], self.n_prompt)
                masked = np.zeros_like(kept)
                _, heads, tokens = model.model.layers[layer].self_attn.masked_key_indices
                masked[heads.numpy(), tokens.numpy()] = True
                np.testing.assert_array_equal(masked, ~kept)

    def test_a_generation_under_it_is_the_one_that_validation_measures(self):
        hook = AttentionHook()
        hook.register()
        # The masks lie in the model's layers: a prompt in between would take them away.
        validated, live, whole = self.live(ATTENTION_NAME), self.live(), self.live()
        for policy in (UNIFORM, BY_HEAD, BY_LAYER):
            for budget in BUDGETS:
                press = kr.RetainedPress(self.path, policy=policy, budget=budget, point="prompt", sample="a")
                sets = {layer: torch.from_numpy(kept) for layer, kept in enumerate(self.kept(policy, budget))}
                theirs, ours = self.prefilled(live, press), self.prefilled(validated)
                changed = 0.0
                for at in range(self.n_prompt, self.ids.shape[1]):
                    decoded = at - self.n_prompt
                    hook.retained = {
                        layer: torch.nn.functional.pad(kept, (0, decoded), value=True) for layer, kept in sets.items()
                    }
                    expected = self.step(validated, ours, at)
                    hook.retained = {}
                    found = self.step(live, theirs, at)
                    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
                    full = self.step(whole, self.prefilled(whole, ids=self.ids[:, :at]), at)
                    changed = max(changed, float((found - full).abs().max()))
                self.assertGreater(changed, 100 * TOLERANCE)  # what is compared is not the whole cache's

    def test_layers_without_sets_keep_everything(self):
        path = self.folder / "one-layer.h5"
        kr.replay(self.recorded, UNIFORM, 0.4, layers=1, compression_points="prompt", retained=path)
        model = self.live()
        cache = self.prefilled(model, kr.RetainedPress(path, policy=UNIFORM))
        self.assertEqual([layer.keys.shape[2] for layer in cache.layers], [self.n_prompt] * 3)
        masked = [getattr(layer.self_attn, "masked_key_indices", None) for layer in model.model.layers]
        self.assertEqual([each is None for each in masked], [True, False, True])

    def test_it_says_what_it_leaves_out(self):
        press = self.press(BY_HEAD, 0.2)
        self.assertAlmostEqual(press.compression_ratio, 1 - self.kept(BY_HEAD, 0.2).mean())
        self.assertIn(BY_HEAD, repr(press))

    def test_other_prompts_and_models_are_refused(self):
        prompt, model = self.ids[:, : self.n_prompt], self.live()
        other = prompt.clone()
        other[0, 7] += 1
        for error, words, ids in (
            (kr.InputError, f"{self.n_prompt} tokens.*{self.n_prompt - 1}", prompt[:, 1:]),
            (kr.InputError, "token 7 is", other),
            (kr.UsageError, "a batch of 2", prompt.repeat(2, 1)),
        ):
            with self.assertRaisesRegex(error, words):
                self.prefilled(model, self.press(UNIFORM, trace=self.recorded), ids)
        self.prefilled(model, self.press(UNIFORM), other)  # sets alone do not know the tokens
        with self.assertRaisesRegex(kr.UsageError, "eager"):
            self.prefilled(self.live("eager"), self.press(UNIFORM))
        few = save_tiny_model(self.folder / "models" / "few", "llama", num_hidden_layers=2)
        self._models["few"] = few
        with self.assertRaisesRegex(kr.InputError, "2 layers"):
            self.prefilled(self.live(kind="few"), self.press(UNIFORM))

    def test_what_the_file_does_not_have_is_refused(self):
        for error, words, settings in (
            (kr.UsageError, "did you mean 'snapkv:window=8'", {"policy": "snapkv:window=9"}),
            (kr.UsageError, "unknown budget '0.3'.*0.2, 0.4", {"policy": UNIFORM, "budget": 0.3}),
            (kr.UsageError, "name one of 0.2, 0.4", {"policy": UNIFORM}),
            (kr.UsageError, "unknown sample 'b'", {"policy": UNIFORM, "sample": "b"}),
            (kr.UsageError, "unknown point 'end'", {"policy": UNIFORM, "point": "end"}),
            (kr.UsageError, "query head", {"policy": BY_QUERY_HEAD, "budget": 0.2}),
            (kr.InputError, "kvreplay-trace", {"policy": UNIFORM, "budget": 0.2, "trace": self.path}),
        ):
            with self.assertRaisesRegex(error, words):
                kr.RetainedPress(self.sets, **settings)
        with self.assertRaisesRegex(kr.InputError, "nowhere.h5"):
            kr.RetainedPress(self.folder / "nowhere.h5", policy=UNIFORM)
        with self.assertRaisesRegex(kr.InputError, "kvreplay-retained"):
            kr.RetainedPress(self.recorded, policy=UNIFORM)
        another = self.folder / "another.h5"
        self.record("--decode", 3, "--output", another)
        with self.assertRaisesRegex(kr.InputError, "is not of the trace"):
            self.press(UNIFORM, trace=another)
