# Does mail come through? A message is sent as a member's mail program would send it, and read from the mailbox that it
# was sent to. Each leg is timed apart. The test message is removed again, whatever happens.
#
# Needs in stepwatch.yml: accounts "alice" and "bob", each with address, password, smtp and imap. They may be the same
# mailbox.
@every:5m
Feature: Mail round trip

  Background:
    Given the accounts "alice" and "bob"

  Scenario: From submission to inbox
    When I send a message from "alice" to "bob" via 587
    Then it is accepted within 5s
    And "bob" receives it over IMAP within 60s

  # Port 465 is submission with TLS from the start (RFC 8314), which newer mail programs prefer.
  Scenario: From submission over TLS to inbox
    When I send a message from "alice" to "bob" via 465
    Then it is accepted within 5s
    And "bob" receives it over IMAP via 143 within 60s
