from netloom.identity import passwords


def test_only_the_right_password_matches():
    stored = passwords.hash_password("correct horse")
    assert passwords.matches(stored, "correct horse")
    assert not passwords.matches(stored, "correct hors")
    assert stored != passwords.hash_password("correct horse")


def test_nobody_never_matches_and_costs_as_much(monkeypatch):
    costs = []
    verify = passwords._HASHER.verify

    class Hasher:
        def verify(self, *words):
            costs.append(words)
            return verify(*words)

    stored = passwords.hash_password("x")
    passwords.matches("", "the first time")
    monkeypatch.setattr(passwords, "_HASHER", Hasher())
    assert not passwords.matches("", "nobody has this password")
    assert not passwords.matches(stored, "y")
    assert len(costs) == 2


def test_a_damaged_hash_matches_nothing():
    assert not passwords.matches("not a hash", "x")
