# Does the nightly report come? Backups, cron jobs and the like tell by mail that they ran, and nobody misses such a mail
# before it is needed. stepwatch sends nothing here, and leaves what it finds where it is.
#
# When the mail must come at a time of day, say so instead, and what comes late fails too:
#   Then "ops" has received a message like this between 02:00 and 06:30 in Europe/Berlin
#
# Needs in stepwatch.yml: the account "ops" with address, password and imap: the mailbox that the reports go to.
@every:15m
Feature: Reports that others send

  Scenario: The nightly backup said that it went well
    Then "ops" has received a message like this in the last 26 hours
      | From    | alice@     |
      | Subject | backup: ok |
