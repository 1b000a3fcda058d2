# Would other servers trust our mail? They refuse it, or file it as spam, if it is not signed or if DNS no longer has
# the key. At home nobody notices. This scenario judges a message as its receiver does.
#
# Needs in stepwatch.yml: accounts "alice" and "bob", each with address, password, smtp and imap. Mail from "alice" must
# be signed (DKIM), and her domain must have a DMARC record.
#
# Between members of one server SPF has nothing to judge, because no server hands the message to another. With an
# account at another provider, such as "elsewhere", you can check everything:
#
#     When I send a message from "alice" to "elsewhere" via 587
#     Then "elsewhere" receives it over IMAP within 120s
#     And it passes SPF, DKIM and DMARC
#     And the receiving server says "dmarc=pass"
#     And it is not marked as spam
@every:15m
Feature: Our mail is genuine

  Scenario: Mail is signed, and nobody takes it for spam
    When I send a message from "alice" to "bob" via 587
    Then "bob" receives it over IMAP within 60s
    And it passes DKIM
    And it passes DMARC
    And it is not marked as spam
