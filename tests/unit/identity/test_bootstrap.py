from netloom.identity import bootstrap, passwords, users
from netloom.model.cloud import Domain, Project, Role, RoleAssignment, User


def everything(store):
    with store.reader() as reader:
        return [
            reader.list(kind) for kind in (Domain, Project, Role, RoleAssignment, User)
        ], reader.seq()


def test_bootstrap_makes_a_cloud_and_doing_it_again_changes_nothing(store):
    before = everything(store)
    domains, projects, roles, assignments, people = before[0]
    assert [domain.id for domain in domains] == ["default"]
    assert {project.name for project in projects} == {"admin", "demo", "service"}
    assert {role.name for role in roles} == {"admin", "member", "reader", "service"}
    assert len(assignments) == 4
    assert passwords.matches(next(u for u in people if u.name == "demo").password_hash, "demopw")
    bootstrap.bootstrap(store, bootstrap.first_users("adminpw", "another"))
    assert everything(store) == before


def test_bootstrap_makes_what_is_missing_only(store):
    with store.reader() as reader:
        demo = reader.list(User, name="demo")[0]
    with store.writer() as w:
        users.delete(w, demo.id)
    bootstrap.bootstrap(store, bootstrap.first_users("x", "new"))
    with store.reader() as reader:
        again = reader.list(User, name="demo")[0]
        assert again.id != demo.id
        assert passwords.matches(again.password_hash, "new")
        assert passwords.matches(reader.list(User, name="admin")[0].password_hash, "adminpw")


def test_no_secret_in_the_change_log(store):
    with store.reader() as reader:
        log = repr(reader.changes(0, 1000))
    assert "argon2" not in log
