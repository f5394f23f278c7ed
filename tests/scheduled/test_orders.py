"""Which queues an order is about, and which order counts for a queue."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.queue_name import format_queue_name
from kumotwist.scheduled.orders import Criteria, OrderIndex, Suspension, criteria_text

NAMES = (
    "example.org",
    "acme@example.org",
    "spring:acme@example.org",
    "spring:acme@example.org!hub.example",
    "example.org!hub.example",
)

# criteria, and the names of NAMES that they fit
FITTING = [
    (Criteria(), NAMES),
    (Criteria(domain="example.org"), NAMES),
    (Criteria(domain="Example.org"), ()),
    (Criteria(domain="hub.example"), ()),
    (Criteria(routing_domain="hub.example"), NAMES[3:]),
    (Criteria(tenant="acme"), NAMES[1:4]),
    (Criteria(tenant=""), ()),
    (Criteria(tenant="acme", campaign="spring"), NAMES[2:4]),
    (Criteria(domain="example.org", tenant="acme", campaign="spring", routing_domain="hub.example"), NAMES[3:4]),
    (Criteria(queue_names=("acme@example.org", "other.example")), NAMES[1:2]),
    (Criteria(queue_names=("example.org",), domain="other.example"), NAMES[:1]),
]


def suspension(n: int, criteria: Criteria) -> Suspension:
    return Suspension(id=f"s{n}", reason="why", criteria=criteria, expires=1.0)


class CriteriaTests(SynchronousTestCase):
    def test_what_is_given_must_be_equal_and_what_is_absent_fits_all(self) -> None:
        for criteria, fitting in FITTING:
            self.assertEqual(tuple(name for name in NAMES if criteria.fit(name)), tuple(fitting), criteria)

    def test_the_index_finds_exactly_what_fits(self) -> None:
        for n, (criteria, fitting) in enumerate(FITTING):
            index: OrderIndex[Suspension] = OrderIndex()
            order = suspension(n, criteria)
            index.add(order)
            self.assertEqual(tuple(name for name in NAMES if index.find(name) is order), tuple(fitting), criteria)
            self.assertTrue(index)
            index.remove(order)
            self.assertFalse(index)
            self.assertEqual([name for name in NAMES if index.find(name)], [])

    def test_the_order_that_says_most_counts(self) -> None:
        index: OrderIndex[Suspension] = OrderIndex()
        orders = [suspension(n, criteria) for n, (criteria, _) in enumerate(FITTING)]
        for order in orders:
            index.add(order)
        found = [index.find(name) for name in NAMES]
        self.assertEqual(found, [orders[10], orders[9], orders[7], orders[8], orders[1]])

    def test_people_read_what_it_is_about(self) -> None:
        self.assertEqual(criteria_text(Criteria()), "everything")
        self.assertEqual(criteria_text(Criteria(domain="example.org", tenant="acme")), "domain=example.org, tenant=acme")
        self.assertEqual(criteria_text(Criteria(queue_names=("a", "b"))), "a, b")
        self.assertTrue(Criteria().everything)
        self.assertFalse(Criteria(tenant="").everything)

    parts = st.none() | st.sampled_from(["a", "b"])
    some_criteria = st.builds(Criteria, domain=parts, tenant=parts, campaign=parts, routing_domain=parts)

    @given(st.lists(some_criteria, unique=True), st.sampled_from(["a", "b"]), parts, parts, parts)
    def test_some_order_is_found_where_and_only_where_one_fits(
        self, given: list[Criteria], domain: str, tenant: str | None, campaign: str | None, routing: str | None
    ) -> None:
        name = format_queue_name(domain, tenant, campaign, routing)
        index: OrderIndex[Suspension] = OrderIndex()
        for n, criteria in enumerate(given):
            index.add(suspension(n, criteria))
        found = index.find(name)
        self.assertEqual(found is not None, any(criteria.fit(name) for criteria in given))
        if found is not None:
            self.assertTrue(found.criteria.fit(name))
