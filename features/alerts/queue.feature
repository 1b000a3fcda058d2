# Does mail wait? A growing queue is the first sign of most trouble with a mail server: a destination that refuses mail,
# a network that is down, a stolen password that sends spam. The limits fit a server with some hundred users. If your
# queue is often longer, raise them.
#
# When an alert fires, read the note of the first step: it has the length of each queue, the destinations with the most
# messages, and the reasons why they wait. "postqueue -p" or "exim -bp" lists the messages.
#
# Needs in stepwatch.yml: host "mx1" with its queue (postfix, showq, exim, exim_spool or api), and the permission to
# read it (docs/configuration.md). Growth also needs a directory for state (state). An API must also return
# oldest_age_seconds, destinations and hold (or frozen).
@every:2m
Feature: Mail queue

  Scenario: The queue is short
    When I read the mail queue of "mx1"
    Then it holds fewer than 1000 messages

  # Four hours is when most servers tell the sender that the mail is delayed. Waiting for a server that is down is
  # normal for a while. Waiting this long is not.
  Scenario: No message has waited for hours
    When I read the mail queue of "mx1"
    Then the oldest message is younger than 4 hours

  # Fires long before the queue is long. The first run has no earlier length to compare and is UNKNOWN.
  Scenario: The queue is not growing fast
    When I read the mail queue of "mx1"
    Then it grew by less than 200 messages in 10 minutes

  # Shows first that a large provider refuses your mail, for example because your address is on a blocklist.
  Scenario: No destination is stuck
    When I read the mail queue of "mx1"
    Then fewer than 100 messages wait for any one destination

  # Postfix calls these messages held, Exim frozen. They leave only when somebody releases them.
  Scenario: Nothing is held back
    When I read the mail queue of "mx1"
    Then nothing is on hold
