"""Makes `twistd kumotwist` known; no logic here."""

from twisted.application.service import ServiceMaker

kumotwist = ServiceMaker("KumoTwist", "kumotwist.service", "An outbound mail server for many customers.", "kumotwist")
