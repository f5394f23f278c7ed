"""Templates: what they fill in, and what they cannot do however they are written."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.injection.request import BadRequest, TemplateDialect
from kumotwist.injection.templates import Templates

VALUES = {"name": "<b>", "xs": [1, 2], "d": {"a": 1}, "evil": "a\r\nBcc: everyone@example.net", "when": 0}

FILLED = {
    "Hi {{ name|upper }}!": "Hi <B>!",
    "{% for x in xs %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}": "1/2:1 2/2:2 ",
    "{{ missing }}|{{ none }}": "|",
    "{{ 'a' ~ 1 ~ name }}": "a1<b>",
    "{{ d.items()|list }} {{ 'x'.upper() }}": "[('a', 1)] X",
    "{{ xs|join('-') }} {{ '-'.join(['a', 'b']) }}": "1-2 a-b",
    "{{ when|dateformat }} {{ when|datetimeformat('iso') }}": "Jan 01 1970 1970-01-01T00:00:00+00:00",
    "{{ 1|pluralize }}{{ 2|pluralize }}": "s",
    "{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(1) }}{{ m(2) }}": "[1][2]",
    "{{ now().year }}": "1970",
    "{{ '%s and %s'|format(1, 2) }} {{ '{}'.format(50000) }}": "1 and 2 50000",
    "no gaps\n": "no gaps\n",
}

BOMBS = (
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 10000000000 }}",
    "{{ [1] * 100000000 }}",
    "{{ 'x'|center(1000000000) }}",
    "{{ 'x'.ljust(1000000000) }}",
    "{{ 'x'|indent(1000000) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d'|format(1000000000, 1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "{{ 99 ** 99 ** 99 }}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|string|length }}",
    "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for i in range(100000) %}" + "x" * 10000 + "{% endfor %}",
    "{% set x %}{% for i in range(100000) %}{{ 'y' * 9000 }}{% endfor %}{% endset %}",
    "{{ range(100000)|join('y' * 10000) }}",
    "{{ ('a' * 1000)|replace('', 'b' * 90000) }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ xs.append(3) }}",
    "{% include 'secret' %}",
)

NO_TEMPLATES = ("{{ x", "{% if %}", "{% for %}", "{{ x|nosuchfilter }}", "{% nosuchtag %}", "{{ 1 }}" * 5001)


class TemplateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.templates = Templates(Clock().seconds)

    def fill(self, source: str, **options: Any) -> str:
        return self.templates.template(TemplateDialect.JINJA, source, "text_body", **options)(VALUES)

    def test_gaps_are_filled(self) -> None:
        self.assertEqual({source: self.fill(source) for source in FILLED}, FILLED)

    def test_what_would_not_end_or_fill_the_memory_is_refused(self) -> None:
        for source in BOMBS:
            with self.subTest(source[:80]):
                self.assertRaises(BadRequest, self.fill, source)

    def test_what_is_no_template_is_refused_before_it_is_filled(self) -> None:
        for source in NO_TEMPLATES:
            with self.subTest(source[:80]):
                self.assertRaises(BadRequest, self.templates.template, TemplateDialect.JINJA, source, "text_body")

    def test_a_rendering_that_takes_too_long_ends(self) -> None:
        clock = Clock()

        def seconds() -> float:
            clock.advance(0.1)
            return clock.seconds()

        slow = Templates(seconds).template(TemplateDialect.JINJA, "{% for i in range(100) %}.{% endfor %}", "text_body")
        self.assertIn("longer than 1 s", str(self.assertRaises(BadRequest, slow, {})))

    def test_values_are_escaped_in_html_alone(self) -> None:
        self.assertEqual(self.fill("{{ name }}{{ name|safe }}{{ name ~ '&' }}", html=True), "&lt;b&gt;<b>&lt;b&gt;&amp;")

    def test_a_value_cannot_end_a_line_of_a_header(self) -> None:
        self.assertEqual(self.fill("Hello {{ evil }}", header=True), "Hello a Bcc: everyone@example.net")

    def test_in_a_whole_message_a_value_can_end_a_line_below_the_header_only(self) -> None:
        whole = self.templates.message(TemplateDialect.JINJA, "Subject: {% if d %}{{ evil }}{% endif %}\n\n{{ evil }}\n")
        self.assertEqual(whole(VALUES), "Subject: a Bcc: everyone@example.net\n\na\r\nBcc: everyone@example.net\n")

    def test_static_text_is_left_alone(self) -> None:
        self.assertEqual(self.templates.template(TemplateDialect.STATIC, "{{ name }}", "text_body")({}), "{{ name }}")

    def test_handlebars_is_refused_by_name(self) -> None:
        fault = self.assertRaises(BadRequest, self.templates.template, TemplateDialect.HANDLEBARS, "{{ x }}", "text_body")
        self.assertIn("Handlebars is not implemented", str(fault))
