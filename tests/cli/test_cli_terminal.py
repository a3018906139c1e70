"""What a stranger's file says cannot move the cursor, add lines or turn the text."""

from bitspike.cli._terminal import cell, table
from bitspike.errors import printable


def test_names_are_shown_without_marks_that_a_terminal_obeys(capsys):
    for name in ("\x1b[31mred\x1b[0m", "\u202egnp.exe", "a\nb", "bell\x07", "\x9b2J", "\r0", "\u2066x"):
        assert cell(name).isprintable()
        assert all(part in cell(name) for part in ("\ufffd",))
    assert (cell("grün"), cell("a b"), cell(1234), cell(True)) == ("grün", "a b", "1,234", "yes")
    assert printable("two\nlines\x1b") == "two\nlines\ufffd"
    table(["name"], [["a\nb"], ["c"]])
    assert len(capsys.readouterr().out.splitlines()) == 4
