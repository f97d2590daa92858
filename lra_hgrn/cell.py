"""The configuration of a cell, with the width that ``model.match`` asks for."""

import dataclasses
from collections.abc import Sequence

from lra_hgrn.config import Composed, Layer, compose
from lra_hgrn.errors import UserError

MATCH, WIDTH = "model.match", "model.d_model"


def compose_cell(model: str, task: str, overrides: Sequence[str] = (), extra: Sequence[Layer] = ()) -> Composed:
    """Compose the configuration of one cell.

    With ``model.match`` its width is that whose number of parameters comes nearest to the named model's recipe on the
    same task, at the same scale and protocol.

    Args, Raises:
        As `lra_hgrn.config.compose`; UserError also if no width comes within 5 %.
    """
    composed = compose(model, task, overrides, extra)
    matched = composed.config.model.match
    if matched is None:
        return composed
    if composed.origins[WIDTH] == "command line":
        raise UserError(f"{MATCH}={matched} sets {WIDTH}: leave one of them out.")
    from lra_hgrn.models.match import fit_width  # loads torch, which other configurations do without

    reference = dataclasses.replace(composed.config, model=compose(matched, task).config.model)
    composed.config.model.d_model = fit_width(composed.config, reference)
    composed.origins[WIDTH] = f"{MATCH}={matched}"
    return composed
