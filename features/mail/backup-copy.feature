# Does the backup mailbox get its copy? A message to a copied mailbox must arrive there and in the backup mailbox.
# Nobody misses the copy before it is needed. stepwatch removes both messages again.
#
# Needs in stepwatch.yml: accounts "alice", "copied" and "backup", each with address, password, smtp and imap. The
# server copies the mail of "copied" to "backup".
@every:15m
Feature: Backup copy

  Scenario: What arrives is also in the backup mailbox
    When I send a message from "alice" to "copied" via 587
    Then it is accepted within 5s
    And "copied" receives it over IMAP within 60s
    And "backup" receives a copy over IMAP within 60s
