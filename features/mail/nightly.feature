# Does the nightly report arrive? Backups and cron jobs report by mail that they ran, and nobody misses such a mail
# before it is needed. stepwatch sends nothing here, and does not move or delete what it finds.
#
# If the mail must come at a certain time of day, use this step instead. It also fails if the mail is late:
#
#     Then "ops" has received a message like this between 02:00 and 06:30 in Europe/Berlin
#
# Needs in stepwatch.yml: the account "ops" with address, password and imap. Its mailbox receives the reports.
@every:15m
Feature: Reports that others send

  Scenario: The nightly backup said that it went well
    Then "ops" has received a message like this in the last 26 hours
      | From    | alice@     |
      | Subject | backup: ok |
