"""Give attempts to the engine as jobs, with the values that their tasks need; give it a lost value again."""

from functools import partial
from pathlib import Path

from pynb_dag_runner.execute import attempts
from pynb_dag_runner.execute.attempts import LiveAttempt, Values
from pynb_dag_runner.execute.context import RunContext
from pynb_dag_runner.execute.kept_values import UnavailableValueError, read_kept_value
from pynb_dag_runner.executors.base import Executor, Handle, Job
from pynb_dag_runner.run_folder import paths
from pynb_dag_runner.worker.attempt import run_attempt
from pynb_dag_runner.worker.messages import AttemptFinished
from pynb_dag_runner.worker.shipping import rescue

MAX_INPUTS_LOST = 3
"""An attempt whose inputs are lost more often on their way is given up."""


class MissingInputError(Exception):
    """An attempt can't start, since a value that it needs is not there; the message is a clause."""


class Submission:
    """Gives attempts to the engine, and knows the outputs of tasks that succeeded.

    Args:
        engine: executes jobs; closed by the caller.
    """

    def __init__(self, context: RunContext, engine: Executor) -> None:
        self._context = context
        self._engine = engine
        self._imports = attempts.imports_of(context.dag)
        self._values = Values()
        self._kept_in: dict[str, Path] = {}

    def take_over(self) -> None:
        """Take what a resumed run has from before."""
        earlier = self._context.earlier
        for name, outputs in earlier.outputs.items():
            self._values.take(name, outputs)
        for name, value in earlier.kept.items():
            known = earlier.untouched.get(name)
            last = (known.attempts if known else earlier.verdicts[name])[-1]
            self._keep(name, last.number, self._engine.put(value))

    def take_outputs(self, attempt: LiveAttempt, finished: AttemptFinished) -> None:
        """The values that JSON holds, for tasks that need them."""
        self._values.take(attempt.task.name, finished.outputs)

    def take_kept(self, attempt: LiveAttempt, handle: Handle) -> None:
        """The return value of the attempt, which the engine keeps."""
        self._keep(attempt.task.name, attempt.number, handle)

    def submit(self, attempt: LiveAttempt) -> None:
        """Give the attempt to the engine.

        Raises:
            MissingInputError: a value that it needs was never set.
        """
        context = self._context
        try:
            spec, inputs = attempt.spec(
                context.record.run_id,
                context.folder,
                self._values,
                self._engine.in_process,
                context.redactor,
                context.fork_server,
            )
        except LookupError as error:
            raise MissingInputError(str(error.args[0])) from error
        self._engine.submit(
            Job(
                key=attempt.key,
                call=partial(run_attempt, spec),
                inputs=inputs,
                resources=attempts.resources_of(attempt.task),
                limits=attempt.limits,
                shared=attempt.task.options.isolation == "shared",
                imports=attempt.imports(self._imports),
                rescue=partial(rescue, spec),
            )
        )

    def submit_again(self, attempt: LiveAttempt) -> None:
        """Its job never ran, since the engine lost a value that it needs: give the engine that value anew.

        Raises:
            MissingInputError: the value was lost too often, or is not in the run folder either.
        """
        attempt.inputs_lost += 1
        try:
            if attempt.inputs_lost > MAX_INPUTS_LOST:
                raise UnavailableValueError(f"it was lost {attempt.inputs_lost} times on the way")
            for name in self._values.kept_for(attempt.task):
                value = read_kept_value(self._context.folder, self._kept_in[name])
                self._values.keep(name, self._engine.put(value))
        except UnavailableValueError as error:
            raise MissingInputError(f"a value that another task returned was lost: {error}") from error
        self.submit(attempt)

    def _keep(self, task: str, number: int, handle: Handle) -> None:
        self._values.keep(task, handle)
        self._kept_in[task] = paths.attempt_folder(Path(), task, number)
