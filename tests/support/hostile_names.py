"""Names that have broken programs: each must be refused as a path, by the rule it stands under."""

from __future__ import annotations

STEPS = [
    "", ".", "..", "/", "//", "/etc/passwd", "//server/share", "../x", "a/../b", "a/..", "./a", "a/.", "a//b", "a/",
    "../../../../etc/shadow", "a/./b", "/", "a/b/../../..", "..//x", "data/../../x",
]  # fmt: skip
FOREIGN = [
    "\\", "\\\\server\\share", "..\\x", "a\\..\\b", "a\\b", "C:", "C:\\x", "C:/x", "c:x", "a:b", "file:stream", "x:$DATA",
    "a/b:c", "\\\\?\\C:\\x", "\\\\.\\PhysicalDrive0", "http://x/y", "data/C:/x",
]  # fmt: skip
CONTROLS = [
    "\0", "a\0b", "a\0.parquet", "a\nb", "a\rb", "a\tb", "\x07", "a\x08b", "\x1b[2J", "a\x1b]0;title\x07", "a\x7f", "a\x80b",
    "a\x85b", "a\x9b31m", "\x01", "a/\x1f/b", "a\v", "a\f", "\x00/etc",
]  # fmt: skip
STEERING = [
    "\u202egpj.exe", "a\u202eb", "a\u202ab", "a\u202bb", "a\u202cb", "a\u202db", "a\u2066b", "a\u2067b", "a\u2068b",
    "a\u2069b", "a\u200bb", "\u200b", "a\u200cb", "a\u200db", "a\u200eb", "a\u200fb", "a\u061cb", "a\u2028b", "a\u2029b",
    "a\u2060b", "a\ufeffb", "\ufeffa", "a\u00adb", "a\u180eb", "a\u2061b", "a\u2064b", "a\u206ab", "a\ufff9b", "a\ufffbb",
    "a\U000e0001b", "a\U000e0061\U000e0062", "\U000e007f", "a\U0001d173b", "a\U000110bdb",
]  # fmt: skip
NOT_UNICODE = ["\ud800", "a\udcffb", "\udfff", "a/\ud83d", "\udc80.parquet"]
ENDS = [
    " ", "  ", " a", "a ", "a.", "a..", "...", "a/ b", "a /b", "a./b", "a/b.", "a/b ", "a . ", ". .", ".. ", "a. ", " .",
]  # fmt: skip
DEVICES = [
    "con", "CON", "Con", "prn", "aux", "AUX", "nul", "NUL", "com1", "COM9", "com0", "lpt1", "LPT9", "lpt0", "conin$", "CONOUT$",
    "con.txt", "nul.parquet", "NUL.tar.gz", "aux.", "com1.x.y", "com¹", "LPT²", "com³.txt", "data/con", "con/data", "a/NUL/b",
    "nul .txt", "con  .x", "aux .",
]  # fmt: skip
TOO_LONG = ["a" * 256, "é" * 128, "a/" + "b" * 256, "x" * 5000, "a/" * 513 + "b", "日" * 86, "/".join(["a" * 200] * 6)]
OURS = [
    "a.partial", "a.corrupted", "a.PARTIAL", "a.Corrupted", ".partial", ".corrupted", "a.partial/b", "a/b.partial",
    "a.parquet.partial", "x/.corrupted/y",
]  # fmt: skip

ALL = [*STEPS, *FOREIGN, *CONTROLS, *STEERING, *NOT_UNICODE, *ENDS, *DEVICES, *TOO_LONG, *OURS]

HARMLESS = [
    "a", "data/swe_Latn/train/000_00000.parquet", ".gitattributes", ".a/.b", "..a", "a..b", "...a", "-rf", "--help", "~", "~root",
    "$HOME", "`id`", "a;b", "a&b", "a|b", "a b", "a  b", "a'b", 'a"b', "a*b", "a?b", "<a>", "{a}", "[a]", "a%2fb", "%2e%2e", "a#b",
    "a=b", "a+b@c,d", "größe.txt", "日本語/ファイル.parquet", "العربية", "हिन्दी", "🙂.txt", "конец", "ñ", "á", "i̇", "ﬁ",
    "console", "con1", "com", "com10", "lpt", "auxiliary", "nulls.txt", "a.con", "x.nul", "prn2.txt", "a.partials", "a.corrupted.txt",
    "partial", "corrupted", "a" * 255, "é" * 127, "/".join(["a" * 200] * 5), "\u3000a", "a\u00a0b", "\ue000",
]  # fmt: skip
"""Odd to look at, safe to store."""
