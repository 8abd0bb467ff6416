"""Links that lead to themselves, to many, to other files, or nowhere."""

import h5py

from tests.hostile.crafted.case import FIFO, KEYS, LAYER, OTHER, SAMPLE, SECRET, edits


def link(file: h5py.File, name: str, target) -> None:
    del file[name]
    file[name] = target


@edits("plain")
def soft_link_to_itself(file):
    link(file, LAYER, h5py.SoftLink(f"/{LAYER}"))


@edits("plain")
def soft_links_to_each_other(file):
    link(file, KEYS, h5py.SoftLink("/a"))
    file["a"] = h5py.SoftLink("/b")
    file["b"] = h5py.SoftLink("/a")


@edits("plain")
def chain_of_300_soft_links(file):
    link(file, KEYS, h5py.SoftLink("/0"))
    for i in range(300):
        file[f"{i}"] = h5py.SoftLink(f"/{i + 1}")


@edits("plain")
def circle_of_hard_links_in_a_layer(file):
    file[f"{LAYER}/loop"] = file["samples"]


@edits("plain")
def samples_is_the_root(file):
    link(file, "samples", file["/"])


@edits("retained")
def circle_of_hard_links_in_retained_sets(file):
    file["samples/0000/context/layers/00/retained/loop"] = file["samples"]
    file["samples/0001"] = file["samples"]


@edits("outputs")
def circle_of_hard_links_in_outputs(file):
    file["samples/0000/context/layers/02"] = file["samples"]


@edits("replay.shard-1-of-2")
def circle_of_hard_links_in_a_shard(file):
    unit = sorted(file["members"])[0]
    file[f"members/{unit}/loop"] = file["members"]


@edits("scores")
def circle_of_hard_links_in_scores(file):
    file["samples/0000/layers/02"] = file["samples"]
    file["samples/0001"] = file["/"]


@edits("results")
def circle_of_hard_links_in_results(file):
    file["loop"] = file["/"]


@edits("plain")
def sample_under_30000_names(file):
    samples = file["samples"]
    sample = samples["0000"]
    for i in range(1, 30000):
        samples[f"{i:04}"] = sample


@edits("retained")
def set_under_30000_names(file):
    sets = file["samples/0000/context/layers/00/retained"]
    kept = sets["h2o"]
    for i in range(30000):
        sets[f"h2o:{i}"] = kept


@edits("scores")
def scores_under_30000_names(file):
    samples = file["samples"]
    sample = samples["0000"]
    for i in range(1, 30000):
        samples[f"{i:04}"] = sample


@edits("plain")
def groups_20000_deep(file):
    group = file[SAMPLE]
    for _ in range(20000):
        group = group.create_group("g")


@edits("plain")
def external_link_to_text(file):
    link(file, KEYS, h5py.ExternalLink(SECRET, "/keys"))


@edits("plain")
def external_link_to_a_device(file):
    link(file, KEYS, h5py.ExternalLink("/dev/zero", "/keys"))


@edits("plain")
def external_link_to_a_terminal(file):
    link(file, KEYS, h5py.ExternalLink("/dev/tty", "/keys"))


@edits("plain")
def external_link_into_the_same_file(file):
    link(file, KEYS, h5py.ExternalLink(file.filename, f"/{SAMPLE}/layers/01/keys"))


@edits("plain")
def external_link_to_another_trace(file):
    link(file, KEYS, h5py.ExternalLink(OTHER, f"/{KEYS}"))


@edits("plain")
def external_link_to_a_fifo_as_keys(file):
    link(file, KEYS, h5py.ExternalLink(FIFO, "/keys"))


@edits("plain")
def external_link_to_a_fifo_as_model(file):
    link(file, "model", h5py.ExternalLink(FIFO, "/"))


@edits("plain")
def external_link_to_a_fifo_as_sample(file):
    file["samples/0001"] = h5py.ExternalLink(FIFO, "/")


@edits("results")
def external_link_to_a_fifo_in_results(file):
    file["zz"] = h5py.ExternalLink(FIFO, "/x")


@edits("retained")
def external_link_to_a_fifo_in_retained_sets(file):
    file["samples/0000/context/layers/00/retained/zz"] = h5py.ExternalLink(FIFO, "/x")


@edits("scores")
def external_link_to_a_fifo_in_scores(file):
    link(file, LAYER, h5py.ExternalLink(FIFO, "/"))


@edits("table")
def external_link_to_a_fifo_in_a_table(file):
    link(file, "budget/trained_on", h5py.ExternalLink(FIFO, "/x"))


@edits("replay.shard-1-of-2")
def external_link_to_a_fifo_in_a_shard(file):
    file["members/unit-000099"] = h5py.ExternalLink(FIFO, "/")
