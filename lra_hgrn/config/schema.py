"""Every option of the suite, once: name, type, default, unit and help.

The YAML files in ``configs/``, the command line's ``key=value`` overrides and ``lra config`` all read these
dataclasses. The options of a token mixer are not here: they are the keyword arguments of the mixer's own
constructor (``model.kwargs``), whether it is one of ours or a user's.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal


def option(default: Any, help: str, unit: str | None = None, *, low: float = -inf, high: float = inf) -> Any:
    """Declare one option; numbers must lie in [low, high]."""
    metadata = {"help": help, "unit": unit, "low": low, "high": high}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class TaskConfig:
    """What is learnt: the data set, its size and its protocol."""

    name: str = option("???", "Task: a registered name, a class's dotted path, or a folder with a card.toml.")
    scale: str = option("full", "Named size of the task: tiny, small, full (the published size), or one of its own.")
    protocol: str = option(
        "s4", "Line of published code whose tokens, lengths and splits are used: s4, google, or one of the task's own."
    )
    source: str | None = option(
        None, "What the data are made from: generated, official, mini, folder; null: the task's first one."
    )
    selection: Literal["strict", "published"] = option(
        "strict", "Where no validation split is published: hold one out of train, or select on test as published."
    )
    augment: bool = option(False, "Change training images at random as the task defines it (Image: crop and flip).")
    seed: int = option(0, "Seed of generated data and of drawn splits.")
    data_dir: str | None = option(None, "Folder of prepared tasks; null: $LRA_DATA, else the user's cache folder.")
    workers: int = option(0, "Threads that generate data; 0: one for each core.", low=0)


@dataclass
class ModelConfig:
    """The sequence classifier: embedding, blocks of token and channel mixer, pooling, head."""

    name: str = option("???", "Name of the model in tables.")
    target: str = option(
        "hgru", "Token mixer: a registered name, or the dotted path of an nn.Module class, a mixer or whole classifier."
    )
    kwargs: dict[str, Any] = option({}, "Keyword arguments of that class's constructor.")
    match: str | None = option(
        None, "Model of configs/models whose number of parameters on the task the width is fitted to (within 5 %)."
    )
    layers: int = option(2, "Number of blocks.", low=1)
    d_model: int = option(64, "Width of the residual stream.", "channels", low=1)
    channel_mixer: Literal["glu", "mlp", "none"] = option(
        "glu", "Gated linear unit; two linear maps with GELU between; or none, as in most state space models."
    )
    expansion: float = option(1.0, "Width of the channel mixer over d_model.", low=0)
    norm: Literal["layer", "batch", "rms"] = option("layer", "Norm before each mixer and before the head.")
    dropout: float = option(0.0, "Dropout after each mixer.", "probability", low=0, high=1)
    positions: Literal["none", "sinusoidal", "learned"] = option(
        "none", "Positions added to the embedding (rotary positions belong to the attention mixer)."
    )
    position_dropout: float = option(0.0, "Dropout after the positions are added.", "probability", low=0, high=1)
    pooling: Literal["mean", "cls"] = option(
        "mean", "What the head reads: the mean over the true length, or a learnt token put before the input."
    )
    head_hidden: int = option(
        0, "Hidden units of the head; 0: none for one document, d_model for two.", "channels", low=0
    )
    mask_padding: bool = option(
        True, "Keep padding out of mixers and norms; false: scan and count it, as the released HGRN code does."
    )


@dataclass
class OptimConfig:
    """AdamW with linear warm-up and a cosine that ends at min_lr."""

    lr: float = option(1e-3, "Peak learning rate.", low=0)
    recurrence_lr: float | None = option(None, "Peak learning rate of recurrence parameters; null: as lr.", low=0)
    weight_decay: float = option(0.0, "Decoupled weight decay (never on norms, biases, recurrence parameters).", low=0)
    beta1: float = option(0.9, "AdamW's decay rate of the mean of gradients.", low=0, high=1)
    beta2: float = option(0.999, "AdamW's decay rate of their squares.", low=0, high=1)
    schedule: Literal["cosine", "constant"] = option("cosine", "Learning rate after warm-up.")
    warmup_steps: int = option(0, "Linear warm-up from 0 to lr.", "steps", low=0)
    schedule_steps: int | None = option(None, "Step at which the cosine ends; null: the last step.", "steps", low=1)
    min_lr: float = option(0.0, "Learning rate at the end of the cosine, over its peak.", low=0, high=1)
    past_end: bool = option(False, "Follow the cosine past its end, where it rises again; false: stay at min_lr.")
    clip: float = option(0.0, "Largest norm of the gradient; 0: no clipping.", low=0)


@dataclass
class TrainConfig:
    """The training loop."""

    epochs: int = option(1, "Passes over the training split.", "epochs", low=1)
    batch_size: int = option(32, "Samples in a step.", "samples", low=1)
    bucket_batches: int = option(
        0, "Samples sorted by length together before they are cut into batches; 0: none.", "batches", low=0
    )
    eval_batch_size: int | None = option(None, "Samples in an evaluation batch; null: as batch_size.", "samples", low=1)
    precision: Literal["32", "bf16", "16"] = option("32", "Arithmetic: float32, or autocast to bfloat16 or float16.")
    compile: bool = option(False, "Compile the network with torch.compile.")
    cuda_graphs: bool = option(
        False, "With compile, on a GPU, for inputs of one length: record the step as CUDA graphs and replay them."
    )
    accelerator: Literal["auto", "cpu", "gpu"] = option("auto", "Device; auto: the GPU if there is one.")
    devices: int = option(
        1, "Processes that share each batch (DDP): one for each GPU, or that many on the CPU.", "processes", low=1
    )
    resident: bool = option(
        True,
        "Hold the whole task on the GPU and cut batches there, if it takes less than a quarter of its free memory.",
    )
    threads: int = option(0, "CPU threads; 0: torch's default, within what a container grants.", low=0)
    deterministic: bool = option(False, "Refuse operations that are not reproducible bit for bit.")
    on_explosion: Literal["note", "stop"] = option(
        "note", "What becomes of a run whose gradient explodes: noted in its record, or stopped."
    )
    explosion: float = option(
        100.0, "Norm of the gradient that is an explosion, over that of the first windows of log_every steps.", low=1
    )
    on_plateau: Literal["note", "stop"] = option(
        "note", "What becomes of a run whose training loss stays at that of guessing: noted, or stopped."
    )
    plateau_epochs: int = option(3, "Epochs in turn that are a plateau.", "epochs", low=1)
    checkpoint_minutes: float = option(10.0, "Time between checkpoints inside an epoch.", "minutes", low=0)
    log_every: int = option(50, "Steps in one row of metrics.csv.", "steps", low=1)
    tracker: Literal["none", "tensorboard", "wandb", "mlflow"] = option(
        "none", "Where the rows of metrics.csv are sent as well; each is an extra of the distribution."
    )


@dataclass
class TuningConfig:
    """What a search for hyper-parameters spent on these options; `lra tune` writes it."""

    trials: int = option(0, "Trials of the search, scored on the validation split; 0: there was none.", low=0)
    epochs: int = option(0, "Passes over the training split in one trial.", "epochs", low=0)


@dataclass
class Config:
    """A cell of a table: one model trained on one task with one seed."""

    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    stands_for: str | None = option(
        None, "Row of results/published.csv that the recipe repeats; null once an option of it is changed."
    )
    seed: int = option(1, "Seed of initial weights, batch order and dropout.")
    profile: bool = option(False, "Trace a few steps: profile/trace.json.gz and table.txt in the run's folder.")
