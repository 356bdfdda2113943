"""Numbers, sizes and tables as text."""

from __future__ import annotations

from dscompile.report import text


def test_numbers_are_grouped_by_threes():
    assert [text.number(value) for value in (0, 999, 1000, 2_656_768)] == ["0", "999", "1 000", "2 656 768"]


def test_sizes_keep_their_exact_bytes():
    assert text.size(312) == "312 B"
    assert text.size(16_000) == "16 000 B (15.6 KiB)"
    assert text.size(3 * 2**20) == "3 145 728 B (3.0 MiB)"
    assert text.size(5 * 2**30) == "5 368 709 120 B (5.0 GiB)"


def test_short_sizes_for_columns():
    assert [text.short_size(value) for value in (64, 32_768, 2**20)] == ["64 B", "32.0 KiB", "1.0 MiB"]


def test_plural():
    assert [text.plural(count, "layer") for count in (0, 1, 2)] == ["0 layers", "1 layer", "2 layers"]


def test_tables_have_columns_as_wide_as_their_cells_and_no_trailing_blanks():
    assert text.table(("name", "MAC"), [("stem", "5"), ("head", "1 000")], right=("MAC",)) == (
        "name    MAC\nstem      5\nhead  1 000"
    )
    assert text.table(("a", "b"), [("xx", "")]) == "a   b\nxx"


def test_fields_align_their_values():
    assert text.fields([("arena", "1"), ("of", "")]) == "  arena  1\n  of"
