"""What sites offer and cannot do is remembered, for a while and for so many."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.delivery.broken import BrokenOffers, Offer


class BrokenOffersTests(SynchronousTestCase):
    """Notes by ready queue and extension."""

    def test_a_note_holds_until_its_time_for_its_site_and_its_extension(self) -> None:
        broken = BrokenOffers()
        broken.note("a->site@smtp_client", Offer.STARTTLS, 100.0)
        self.assertTrue(broken.holds("a->site@smtp_client", Offer.STARTTLS, 99.9))
        self.assertFalse(broken.holds("a->site@smtp_client", Offer.STARTTLS, 100.0))
        self.assertFalse(broken.holds("a->site@smtp_client", Offer.CHUNKING, 1.0))
        self.assertFalse(broken.holds("b->site@smtp_client", Offer.STARTTLS, 1.0))

    def test_a_later_note_counts(self) -> None:
        broken = BrokenOffers()
        broken.note("a", Offer.STARTTLS, 100.0)
        broken.note("a", Offer.STARTTLS, 200.0)
        self.assertTrue(broken.holds("a", Offer.STARTTLS, 150.0))

    def test_it_is_bounded_and_forgets_the_oldest(self) -> None:
        broken = BrokenOffers(most=2)
        for name in "abc":
            broken.note(name, Offer.STARTTLS, 100.0)
        self.assertEqual([broken.holds(name, Offer.STARTTLS, 1.0) for name in "abc"], [False, True, True])
