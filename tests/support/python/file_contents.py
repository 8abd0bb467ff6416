"""An HDF5 file as something that compares."""

import h5py
import numpy as np


def contents(file: h5py.File) -> dict[str, object]:
    """Every attribute and dataset of a file by its path, in a form that compares."""
    found: dict[str, object] = {}

    def add(name: str, item) -> None:
        path = "/" + name.strip("/")
        for attribute, value in item.attrs.items():
            found[f"{path.rstrip('/')}/@{attribute}"] = np.asarray(value).tolist()
        if isinstance(item, h5py.Dataset):
            values = item[()]
            found[path] = (str(item.dtype), item.shape, values.tolist() if values.dtype == object else values.tobytes())

    add("/", file)
    file.visititems(add)
    return found
