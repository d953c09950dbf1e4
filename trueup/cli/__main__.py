"""`trueup`: every verb, and what its exit code means."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from confluent_kafka import KafkaException
from stamina.instrumentation import set_on_retry_hooks
from typer.exceptions import TyperException

from trueup.cli import api_keys, catalogue, customers, dispatching, doctor, events, periods, proving, rejected, schema, street, topics
from trueup.cli.faults import ANSWER_IS_NO, OK, USAGE, AnswerIsNo, UsageFault, reason
from trueup.cli.output import say
from trueup.contracts.errors import PipelineError, Transient
from trueup.ledger.store.connection import NotAllowed, Unreachable
from trueup.runtime.settings import SettingsError

app = typer.Typer(
    name="trueup",
    help="Usage-based billing that trues up. Exit codes: 0 yes, 1 it ran and the answer is no, 2 usage or configuration.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for noun in (street, dispatching, schema, topics, catalogue, customers, api_keys, events, periods, rejected, proving, doctor):
    noun.register(app)


def run(arguments: Sequence[str]) -> int:
    """Runs one verb and gives its exit code."""
    if any(not is_text(argument) for argument in arguments):
        say("trueup: an argument is no UTF-8")
        return USAGE
    try:
        result = app(args=list(arguments), prog_name="trueup", standalone_mode=False)
    except TyperException as fault:
        show(fault)
        return fault.exit_code
    except (UsageFault, SettingsError) as fault:
        say(f"trueup: {fault}")
        return USAGE
    except AnswerIsNo as answer:
        say(f"trueup: {answer}")
        return ANSWER_IS_NO
    except Transient as away:
        # Somebody could not be asked, so there is no answer: as where Kafka or Postgres is away.
        say(f"trueup: {away}")
        return USAGE
    except PipelineError as failure:
        say(f"trueup: {failure}")
        return ANSWER_IS_NO
    except Unreachable as failure:
        say(f"trueup: Postgres does not answer: {str(failure).strip()}")
        return USAGE
    except NotAllowed as failure:
        say(f"trueup: this verb needs another database role, the schema's owner or whoever may create roles: {str(failure).strip()}")
        return USAGE
    except KafkaException as failure:
        say(f"trueup: Kafka refused or does not answer: {reason(failure)}")
        return USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output (head, less) has enough; the rest of stdout goes nowhere.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115
        return OK
    return result if isinstance(result, int) else OK


def is_text(argument: str) -> bool:
    """Whether an argument can be written as UTF-8: Python passes on bytes that are none as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def show(fault: TyperException) -> None:
    """A usage error in the words of the parser, and where to read on."""
    message = fault.format_message()
    if message.startswith("Usage:"):
        say(message)
        return
    context = getattr(fault, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    say(f"trueup: {message.rstrip('.')}{hint}")


def main() -> None:
    """The console script."""
    # A command says one sentence at its end, not one for each time that it asked again.
    set_on_retry_hooks(())
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
