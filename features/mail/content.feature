# Does mail arrive as it was sent? Gateways add footers, filters remove attachments, and old servers break letters
# outside US-ASCII. Customers notice this long before the operator of the mail server does.
#
# Needs in stepwatch.yml: accounts "alice" (address, password, smtp) and "bob" (address, password, imap).
@every:15m
Feature: What mail holds

  # If a gateway adds a footer on purpose, this fails. Then delete the last line, and keep the one about the attachment.
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
