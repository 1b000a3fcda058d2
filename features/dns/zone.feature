# Does our domain say what we wrote into its zone? Names that lead nowhere, or elsewhere, stop mail and web at once, and who
# has the old answer in a cache does not notice for hours.
#
# Needs in stepwatch.yml: nothing. Put your domain in the place of example.org, and your records in the place of these; they
# are written as in the zone file. Without "at" the machine's own resolver is asked, or the one under resolver.
@every:5m
Feature: The zone

  Scenario: The domain leads to our web server
    When I look up the A of "example.org"
    Then the answer is "192.0.2.80"
    When I look up the AAAA of "example.org"
    Then the answer is "2001:db8::80"

  # The zone has a wildcard: every name that is not written leads to the same server.
  Scenario: So does a name that nobody wrote down
    When I look up the A of "stepwatch.example.org"
    Then the answer is "192.0.2.80"

  # Over both families. A host that is not found over IPv6 gets less mail than its owner thinks.
  Scenario: Mail goes to our mail host
    When I look up the MX of "example.org"
    Then the answer is:
      | 10 | mail.example.org |
    When I look up the A of "mail.example.org"
    Then the answer is "192.0.2.25"
    When I look up the AAAA of "mail.example.org"
    Then the answer is "2001:db8::25"

  Scenario: The domain says who may send for it
    When I look up the TXT of "example.org"
    Then the answer contains "v=spf1 mx ~all"

  # What a name server of the zone says, not what a cache still knows. Lower the time to live some days before a move, and
  # write "at most 5 minutes" here, so that you see when it has come down everywhere.
  Scenario: The name server answers by itself
    When I look up the MX of "example.org" at "ns1.example.org" without recursion
    Then the answer is authoritative
    And the TTL is at least 5 minutes
