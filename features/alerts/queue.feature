# Does mail wait? A queue that grows is how most trouble of a mail server is first seen: a destination that refuses, a network
# that is down, a password that was stolen and sends spam. The limits are those of a server with some hundred users; a queue
# of your own that is often longer wants higher ones.
#
# When one fires, read the note of the first step: it has the length of each queue, and where most messages go and why they
# wait. "postqueue -p" or "exim -bp" lists them.
#
# Needs in stepwatch.yml: host "mx1" with its queue (postfix, showq, exim, exim_spool or api), and the right to read it
# (docs/configuration.md); for growth also a directory to remember in (state). An API must answer with oldest_age_seconds,
# destinations and hold (or frozen) too.
@every:2m
Feature: Mail queue

  Scenario: The queue is short
    When I read the mail queue of "mx1"
    Then it holds fewer than 1000 messages

  # Four hours is when most servers tell the sender that his mail waits. Mail to a server that is down is normal for a
  # while; mail that nobody has taken for so long is not.
  Scenario: No message has waited for hours
    When I read the mail queue of "mx1"
    Then the oldest message is younger than 4 hours

  # Fires long before the queue is long. The first run has nothing to compare with and is UNKNOWN.
  Scenario: The queue is not growing fast
    When I read the mail queue of "mx1"
    Then it grew by less than 200 messages in 10 minutes

  # A large provider that refuses you, because your address is on a list, say, shows here first.
  Scenario: No destination is stuck
    When I read the mail queue of "mx1"
    Then fewer than 100 messages wait for any one destination

  # Postfix' hold and Exim's frozen: mail that leaves only when somebody looks at it.
  Scenario: Nothing is held back
    When I read the mail queue of "mx1"
    Then nothing is on hold
