# Does mail arrive as it was sent? Gateways add footers, filters take attachments away, and old servers break letters outside
# US-ASCII. Each of these reaches a customer long before it reaches the person who runs the mail server.
#
# Needs in stepwatch.yml: accounts "alice" (address, password, smtp) and "bob" (address, password, imap).
@every:15m
Feature: What mail holds

  # A footer that is meant to be there fails this: leave the last line out then, and keep the one about the attachment.
  Scenario: Text, headers and attachment arrive unchanged
    Given the message has the attachment "Übersicht.csv"
      """
      Größe;Preis
      10;12,50 €
      """
    When I send a message from "alice" to "bob" via 587
      """message/rfc822
      Subject: Grüße – a test of stepwatch

      Schöne Grüße!
      .
      The line above is a dot alone, which some servers take for the end.
      """
    Then "bob" receives it over IMAP within 60s
    And its attachment "Übersicht.csv" arrived unchanged
    And it arrived unchanged
