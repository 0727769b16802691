"""`pomona completion:show`: the completion script of a shell."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from pomona.cli.options import PomonaCommand

# Bash splits words at colons, so `models:li` arrives as three words. The function cuts the line at blanks instead, and gives back only
# what stands after the last colon, because that is all that Bash will replace.
_BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:$COMP_POINT}" words type value current colon_part
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    current="${words[${#words[@]}-1]}"
    colon_part=""
    [[ "$COMP_WORDBREAKS" == *:* ]] && colon_part="${current%%"${current##*:}"}"
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case "$type" in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain) COMPREPLY+=("${value#"$colon_part"}") ;;
        esac
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]}-1)) %(complete_var)s=bash_complete "$1")
    return 0
}

complete -F %(complete_func)s %(prog_name)s
"""


class ColonBashComplete(BashComplete):
    """Bash completion for command names that hold a colon."""

    source_template = _BASH

    @staticmethod
    def _check_version() -> None:
        """The script needs nothing newer than the Bash 3.2 of macOS."""


SHELLS: dict[str, type[ShellComplete]] = {"bash": ColonBashComplete, "zsh": ZshComplete, "fish": FishComplete}
INSTALL = {
    "bash": "echo 'eval \"$(pomona completion:show bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(pomona completion:show zsh)\"' >> ~/.zshrc",
    "fish": "pomona completion:show fish > ~/.config/fish/completions/pomona.fish",
}


@click.command(cls=PomonaCommand)
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def show_completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Install it with one of:
      echo 'eval "$(pomona completion:show bash)"' >> ~/.bashrc
      echo 'eval "$(pomona completion:show zsh)"' >> ~/.zshrc
      pomona completion:show fish > ~/.config/fish/completions/pomona.fish
    """
    click.echo(SHELLS[shell](context.find_root().command, {}, "pomona", "_POMONA_COMPLETE").source())
    click.echo(f"# To install it:\n#   {INSTALL[shell]}")
