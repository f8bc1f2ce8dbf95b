"""Texts that tokenizers trip over."""

from __future__ import annotations

TEXTS = (
    "def f(x):\n    if x:\n        return [x, {'a': 1}]\n    return None\n",
    "\tif x:\r\n\t\treturn 1\r\n\r\n\r\n",
    "x = 1\n\n\n\n    y = 2   \n  \n",
    "  two spaces in front, three behind   ",
    "     ",
    "",
    "\n",
    " ",
    "0 12 345 6789 1234567890 3.14159 0x1F 1e-9 v2.0.1 ²³ ½ ٣",
    "a_snake_case_name camelCase HTTPServer __init__ self.x->y a==b!=c<=d>>e**f//g",
    "It's we're I'll they've DON'T you'd  'quoted'",
    "émigré naïve Straße ŒUVRE İstanbul ǅ",
    "e\u0301 is not é for everyone",
    "日本語のテキスト、中文文本。한국어 텍스트! 混ぜるmixed文字123",
    "👩‍👩‍👧 🎉🎉 👍🏽 \U0001f1e9\U0001f1ea ☃️",
    "Привет, мир! Γειά σου Κόσμε שלום مرحبا नमस्ते",
    "a\u00a0b\u2003c\u200bd\ufeffe\u3000f",
    "∑∫√≠≤ €100 £5 ¥ © ™ — “curly” … «guillemets»",
    "\x00\x01\x7f control",
    "<|im_start|>user\nhello<|im_end|>\n<|endoftext|> after",
    "<｜begin▁of▁sentence｜>text<|EOT|> more",
    "<s>[INST] hi [/INST] there </s><s> <unk> x",
    "<bos><start_of_turn>user\n  hi<end_of_turn>\n<eos>",
    '<tool_call>{"name": 1}</tool_call> <fim_prefix>',
    "▁already▁escaped ▁ mixed",
    "aaaaaaaaaaaaaaa -------- ======== ........ ((((((((((",
    "    " * 7 + "deep",
)

TRAINING = (
    *TEXTS,
    "class Store:\n    def __init__(self, path):\n        self.path = path\n        self.items = {}\n\n"
    "    def load(self):\n        if self.path.exists():\n            self.items = json.loads(self.path.read_text())\n",
    "for i in range(10):\n    total += i ** 2\n    print(f'{i}: {total}')\n\n",
    "# We can't say it's 2024 yet, don't you think?\n",
    "        return self.items.get(key, default)\n\n\n        raise ValueError('no such key: 12345')\r\n",
    "日本語 日本語 テキスト 中文 中文 한국어 🎉 🎉 été été Привет Привет 100 100 200 2000",
) * 3
"""Little text, but with what a merge may cross: indentation, line ends, digits, punctuation, scripts."""
