"""Names and texts: what they do to a terminal, how long they are, how deep."""

import h5py
import numpy as np

from tests.hostile.crafted.case import SAMPLE, edits, replace, replace_attribute, texts

RED, TITLE, CLEAR, PASTE = "\x1b[31m", "\x1b]0;title\x07", "\x1b[2J", "\x1b]52;c;cm0gLXJm\x07"
LONG = 60_000


@edits("plain")
def escapes_in_model_id(file):
    file.attrs["model_id"] = f"x{TITLE}{CLEAR}{RED}OK"


@edits("plain")
def escapes_in_format(file):
    file.attrs["format"] = f"{CLEAR}kvreplay"


@edits("plain")
def escapes_in_format_version(file):
    file.attrs["format_version"] = f"1.{RED}3"


@edits("plain")
def escapes_in_a_sample_name(file):
    file[SAMPLE].attrs["name"] = "a\x1b[8mhidden\x1b[0m\r\nkvreplay: all good"


@edits("plain")
def escapes_in_a_token_source(file):
    file[SAMPLE].attrs["token_source"] = RED


@edits("plain")
def escapes_in_a_compression_point(file):
    replace(file, f"{SAMPLE}/compression_points/name", **texts(f"c{RED}\nx", "prompt"))


@edits("plain")
def escapes_in_a_span(file):
    replace(file, f"{SAMPLE}/spans/name", **texts(f"c{RED}\nx", "\x9b31m", "question"))


@edits("plain")
def escapes_in_a_group(file):
    file[f"samples/0000{RED}"] = file[SAMPLE]
    file["samples/0001\n"] = file[SAMPLE]


@edits("plain")
def eight_bit_controls_in_model_id(file):
    file.attrs["model_id"] = "x\x9b31m\x9d0;title\x9c\x85y\x7f"


@edits("plain")
def text_that_runs_backwards(file):
    file[SAMPLE].attrs["name"] = "abc\u202egpj.exe\u200b\u2066\u2069"


@edits("results")
def escapes_in_model_id_of_results(file):
    file.attrs["model_id"] = f"x{RED}{PASTE}"


@edits("results")
def escapes_in_a_metric(file):
    for attribute in ("long_name", "units", "better", "formula", "parameters"):
        file["output_error"].attrs[attribute] = f"{RED}{attribute}\u202e"


@edits("results")
def escapes_in_the_name_of_a_metric(file):
    file.move("output_error", f"output_error{RED}\n")


@edits("results")
def escapes_in_policies(file):
    file["policy"][0] = f"h2o{RED}\n"
    file["policy_parameters"][0] = PASTE


@edits("results")
def escapes_in_cases(file):
    for name in ("case", "case_sample", "case_point", "case_trace", "case_fingerprint"):
        file[name][0] = f"{RED}{name}\r\n\u202e"


@edits("results")
def escapes_in_what_was_left_out(file):
    file.attrs["left_out"] = '[{"metric": "\\u001b[31m", "why": "\\u001b]0;title\\u0007\\u202e"}]'


@edits("results")
def formula_as_a_sample(file):
    file["case_sample"][0] = "=HYPERLINK(1)"


@edits("retained")
def escapes_in_retained_sets(file):
    file.move("samples/0000/context/layers/00/retained/h2o", f"samples/0000/context/layers/00/retained/h2o{RED}\u202e")
    file.move("samples/0000/prompt", f"samples/0000/prompt{RED}\n")


@edits("scores")
def escapes_in_scores(file):
    file.move("samples/0000", f"samples/0000{RED}\n")


@edits("table")
def escapes_in_a_table(file):
    for attribute in ("scorer", "metric"):
        file["budget"].attrs[attribute] = f"knorm{RED}\u202e"
    file.attrs["model_id"] = f"x{RED}"


@edits("table")
def escapes_in_what_a_table_was_trained_on(file):
    replace(file, "budget/trained_on", **texts(*[f"{RED}\u202e{i}" for i in range(4)]))


@edits("replay.shard-1-of-2")
def escapes_in_a_shard(file):
    unit = sorted(file["members"])[0]
    file.move(f"members/{unit}", f"members/{unit}{RED}")
    file.attrs["model_id"] = f"x{RED}\n"


@edits("plain")
def names_that_are_not_utf8(file):
    h5py.h5g.create(file["samples"].id, b"\xff\xfe\x80")
    h5py.h5g.create(file.create_group(f"{SAMPLE}/probes").id, b"\xff\xfe\x1b[31m")


@edits("results")
def names_in_results_that_are_not_utf8(file):
    h5py.h5g.create(file.id, b"\xff\xfe\x1b[31m")
    file["case_sample"][0] = b"\xff\xfe\x80"
    file["policy"][0] = b"h2o\xff"


@edits("plain")
def sample_name_that_is_not_utf8(file):
    replace_attribute(file[SAMPLE], "name", b"\xff\xfe\x80", dtype=h5py.string_dtype())


@edits("plain")
def model_id_that_is_not_utf8(file):
    replace_attribute(file, "model_id", b"model\xff", dtype=h5py.string_dtype())


@edits("plain")
def long_names_of_groups(file):
    file[SAMPLE].create_group("n" * LONG)
    file["samples"].create_group("1" * LONG)


@edits("plain")
def long_name_of_a_sample(file):
    file[SAMPLE].attrs["name"] = "n" * LONG


@edits("plain")
def long_name_of_a_compression_point(file):
    replace(file, f"{SAMPLE}/compression_points/name", **texts("n" * LONG, "n" * LONG))


@edits("plain")
def long_model_id(file):
    file.attrs["model_id"] = "n" * LONG


@edits("plain")
def long_format(file):
    file.attrs["format"] = "n" * LONG


@edits("plain")
def long_format_version(file):
    file.attrs["format_version"] = "1." + "9" * 5000


@edits("results")
def long_names_in_results(file):
    file["policy"][0] = "n" * LONG
    file["case_sample"][0] = "n" * LONG
    file.move("output_error", "n" * LONG)


@edits("scores")
def long_names_in_scores(file):
    file.move("samples/0000/layers/00", f"samples/0000/layers/{'0' * LONG}")


@edits("table")
def long_scorer(file):
    file["budget"].attrs["scorer"] = "n" * LONG


@edits("plain")
def deep_json_as_model_config(file):
    file.attrs["model_config"] = "[" * 50_000


@edits("results")
def deep_json_as_options(file):
    file.attrs["options"] = "[" * 500_000


@edits("plain")
def sample_named_as_a_path(file):
    file[SAMPLE].attrs["name"] = "../../../../tmp/x"


@edits("plain")
def points_named_as_paths(file):
    replace(file, f"{SAMPLE}/compression_points/name", **texts("..", "/etc"))


@edits("plain")
def text_behind_a_nul(file):
    file.attrs["model_config"] = np.bytes_(b"{}\0\0hidden")
