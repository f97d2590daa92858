"""What is drawn anew in each epoch, the order of samples and their variants; and the shares of processes."""

import numpy as np


def epoch_order(
    samples: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    lengths: np.ndarray | None = None,
    bucket_batches: int = 0,
) -> np.ndarray:
    """Return the order of one epoch, a function of the arguments alone.

    Batch i of the epoch is ``order[i * batch_size : (i + 1) * batch_size]``; the last one is as long as what is left.

    With ``bucket_batches``, the permutation is cut into pools of that many batches, each pool is sorted by length,
    and the batches of all pools come in random order. The short last batch stays last and is drawn from all lengths.

    Args:
        samples: samples in the split.
        batch_size: samples in a batch.
        seed, epoch: seed of the permutation, and which of its epochs this is.
        lengths: (samples,) steps of each sample; needed where ``bucket_batches`` is not 0.
        bucket_batches: batches in a pool, 0 for the bare permutation.

    Returns:
        (samples,) int64, a permutation.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(samples)
    if not bucket_batches:
        return order
    assert lengths is not None
    whole = samples - samples % batch_size
    pooled = order[:whole]
    pools = np.arange(whole) // (bucket_batches * batch_size)
    batches = pooled[np.lexsort((lengths[pooled], pools))].reshape(-1, batch_size)  # lexsort is stable
    order[:whole] = batches[rng.permutation(len(batches))].reshape(-1)
    return order


def epoch_variants(samples: int, variants: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return which of its variants each sample of a split is served as in one epoch, a function of the arguments alone.

    Every variant is as likely as any other.

    Args:
        samples: samples in the split.
        variants: of each sample.
        seed, epoch: as of `epoch_order`, whose numbers these do not depend on.

    Returns:
        (samples,) int64 from 0 to variants − 1.
    """
    return np.random.default_rng([seed, epoch, 1]).integers(variants, size=samples)


def share(batch: np.ndarray, rank: int, world_size: int, *, fill: bool) -> np.ndarray:
    """Return the consecutive part of a batch that process ``rank`` takes; parts differ in size by one at most.

    Args:
        batch: (B,) numbers of the batch's samples, B at least 1.
        rank, world_size: this process and how many there are.
        fill: a process with nothing to take takes the first sample again, so that all take as many steps.
    """
    least, more = divmod(len(batch), world_size)
    start = rank * least + min(rank, more)
    own = batch[start : start + least + (rank < more)]
    return batch[:1] if fill and len(own) == 0 else own
