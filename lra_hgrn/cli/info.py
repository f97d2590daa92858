"""`lra info`: versions, devices, kernel backends, folders."""

import argparse
from typing import TYPE_CHECKING

from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    import torch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(args: argparse.Namespace) -> int:
    import torch

    from hgrn_kernels import available_backends
    from lra_hgrn.config.compose import config_dir
    from lra_hgrn.models import mixer_names
    from lra_hgrn.training import environment

    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    rows = list(environment.versions().items())
    rows.append(("commit", environment.git_commit() or "installed from a wheel"))
    rows.append(
        ("cpu", f"{environment.device_name(torch.device('cpu'))}, torch uses {torch.get_num_threads()} threads")
    )
    rows += [(f"gpu {gpu.index}", environment.device_name(gpu)) for gpu in gpus] or [("gpu", "none")]
    rows += [(f"backend {name}", state) for name, state in available_backends().items()]
    devices = (torch.device("cpu"), *gpus[:1])
    rows += [(f"kernels on {device.type}", _backend(device)) for device in devices]
    rows.append(("token mixers", ", ".join(mixer_names())))
    rows.append(("configs", str(config_dir())))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    return 0


def _backend(device: "torch.device") -> str:
    """Return the name of the backend, or why the one that HGRN_BACKEND names cannot be used."""
    from lra_hgrn.training import environment

    try:
        return environment.kernel_backend(device)
    except UserError as error:
        return str(error)
