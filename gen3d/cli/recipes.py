"""The command `gen3d recipes`."""

from __future__ import annotations

from gen3d.cli.parsing import Parser


def run_recipes(arguments: list[str]) -> int:
    Parser("gen3d recipes", "List the shipped configurations.").parse_args(arguments)

    from gen3d.config.shipped import list_recipes

    recipes = list_recipes()
    width = max(map(len, recipes))
    for name, comment in recipes.items():
        print(f"{name:<{width}} {comment}")
    return 0
