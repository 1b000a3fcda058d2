@every:10s
Feature: Mail for demo.test
  Members send through the submission port and read what arrives over IMAP. The accounts are in the configuration by
  name: no address of a server and no password stands here.

  Background:
    Given the accounts "alice" and "bob"

  Scenario: Send via 587, receive on IMAP
    When I send a message from "alice" to "bob" via 587
    Then it is accepted within 5s
    And "bob" receives it over IMAP within 60s
