# Would others take our mail for genuine? Mail that is not signed, or signed with a key that DNS no longer has, is refused or
# filed as spam elsewhere, and at home nobody notices. A message is judged here as its receiver judges it.
#
# Needs in stepwatch.yml: accounts "alice" and "bob", each with address, password, smtp and imap. Mail from "alice" must be
# signed (DKIM), and her domain have a DMARC record.
#
# Between members of one server SPF has nothing to judge, because no server hands the message to another. With an account
# at another provider, say "elsewhere", the whole of it can be asked:
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
