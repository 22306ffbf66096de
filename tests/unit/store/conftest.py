import pytest

from netloom.store import Store


@pytest.fixture
def store(tmp_path):
    opened = Store.open(f"sqlite:///{tmp_path}/netloom.db")
    opened.upgrade()
    yield opened
    opened.close()
