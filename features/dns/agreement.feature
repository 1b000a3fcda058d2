# Does everybody get the same answer? A resolver may ask any name server of a zone. If one of them is down, forgotten,
# or no longer gets the zone, every second mail is late and every second visitor waits, while everything looks fine at
# home.
#
# Needs in stepwatch.yml: under hosts "resolver1" and "resolver2", with the addresses of two resolvers, such as that of
# your network and a public one.
@every:15m
Feature: Agreement

  # Each name server is asked at each of its addresses. On a machine without IPv6, add "over IPv4" at the end of the
  # step.
  Scenario: No name server is behind
    Then all name servers of "example.org" have the same serial

  Scenario: All name servers name the same mail host
    When I look up the MX of "example.org"
    Then all name servers of "example.org" give the same answer

  # After a change they differ until the old answer has left every cache: as long as its time to live.
  Scenario: A change has reached the resolvers
    When I look up the MX of "example.org"
    Then "resolver1" and "resolver2" agree
