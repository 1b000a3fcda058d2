# Does a sender hear that his mail could not be delivered? A message goes to an address that does not exist, behind a
# server that takes it first and finds out later. The report must come back, in time, and give a reason that helps. The
# report is removed again.
#
# Needs in stepwatch.yml: account "alice" with address, password, smtp and imap; account "gone" with an address alone, one
# that your server takes and cannot deliver, such as an alias for an address that does not exist. An unknown address at
# your own domain will not do: it is refused during the dialogue, as it should be, and nothing bounces.
@every:15m
Feature: Bounces

  Scenario: Mail to an address that does not exist comes back
    When I send a message from "alice" to "gone" via 587
    Then it is accepted within 5s
    And "alice" receives a bounce within 60s
