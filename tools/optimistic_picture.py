"""Writes docs/optimistic/game.svg: the phases of a dispute, whose turn it is, how it ends.

    python tools/optimistic_picture.py

The picture has a background of its own, so that it reads the same on light and on dark pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from proofml.optimistic import moves
from proofml.optimistic.moves import Move
from proofml.optimistic.phases.positions import Phase

FILE = Path(__file__).resolve().parent.parent / "docs" / "optimistic" / "game.svg"

WIDTH, HEIGHT = 1160, 838
#: Left edge and width of each column.
LABEL, CLAIMANT, CHALLENGER, EXIT = (36, 160), (214, 256), (540, 256), (862, 262)
TOP, ROW, BOX = 154, 96, 64
INK, SOFT, LINE, PAPER = "#1f2933", "#5b6773", "#8a96a3", "#fdfcf9"
BLUE, ORANGE, GREEN = ("#e3edf9", "#2f6fb5"), ("#fdebdc", "#c2641a"), ("#e4f2e7", "#2e7d4f")


@dataclass(frozen=True)
class Row:
    """One phase.

    Attributes:
        left: what is still disputed when it begins.
        reveal, choice: the claimant's and the challenger's move, with what it says.
        again: the two alternate until one is left.
        exit: how the dispute can end here, in two lines; `also` the move that ends it.
    """

    phase: Phase
    left: str
    reveal: tuple[type[Move], str] | None
    choice: tuple[type[Move], str]
    again: bool = False
    exit: tuple[str, str] | None = None
    also: type[Move] | None = None


ROWS = (
    Row(
        Phase.TRACE,
        "N operators",
        (moves.RevealTrace, "nodes of the trace's tree"),
        (moves.Select, "the first that differs"),
        again=True,
    ),
    Row(
        Phase.OPERATOR,
        "one operator",
        (moves.RevealOperator, "its leaf and its descriptor"),
        (moves.DisputeCells, "inputs agreed, output not"),
        exit=("an operand is not what", "its producer made"),
        also=moves.ProveWiring,
    ),
    Row(
        Phase.CELLS,
        "its output",
        (moves.RevealCells, "nodes of the output's tree"),
        (moves.Select, "the first that differs"),
        again=True,
    ),
    Row(
        Phase.CHUNK,
        "1,024 bytes",
        (moves.RevealChunk, "the bytes of the chunk"),
        (moves.SelectCell, "one cell of it"),
        exit=("a cell is beyond", "the tensor's range"),
        also=moves.ProveRange,
    ),
    Row(
        Phase.SUMS,
        "J summands",
        (moves.RevealSums, "states of the fold at k cuts"),
        (moves.Select, "the first interval that is wrong"),
        again=True,
    ),
    Row(
        Phase.SUMMAND,
        "one summand",
        None,
        (moves.ProveSummand, "opens all that the step reads"),
        exit=("the arbiter computes", "this one step"),
    ),
)


def text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(words)}</text>'


def box(x: float, y: float, size: tuple[float, float], colours: tuple[str, str]) -> str:
    fill, stroke = colours
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{size[0]:g}" height="{size[1]:g}" rx="9" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'
    )


def arrow(path: str, *, dashed: bool = False, colour: str = LINE) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    head = "tip-exit" if colour == GREEN[1] else "tip"
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash} '
        f'marker-end="url(#{head})"/>'
    )


def move(column: tuple[int, int], y: float, said: tuple[type[Move], str], colours: tuple[str, str]
         ) -> Iterator[str]:  # fmt: skip
    middle = column[0] + column[1] / 2
    yield box(column[0], y, (column[1], BOX), colours)
    yield text(middle, y + 27, said[0].__name__, "move")
    yield text(middle, y + 48, said[1], "words")


def drawn(number: int, row: Row) -> Iterator[str]:
    y = TOP + number * ROW
    last = number == len(ROWS) - 1
    yield text(LABEL[0], y + 27, row.phase.name, "phase")
    yield text(LABEL[0], y + 48, row.left, "label")
    gap = CLAIMANT[0] + CLAIMANT[1], CHALLENGER[0]
    if row.reveal is not None:
        yield from move(CLAIMANT, y, row.reveal, BLUE)
        height = y + (24 if row.again else BOX / 2)
        yield arrow(f"M{gap[0]} {height:g} H{gap[1] - 7}")
    if row.again:
        yield arrow(f"M{gap[1]} {y + 43:g} H{gap[0] + 7}", dashed=True)
    yield from move(CHALLENGER, y, row.choice, ORANGE)
    if row.exit is not None:
        yield from leaving(y, row)
    if last:
        return
    centres = [column[0] + column[1] / 2 for column in (CHALLENGER, CLAIMANT)]
    below = y + ROW
    if ROWS[number + 1].reveal is None:
        yield arrow(f"M{centres[0]:g} {y + BOX} V{below - 7}")
    else:
        turn = y + (BOX + ROW) / 2
        yield arrow(f"M{centres[0]:g} {y + BOX} V{turn:g} H{centres[1]:g} V{below - 7}")


def leaving(y: float, row: Row) -> Iterator[str]:
    assert row.exit is not None
    edge, middle = CHALLENGER[0] + CHALLENGER[1], EXIT[0] + EXIT[1] / 2
    yield arrow(f"M{edge} {y + BOX / 2:g} H{EXIT[0] - 7}", colour=GREEN[1])
    if row.also is None:
        yield box(EXIT[0], y, (EXIT[1], BOX), GREEN)
        yield text(middle, y + 27, row.exit[0], "words")
        yield text(middle, y + 48, row.exit[1], "words")
        return
    yield text((edge + EXIT[0]) / 2 - 4, y + BOX / 2 - 8, "or", "foot")
    yield box(EXIT[0], y - 8, (EXIT[1], BOX + 16), GREEN)
    yield text(middle, y + 15, row.also.__name__, "move")
    yield text(middle, y + 37, row.exit[0], "words")
    yield text(middle, y + 56, row.exit[1], "words")


def picture() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title">',
        '<title id="title">The phases of a dispute, whose turn it is, and how it ends</title>',
        "<defs>",
        *(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="4" refY="5" markerWidth="9" '
            f'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
            f'<path d="M0 0 L10 5 L0 10 z" fill="{colour}"/></marker>'
            for name, colour in (("tip", LINE), ("tip-exit", GREEN[1]))
        ),
        "</defs>",
        "<style>text{font-family:'DejaVu Sans',Verdana,'Segoe UI',sans-serif;"
        f"fill:{INK};text-anchor:middle}}"
        ".move{font-size:16px;font-weight:700}.words{font-size:14px}"
        ".phase{font-size:16px;font-weight:700;text-anchor:start}"
        f".label{{font-size:14px;fill:{SOFT};text-anchor:start}}"
        f".head,.lead{{font-size:14px;fill:{SOFT};font-weight:700}}.lead{{text-anchor:start}}"
        f".foot{{font-size:14px;fill:{SOFT}}}"
        "</style>",
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="16" fill="{PAPER}" '
        'stroke="#d9d4c7" stroke-width="2"/>',
        *top(),
    ]
    for number, row in enumerate(ROWS):
        parts += drawn(number, row)
    parts += foot()
    return "\n".join([*parts, "</svg>", ""])


def top() -> Iterator[str]:
    """What comes before, and the columns' names."""
    y = 28
    middle = CLAIMANT[0] + CLAIMANT[1] / 2
    yield box(CLAIMANT[0], y, (CLAIMANT[1], 54), (PAPER, BLUE[1]))
    yield text(middle, y + 23, "Claim", "move")
    yield text(middle, y + 42, "roots of inputs and outputs, bond", "words")
    yield box(CHALLENGER[0], y, (CHALLENGER[1], 54), (PAPER, ORANGE[1]))
    other = CHALLENGER[0] + CHALLENGER[1] / 2
    yield text(other, y + 23, "Challenge", "move")
    yield text(other, y + 42, "within the window, bond", "words")
    yield arrow(f"M{CLAIMANT[0] + CLAIMANT[1]} {y + 27} H{CHALLENGER[0] - 7}")
    yield arrow(f"M{other:g} {y + 54} V{y + 78} H{middle:g} V{TOP - 7}")
    yield text(LABEL[0], TOP - 22, "still disputed", "lead")
    yield text(CLAIMANT[0], TOP - 22, "claimant", "lead")
    yield text(other + 70, TOP - 22, "challenger", "head")
    yield text(EXIT[0] + EXIT[1] / 2, TOP - 22, "decided", "head")


def foot() -> Iterator[str]:
    y = TOP + len(ROWS) * ROW + 6
    yield f'<path d="M36 {y} H{WIDTH - 36}" stroke="#d9d4c7" stroke-width="1.5"/>'
    for line, words in enumerate(
        (
            "Dashed: the two alternate until one node, or one step, is left. What fits no "
            "committed hash cannot be played.",
            "Whoever lets the time for an owed move run out loses; a proof that shows nothing "
            "loses as well.",
            "No dispute is left and the window is over: the claim is final. One won by a "
            "challenger: it is defeated.",
        )
    ):
        yield text(WIDTH / 2, y + 26 + 22 * line, words, "foot")


if __name__ == "__main__":
    FILE.write_text(picture(), "utf-8")
