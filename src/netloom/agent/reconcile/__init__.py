"""Bringing a host to what is wanted: the difference is a value, then each kind of object applies its part.

```
 HostState ── mark ──> wanted: key → mark ─┐
                                           ├─ diff ──> Diff(add, alter, remove) ── due? ──> Change ──> Kind.apply
 host ─────── read ──> there:  key → mark ─┘           doctor and --dry-run end here            │
                         ^                                                                      │
                         └──────────────── what was applied is noted, without a second look ────┘
```

* A **mark** is a short text. The mark of a wanted object and the mark of the object that is there are equal exactly when
  nothing has to be done. A mark that begins with `broken: ` says in words what is wrong with the object (`dataplane/mark.py`).
* A **kind** (`kind.Kind`, one for each sort of host object, in `kinds/`) reads what is there, marks what is wanted and applies
  a change. It declares the kinds that must stand before it (`after`). `order.in_order` makes the sequence from that:
  objects are added and altered in this sequence, and removed in the reverse sequence, after everything was added.
* **`Reconciler`** (`reconciler.py`) keeps both sides between passes and the set of keys that differ. A pass touches only
  these. So the cost of a pass follows the change, not the number of objects on the host. The whole host is read at start, at
  the audit, and for the doctor.
* **Retry** (`retry.Troubles`): an object that fails is tried again after a pause that doubles; it stops no other object.
  **Repair** (`repairs.Repairs`): an object that was well and is damaged is repaired at once, and ever more slowly where
  somebody damages it again and again.
* **Foreign** things (`Look.foreign`) are in a place of ours but not ours, and may break traffic. They are reported by name
  and left alone.

Why the sequence of the kinds is enough for NAT: a router answers at a floating IP's address itself where no NAT rule leads
on. NAT stands before devices, so a rule is added before its address. The address goes when its device is *altered*, which is
before anything is removed, and the rule goes when NAT removes, which is after that.
"""
