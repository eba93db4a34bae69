"""Entry of the `nern` command, which loads everything else."""

from nern_cli.signals import ending_signals
from nern_cli.terminal_text import use_any_encoding


def main() -> None:
    """Run the command. A signal that comes while it is still being loaded, which takes a while, ends it at once."""
    use_any_encoding()
    with ending_signals():
        from nern_cli.commands import run

        run()
