/** The project that tests start from: a bug that one of its two tests shows. */

export const CALC = `def add(a, b):
    return a - b


def double(a):
    return 2 * a
`;
export const FIXED = CALC.replace("a - b", "a + b");
export const TEST_CALC = `from calc import add, double


def test_add():
    assert add(2, 3) == 5


def test_double():
    assert double(4) == 8
`;
