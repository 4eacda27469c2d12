"""The whole loop, to watch or to take part in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to make the demo's workspace.")] = Path("hitl-demo"),
    human: Annotated[bool, typer.Option("--human", help="Answer a dozen tasks yourself, in the browser.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Handwritten digits instead of the support inbox.")] = False,
    url: Annotated[str | None, typer.Option(help="Your own Label Studio; its token in HITL_LABEL_STUDIO_TOKEN.")] = None,
    keep: Annotated[bool, typer.Option(help="Leave the demo's Label Studio running at the end.")] = True,
) -> None:
    """Run the whole loop on a real Label Studio, with simulated reviewers."""
    from hitl_bridge.demo.story import run

    run(directory.absolute(), human=human, images=images, url=url, keep=keep)
