# Does our domain say what we wrote into its zone? Names that lead nowhere, or elsewhere, stop mail and web at once.
# People with the old answer in a cache do not notice for hours.
#
# Needs in stepwatch.yml: nothing. Replace example.org with your domain, and the records with yours; write them as in
# the zone file. Without "at", stepwatch asks the resolver of the machine, or the one under resolver.
@every:5m
Feature: The zone

  Scenario: The domain leads to our web server
    When I look up the A of "example.org"
    Then the answer is "192.0.2.80"
    When I look up the AAAA of "example.org"
    Then the answer is "2001:db8::80"

  # The zone has a wildcard: every name without a record of its own leads to the same server.
  Scenario: So does a name that nobody wrote down
    When I look up the A of "stepwatch.example.org"
    Then the answer is "192.0.2.80"

  # Over both families. A host without IPv6 gets less mail than its owner thinks.
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

  # The answer of a name server of the zone, not of a cache. Some days before a move, lower the time to live and write
  # "at most 5 minutes" here. Then you see when the change has arrived.
  Scenario: The name server answers by itself
    When I look up the MX of "example.org" at "ns1.example.org" without recursion
    Then the answer is authoritative
    And the TTL is at least 5 minutes
