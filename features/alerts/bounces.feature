# Does mail get through, by the word of the mail server's own log? Bounced is what was given up: its sender got a report. Failed
# is that and what was put off for a while, which looks bad long before it bounces. The first tells of wrong addresses and of
# servers that do not want your mail; the second of a network, a name server or a big provider that is in trouble.
#
# What to do: the failure names the domains with the most. Look for "status=bounced" or "status=deferred" in the log: the reason
# stands in brackets behind it.
#
# Needs in stepwatch.yml: host "mx1" with log, either {file: /var/log/mail.log} or {journal: [postfix@-.service]}, which stepwatch's
# user may read: group adm for the file, group systemd-journal for the journal.
@every:1m @timeout:50s
Feature: Bounces and failed deliveries

  Background:
    When I read the mail log of "mx1"

  # With fewer than twenty recipients one mistyped address would be an alert.
  Scenario: Hardly anything bounces
    Then less than 5% of at least 20 bounced in the last 60 minutes

  # A message that is tried again counts each time, as it keeps the server busy each time.
  Scenario: Deliveries succeed
    Then less than 10% of at least 20 failed in the last 60 minutes

  # A log that stands still shows no bounces either. A server that nobody uses at night needs a longer time here.
  Scenario: The server writes its log
    Then the mail log has a line of the last 60 minutes
