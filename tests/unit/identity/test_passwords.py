import time

from netloom.identity import passwords


def test_only_the_right_password_matches():
    stored = passwords.hash_password("correct horse")
    assert passwords.matches(stored, "correct horse")
    assert not passwords.matches(stored, "correct hors")
    assert stored != passwords.hash_password("correct horse")


def test_nobody_never_matches_and_takes_as_long():
    passwords.matches("", "warm up")
    begun = time.perf_counter()
    assert not passwords.matches("", "nobody has this password")
    unknown = time.perf_counter() - begun
    begun = time.perf_counter()
    passwords.matches(passwords.hash_password("x"), "y")
    assert unknown > (time.perf_counter() - begun) / 20


def test_a_damaged_hash_matches_nothing():
    assert not passwords.matches("not a hash", "x")
