# Does mail get through? stepwatch sends a message as the mail program of a member would, and reads it from the mailbox
# of the recipient. Each leg is timed separately. stepwatch always removes the test message again.
#
# Needs in stepwatch.yml: accounts "alice" and "bob", each with address, password, smtp and imap. They may share a
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
