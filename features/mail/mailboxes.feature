# Does somebody, or some program, still take the mail out of a mailbox? Orders, tickets and bounces pile up in silence when the
# program that fetches them has stopped, and a spam folder that nobody looks into hides the mail that was filed there wrongly.
# stepwatch only reads here: it moves, marks and deletes nothing.
#
# A folder below a prefix (INBOX.Spam) may be written without it. The age counts from the arrival at the server.
#
# Needs in stepwatch.yml: the account "bob" with address, password and imap.
@every:15m
Feature: Mailboxes that somebody must empty

  Scenario: What comes in is taken out
    Then the folder "INBOX" of "bob" holds fewer than 100 messages
    And the oldest message in the folder "INBOX" of "bob" is younger than 2 hours
