"""The group of commands: loads a command's module when it is named, and turns errors into one line and a code."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from .common import BUG, CLOSED_PIPE, INTERRUPTED, ClosedPipe, Stop, describe, plain_errors

COMMANDS = {
    "compress": "Write velocity models to a .vlz file.",
    "decompress": "Restore maps from a .vlz file, on any grid.",
    "archive": "Write many files of velocity models to one archive.",
    "append": "Add files to an archive.",
    "extract": "Restore the files of an archive.",
    "merge": "Join archives into one.",
    "split": "Write an archive as several.",
    "repair": "Save what is good of a damaged file.",
    "attach": "Put a .vlz file into an HDF5 file.",
    "info": "Show what a .vlz file holds.",
    "verify": "Check a .vlz file, alone or against its original.",
    "plot": "Draw maps of a .vlz file.",
    "interpolate": "Draw the maps between two maps.",
    "codebook": "List, show, export and import codebooks.",
    "train": "Train a codebook.",
    "synth": "Make synthetic velocity models.",
}


class Commands(click.Group):
    """Commands by name, each in the module of that name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{cmd_name}", __package__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        with plain_errors():  # here already, since click has a word of its own for Ctrl-C
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        sys.exit(self._run(args, complete_var, **extra))

    def _run(self, args: Sequence[str] | None, complete_var: str | None, **extra: Any) -> int:
        """Run the command named; its exit code."""
        _have_streams()
        _end_as_by_hand()
        try:
            with plain_errors():  # help and --version are said before a command is invoked
                code = super().main(args, "velcodec", complete_var, False, **extra)
                sys.stdout.flush()
            return code if isinstance(code, int) else 0
        except Stop as error:
            click.echo(f"velcodec: {error}", err=True)
            return error.exit_code
        except click.ClickException as error:
            click.echo(describe(error), err=True)
            return error.exit_code
        except click.Abort:
            click.echo("velcodec: interrupted", err=True)
            return INTERRUPTED
        except ClosedPipe:
            return CLOSED_PIPE
        except Exception:
            traceback.print_exc()
            click.echo("velcodec: error: this is a bug; please report it with the lines above", err=True)
            return BUG
        finally:
            _drop_what_stdout_does_not_take()


def _drop_what_stdout_does_not_take() -> None:
    """Point a stdout that is closed or full elsewhere: closing it would fail once more, with lines of Python's own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _have_streams() -> None:
    """Of those that whoever started us has closed, as daemons do, nothing is wanted: and no file gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _end_as_by_hand() -> None:
    """Where a scheduler or a closed terminal ends us, leave as little behind as after Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, interrupt)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from velcodec import __version__

        click.echo(f"velcodec {__version__}")
        ctx.exit()


@click.group("velcodec", cls=Commands, no_args_is_help=False, context_settings={"max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
)
def main() -> None:
    """A learned codec for 2-D seismic velocity models.

    \b
    velcodec synth CurveVel_A 500 models.npy            # or use your own .npy, .npz or .h5
    velcodec compress models.npy models.vlz             # every map at 35 dB or more
    velcodec decompress models.vlz fine.npy --res 280   # the same maps on a finer grid

    'velcodec COMMAND --help' explains a command and gives examples.
    """


if __name__ == "__main__":
    main()
