# Does a sender learn that a message could not be delivered? The message goes to an address that does not exist, through
# a server that accepts it first and finds out later. The report must come back in time, and give a useful reason.
# stepwatch removes the report again.
#
# Needs in stepwatch.yml: account "alice" with address, password, smtp and imap; account "gone" with only an address
# that your server accepts but cannot deliver to, such as an alias for an address that does not exist. An unknown
# address in your own domain does not work: the server refuses it during the dialogue, as it should, and nothing
# bounces.
@every:15m
Feature: Bounces

  Scenario: Mail to an address that does not exist comes back
    When I send a message from "alice" to "gone" via 587
    Then it is accepted within 5s
    And "alice" receives a bounce within 60s
