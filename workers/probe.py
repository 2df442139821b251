"""The texts on which a fast tokenizer has to prove itself before it is trusted with a vocabulary.

Chosen for what tokenizers are known to differ in: scripts without spaces, marks that combine or normalize,
case that folds oddly, digits, runs of white space, very long words, code, bytes that are no letters, and special
tokens written out in a text. Each text is encoded apart, and some of them again as one.
"""

from __future__ import annotations

import unicodedata

_DECLARATION = (
    "All human beings are born free and equal in dignity and rights. They're endowed; we'd AGREE, I'LL say.",
    "Tous les êtres humains naissent libres et égaux. L'été, où ça? Œuvre, naïve, «déjà-vu»…",
    "Alle Menschen sind frei und gleich an Würde geboren; Straßenbahn, STRASSE, Maße, Donaudampfschifffahrt.",
    "Bütün insanlar hür doğarlar: İstanbul, ılık, IĞDIR, şişe.",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm.",
    "Všichni lidé se rodí svobodní; žluťoučký kůň. Wszyscy ludzie: zażółć gęślą jaźń.",
    "Все люди рождаются свободными и равными; съешь ещё этих мягких булок. Ґанок, їжак, Ђорђе.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι· ἐν ἀρχῇ ἦν ὁ λόγος, ΣΊΣΥΦΟΣ σοφός.",
    "すべての人間は、生まれながらにして自由である。ﾊﾝｶｸ　カタカナ「引用」ー々〇。",
    "人人生而自由，在尊严和权利上一律平等。臺灣、龍、𠮷野家、㍿。",
    "모든 인간은 태어날 때부터 자유로우며 ㄱㄴㄷ 한글, 훈민정음.",
    "يولد جميع الناس أحراراً متساوين؛ لا إله، ﷺ، ١٢٣٤، ـــ كـتـاب، فارسی: می‌شود.",
    "כָּל בְּנֵי אָדָם נוֹלְדוּ בְּנֵי חוֹרִין; שלום.",
    "सभी मनुष्यों को गौरव प्राप्त है। क्ष, ज्ञ, १२३, प्रा॰।",
    "সমস্ত মানুষ স্বাধীনভাবে জন্মগ্রহণ করে। எல்லா மனிதரும் சுதந்திரமாக; ಎಲ್ಲಾ ಮಾನವರು.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระ ๑๒๓ ກ ມະນຸດ មនុស្ស လူတိုင်း",
    "ყველა ადამიანი იბადება თავისუფალი. Բոլոր մարդիկ ծնվում են ազատ։ የሰው ልጅ ሁሉ ᏣᎳᎩ ᚠᚢᚦ",
)
_MARKS = (
    "e\u0301 a\u0308\u0323 \u1e9b\u0323 \ufb01n \u212b \u2126 \u00bd \u2460 \uff21\uff22 \u1100\u1161\u11a8 \u01c6",
    "Z" + "\u0300\u0316\u0324" * 12 + "algo \u0301 lone mark, \u0345",
    "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 🇸🇪🇯🇵 👍🏽 ❤\ufe0f ☎ 😀😀😀 \U0001fae8 1\ufe0f\u20e3",
    "\u200bzero\u200c\u200d\u2060\ufeff width \u00ad soft \u202eright to left\u202c \u2028line\u2029paragraph\x85next",
    "\x00\x01\x02\x1b[0m\x7f\x80\x9f \ufffd \ufffe \uffff \ue000 \U000f0000 \U0010ffff \U0001d49c\U0001d7d8",
    "×÷±≠≤∑∫√∞ ←→⇒ ©®™ €£¥₹₿ “quotes” ‘single’ „low‟ – — ― … ‰ § ¶ † •",
)
_WHITE_SPACE = (
    "",
    " ",
    "\n",
    "a b  c   d    e     f" + " " * 40 + "g\t\th\t i \t j\n\n\nk\r\nl\r\r\nm \n n\n \no\u00a0p\u3000q\u2003r",
    "  leading and trailing   ",
    "\n\n  \n\t\n" * 5,
    " \n" * 30 + "x" + "\t" * 30,
    "tail.\n",
    "tail. \n\n ",
    " " * 600,
    "\n" * 300,
)
_NUMBERS = (
    "0 1 12 123 1234 12345 123456 1234567 1,234.50 -3e-10 0x1F 1_000 2026-11-20T10:00:00Z 10% ½² Ⅷ 3rd v1.2.3 1٢三",
    "don't DON'T it's IT'S I've WE'LL they'd 'tis 'S 's' ''s you’re l’œil o'clock 'lld 'rex",
    "!!! ??? ... ,,, -- ___ $$$ ((())) [[]] {{}} <<>> /// \\\\\\ ||| ~~~ ^^^ ``` \"\"\" ''' ::: ;;; += === && ?!.\n\n",
)
_CODE = (
    "def f(x: int) -> str:\n    return f'{x!r:>{10}}'  # comment\n\n\nclass A(B):\n\tpass\n",
    "for(int i=0;i<n;++i){a[i]+=b[i]*c[i];} // ok\n\n/* block */ #include <stdio.h>\n",
    '{"key": [1, 2.5e3, null, true], "nested": {"a\\n": "\\u00e9"}}\n<p class="x">&amp;&nbsp;</p><!-- -->',
    "camelCaseWord snake_case_word SCREAMING kebab-case HTTP2Go https://example.org/a?b=c&d=%20#e user@example.org",
)
_LONG = (
    "a" * 700,
    "ab" * 400,
    "Pneumonoultramicroscopicsilicovolcanoconiosis" * 8,
    "漢" * 300 + "あ" * 300,
    "é" * 200 + "e\u0301" * 200,
    "x1y2" * 150,
    "=" * 500 + "-" * 501,
    "😀" * 100,
    "qzxjkvwpfbgmhyculdrtnsioae" * 20,
)
_SPECIAL = (
    "<|endoftext|>", "<|end_of_text|>", "<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<s>", "</s>",
    "<unk>", "<pad>", "<bos>", "<eos>", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[INST]", "<mask>", "<|", "|>", "<0x0A>",
    "<0xFF>", "▁", "▁▁a▁b", "Ġ", "Ċ", "##ing", "@@ ",
)  # fmt: skip
_MOST_ADDED = 64  # guess: a vocabulary has as many kinds of added tokens at most; Llama 3 has 256 of one kind


def probe_texts(added: list[str]) -> list[str]:
    """All texts; `added` are the added tokens of the vocabulary, which are set between words and next to each other."""
    texts = [*_DECLARATION, *_MARKS, *_WHITE_SPACE, *_NUMBERS, *_CODE, *_LONG]
    texts += [unicodedata.normalize(form, text) for form in ("NFC", "NFD") for text in (*_DECLARATION, *_MARKS)]
    step = max(1, len(added) // _MOST_ADDED)
    for token in (*_SPECIAL, *added[::step]):
        texts.append(f"{token}a {token} b{token}{token}\n {token} \n{token.lower()} {token[:-1]}x")
    texts.append(" ".join(texts[:40]))
    return texts
