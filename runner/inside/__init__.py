"""The part that runs in the user's interpreter: the standard library and their pytest, Python 3.8 and up."""
