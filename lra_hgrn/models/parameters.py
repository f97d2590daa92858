"""Groups of parameters for the optimiser."""

from torch import nn


def parameter_groups(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Sort the trainable parameters of a model into "decay", "no_decay" and "recurrence".

    Matrices decay, embeddings among them; vectors (biases, weights of norms) do not: the rule of GPT-2's training
    code. "recurrence" holds what a module names in its attribute ``recurrence_parameters`` (HGRU: θ and Γ), paths
    relative to the module; they do not decay either. Each parameter stands in one group, once.
    """
    recurrence = {
        id(owner.get_parameter(name))
        for owner in module.modules()
        for name in getattr(owner, "recurrence_parameters", ())
    }
    groups: dict[str, list[nn.Parameter]] = {"decay": [], "no_decay": [], "recurrence": []}
    for parameter in module.parameters():
        if parameter.requires_grad:
            kind = "decay" if parameter.ndim >= 2 else "no_decay"
            groups["recurrence" if id(parameter) in recurrence else kind].append(parameter)
    return groups
