"""A task of a user's own, small enough for tests: which of two symbols opens and closes a noisy sequence alike?"""

from dataclasses import replace

import numpy as np

from lra_tasks import LRATask, Scale, TaskSpec, get_card


class Toy(LRATask):
    name = "toy"
    card = replace(get_card("listops"), title="Toy")
    scales = {"full": Scale(150, 40, 50), "long": Scale(1500, 40, 50)}

    @property
    def spec(self):
        return TaskSpec("toy", "tokens", vocab_size=8, n_classes=2, max_length=12)

    def build(self, out):
        random = np.random.default_rng(self.seed)
        for split, size in self.parameters.sizes.items():
            for _ in range(size):
                tokens = random.integers(1, 8, size=random.integers(3, 13)).astype(np.uint8)
                out[split].append(tokens, int(tokens[0] > 3))
