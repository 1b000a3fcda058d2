# Is the clock of this machine right? When it is minutes off, certificates seem to be expired or not yet valid, time-based
# codes and signed requests are refused, and the times of mail make no sense.
#
# Needs nothing in stepwatch.yml but the NTP server of your network as hosts.ntp1, or its name instead of "ntp1". Ask a public
# server seldom. With the same server under clock.server, a failure that this clock explains is UNKNOWN and says so.
@every:15m
Feature: The clock

  Scenario: It agrees with our time server
    Then the clock of this machine is within 1s of "ntp1"

  @every:1h
  Scenario: It agrees with the rest of the world
    Then the clock of this machine is within 2s of "pool.ntp.org"
