"""HTML for notebooks: what is escaped, and what is put in as it is."""

from __future__ import annotations

from langmem_dspy.markup import folded, heat_map, table, tag


def test_text_is_escaped_once_and_html_never():
    assert tag("p", "<x>", tag("b", "&")) == "<p>&lt;x&gt;<b>&amp;</b></p>"
    assert "&lt;script" in table(["<script>"], [["a"]]) and "&quot;" in tag("p", title='"')


def test_a_table_without_rows_is_nothing():
    assert table(["a"], []) == ""


def test_a_heat_map_shades_by_share_and_clips_what_is_out_of_range():
    shown = heat_map("step", [1, 2], {"<p>": [0.25, 7.0]}, "of all")
    assert "rgba(207,34,46,0.25)" in shown and "rgba(207,34,46,1.0)" in shown and "<p>" not in shown


def test_folded_content_is_closed_unless_asked():
    assert folded("more", "text").startswith("<details><summary>more</summary>text")
    assert folded("more", unfolded=True).startswith("<details open>")
