"""Filters that were made to take as long, or as much memory, as SQLite lets them; drawn from a seed."""

from __future__ import annotations

import random

_COLUMNS = ("title", '"cast"', "director", "genres", "awards", "id")
_REFUSED = (
    "randomblob(1000000000) = 'x'",
    "hex(zeroblob(1000000000)) = 'x'",
    "printf('%1000000000d', 1) = 'x'",
    "length(quote(title)) > group_concat(title)",
    "json_array(title) = 'x'",
    "json_extract(title, '$') = 'x'",
    "title REGEXP '(a+)+b'",
    "load_extension('x')",
    "1 IN (WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t)",
    "EXISTS (SELECT 1 FROM items a, items b, items c)",
    "(SELECT count(*) FROM items, items, items) > 1",
)
"""They use what no condition may use."""


def grown(value: str, n_times: int, width: int) -> str:
    """Return SQL that replaces letters of a value by many, again and again."""
    for i in range(n_times):
        value = f"replace({value}, '{'aei'[i % 3]}', '{'aei' * width}')"
    return value


def bomb(seed: int) -> str:
    """Return a filter of at most 20,000 characters."""
    draw = random.Random(seed)
    long = grown(draw.choice(_COLUMNS), draw.randrange(1, 6), draw.choice([4, 12, 40]))
    other = grown(draw.choice(_COLUMNS), draw.randrange(1, 5), draw.choice([4, 12, 40]))
    letters = "a" * draw.choice([50, 190, 4_000])
    kinds = {
        "like": f"{long} LIKE '{'%a' * draw.randrange(5, 90)}%b'",
        "long like": f"{long} LIKE '%{letters}b'",
        "like of values": f"{long} LIKE '%' || {other} || 'b'",
        "like function": f"like({long}, {other})",
        "glob": f"{long} GLOB '*{'[a-z]' * draw.randrange(10, 1500)}1*'",
        "stars": f"{long} GLOB '{'*a?' * draw.randrange(10, 300)}b'",
        "instr": f"instr({long}, {other} || 'x')",
        "instr of letters": f"instr({long}, '{letters}b')",
        "trim": f"ltrim({long}, upper({other}) || lower({long})) = 'x'",
        "both trims": f"length(rtrim({long}, '{letters}')) > length(trim({other}))",
        "replace": f"replace({long}, {other}, {long}) = 'x'",
        "replace by little": f"replace({long}, '{letters}b', '') = 'x'",
        "max": f"max({', '.join([f'{other} || {i}' for i in range(40)])}) = {long}",
        "concatenated": " || ".join([long] * 20) + " = 'x'",
        "compared": " OR ".join([f"{long} = {other}"] * 15),
        "collated": f"{long} COLLATE NOCASE BETWEEN {other} AND upper({long})",
        "strftime": f"strftime({long}, 'now') = strftime({other}, 'now')",
        "case": "CASE " + " ".join([f"WHEN instr({long}, 'x{i}') THEN {i}" for i in range(20)]) + " END",
        "either": " OR ".join(f"instr({long}, 'x{i}')" for i in range(40)),
        "in": f"{long} IN ({', '.join([f'{other} || {i}' for i in range(30)])})",
        "row values": " OR ".join(["(1, year) IN ((1, 2))"] * 700),
        "lists": " AND ".join(f"genre NOT LIKE '{i}%'" for i in range(700)),
        "cast": f"CAST({long} AS INTEGER) + CAST(CAST({other} AS BLOB) AS REAL) = 1",
        "brackets": "(" * draw.randrange(50, 9_000) + "1",
        "negated": "NOT " * draw.randrange(50, 4_900) + "1",
        "sum": " + ".join(["year"] * draw.randrange(100, 2_800)),
        "long list": f"id IN ({', '.join(str(i) for i in range(3_000))})",
        "nested": "coalesce(NULL, " * draw.randrange(10, 900) + "1",
        "refused": draw.choice(_REFUSED),
    }
    where = kinds[sorted(kinds)[seed % len(kinds)]][:19_000]
    return where + ")" * max(0, min(where.count("(") - where.count(")"), 20_000 - len(where)))
