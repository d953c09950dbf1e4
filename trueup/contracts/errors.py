"""What a caller should do about a failure, said by its class."""


class PipelineError(Exception):
    """The root of every failure that this pipeline names."""


class Poison(PipelineError):
    """This one input can never succeed: keep its bytes, say why, go on with the next."""


class Transient(PipelineError):
    """The same call may succeed later: wait and try again, decide nothing."""


class Broken(PipelineError):
    """An invariant does not hold: stop here, keep the input, and page. Trying again would only repeat it."""


class Restart(PipelineError):
    """This process cannot go on, a new one can: end, and be started again."""
