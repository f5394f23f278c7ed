"""The names of scheduled queues, all eight forms of the model's table, and back."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.queue_name import QueueName, format_queue_name, parse_queue_name

# tenant, campaign, routing domain -> name, for the domain example.com
TABLE = (
    ("tenant", "campaign", None, "campaign:tenant@example.com"),
    ("tenant", "campaign", "smart.host", "campaign:tenant@example.com!smart.host"),
    ("tenant", None, None, "tenant@example.com"),
    ("tenant", None, "smart.host", "tenant@example.com!smart.host"),
    (None, "campaign", None, "campaign:@example.com"),
    (None, "campaign", "smart.host", "campaign:@example.com!smart.host"),
    (None, None, None, "example.com"),
    (None, None, "smart.host", "example.com!smart.host"),
)


class QueueNameTests(SynchronousTestCase):
    """format_queue_name and parse_queue_name."""

    def test_the_eight_forms(self) -> None:
        for tenant, campaign, routing_domain, name in TABLE:
            self.assertEqual(format_queue_name("example.com", tenant, campaign, routing_domain), name)
            self.assertEqual(str(QueueName("example.com", tenant, campaign, routing_domain)), name)

    def test_the_eight_forms_read_back(self) -> None:
        for tenant, campaign, routing_domain, name in TABLE:
            # Without a tenant but with a campaign the tenant reads back as empty, as in the model.
            known = "" if tenant is None and campaign is not None else tenant
            self.assertEqual(parse_queue_name(name), QueueName("example.com", known, campaign, routing_domain))

    def test_every_name_is_the_name_of_what_it_reads_as(self) -> None:
        for *_, name in TABLE:
            self.assertEqual(str(parse_queue_name(name)), name)

    def test_an_empty_tenant_is_a_tenant(self) -> None:
        self.assertEqual(format_queue_name("example.com", ""), "@example.com")
        self.assertEqual(parse_queue_name("@example.com"), QueueName("example.com", "", None, None))

    def test_the_first_separator_counts(self) -> None:
        for name, parts in (
            ("a:b:c@d@e!f!g", QueueName("d@e", "b:c", "a", "f!g")),
            ("[IPv6:::1]", QueueName("[IPv6:::1]")),
            ("t@[IPv6:::1]", QueueName("[IPv6:::1]", "t")),
            ("foo.com:2025", QueueName("foo.com:2025")),
            ("null", QueueName("null")),
            ("", QueueName("")),
        ):
            self.assertEqual(parse_queue_name(name), parts)

    def test_mail_goes_to_the_routing_domain_where_there_is_one(self) -> None:
        self.assertEqual(QueueName("a.example", routing_domain="b.example").routed_to, "b.example")
        self.assertEqual(QueueName("a.example").routed_to, "a.example")
