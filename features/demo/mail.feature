@every:10s
Feature: Mail for demo.test
  Members send through the submission port and read their mail over IMAP. The names of the accounts refer to the
  configuration, so this file contains no server address and no password.

  Background:
    Given the accounts "alice" and "bob"

  Scenario: Send via 587, receive on IMAP
    When I send a message from "alice" to "bob" via 587
    Then it is accepted within 5s
    And "bob" receives it over IMAP within 60s
