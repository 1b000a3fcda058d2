# Does mail get through, according to the log of the mail server? "Bounced" counts messages that the server gave up:
# their senders got a report. "Failed" also counts messages that were deferred, and rises long before they bounce.
# Bounces point to wrong addresses and to servers that do not accept your mail. Failures point to trouble with the
# network, with a name server or at a big provider.
#
# What to do: the failure names the domains with the most. Search the log for "status=bounced" or "status=deferred": the
# reason follows in brackets.
#
# Needs in stepwatch.yml: host "mx1" with log, either {file: /var/log/mail.log} or {journal: [postfix@-.service]}. The
# user of stepwatch must be able to read it: group adm for the file, group systemd-journal for the journal.
@every:1m @timeout:50s
Feature: Bounces and failed deliveries

  Background:
    When I read the mail log of "mx1"

  # With fewer than twenty recipients, one mistyped address would raise an alert.
  Scenario: Hardly anything bounces
    Then less than 5% of at least 20 bounced in the last 60 minutes

  # Every attempt to deliver a message counts, because every attempt loads the server.
  Scenario: Deliveries succeed
    Then less than 10% of at least 20 failed in the last 60 minutes

  # A log that is not written shows no bounces either. If nobody uses the server at night, choose a longer time here.
  Scenario: The server writes its log
    Then the mail log has a line of the last 60 minutes
